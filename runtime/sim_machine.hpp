// What a sim_world consists of: its files, its time, its chance, its faults, and what is known of
// the process that runs. sim_ring carries out operations on it. One thread only.
#pragma once

#include "fd_calls.hpp"
#include "sim_files.hpp"

#include <sapwood/fmt_library.hpp>
#include <sapwood/sim_world.hpp>

#include <cerrno>
#include <liburing.h>
#include <memory>
#include <span>
#include <utility>

namespace sapwood::detail {

/// A private opcode: completes when the process crashes or hangs. No kernel has so many.
inline constexpr std::uint8_t opcode_sim_stop = 250;

/// Whether an outage by `error` is one in which nothing at all can be written.
[[nodiscard]] inline bool is_for_all(int error) noexcept {
    return error == EROFS || error == EIO || error == EPERM;
}

/// What an SQE names by its address.
template <class T>
[[nodiscard]] T* at_address(std::uint64_t address) noexcept {
    return reinterpret_cast<T*>(static_cast<std::uintptr_t>(address));
}

/// For people.
[[nodiscard]] std::string_view name_of_opcode(std::uint8_t opcode) noexcept;

class sim_machine final : public simulated_calls {
  public:
    explicit sim_machine(sim_options wanted);
    ~sim_machine();

    std::int32_t close(int fd) noexcept override;
    std::int32_t lock(int fd, int operation) noexcept override;
    std::int32_t change_mode(int fd, std::uint32_t mode) noexcept override;
    std::int32_t extent(int fd, file_extent& into) noexcept override;
    std::int32_t change_flags(int fd, int clear, int set) noexcept override;
    std::int32_t read_directory(int fd, std::span<std::byte> into) noexcept override;

    /// Carries out an operation on files, with the faults that chance wants. `mark` is what a sync
    /// has to make durable.
    [[nodiscard]] std::int32_t perform(const io_uring_sqe& sqe, std::uint64_t mark);

    /// Of a write or a change of names that was under way at a crash: some of it, by chance, in
    /// what the crash leaves.
    void perform_in_part(const io_uring_sqe& sqe, std::uint64_t mark);

    /// How long an operation takes.
    [[nodiscard]] clock::duration duration_of(const io_uring_sqe& sqe);

    /// An operation has completed. Whether the process crashes now.
    [[nodiscard]] bool is_crash_due() noexcept;

    /// `in_part` is called between the copy of the files that survives and what the crash does to
    /// it.
    template <class InPart>
    void crash_process(InPart&& in_part) {
        begin_crash();
        std::forward<InPart>(in_part)();
        end_crash();
    }

    void begin_process() noexcept;
    void end_process();

    void pass(clock::time_point until) noexcept;
    void count(const io_uring_sqe& sqe, std::int32_t value) noexcept;
    /// `closed` is the name of the file that a close has closed.
    void trace_operation(const io_uring_sqe& sqe, std::int32_t value, const std::string& closed);

    template <class... Args>
    void trace(fmt::format_string<Args...> format, Args&&... args) {
        if (options.traces && (!has_crashed || is_crashing)) {
            add_line(fmt::format(format, std::forward<Args>(args)...));
        }
    }

    void cut_power();

    [[nodiscard]] bool is_ghost() const noexcept { return has_crashed || has_hung; }

    const sim_options options;
    sim_faults faults;
    sim_files files;
    sim_random chance;
    sim_random test_chance;
    clock::time_point now{std::chrono::hours(24)};
    bool has_crashed = false;
    bool has_hung = false;
    bool is_crashing = false;
    std::uint64_t crash_in = 0; // 0: not at all
    sim_crash crash_kind = sim_crash::kill;
    std::uint64_t enters = 0;
    clock::time_point began{};
    sim_counts counts;
    std::uint64_t digest = 0;
    std::vector<std::string> lines;
    std::function<std::optional<std::int32_t>(const io_uring_sqe&)> script;

    struct outage_now {
        clock::time_point from;
        clock::time_point to;
        int error;
        std::uint64_t bytes_left;
    };

    std::vector<outage_now> outages;

  private:
    void add_line(std::string text);
    [[nodiscard]] std::int32_t perform_on(sim_files& on, const io_uring_sqe& sqe,
                                          std::uint64_t mark);
    [[nodiscard]] std::int32_t write_on(sim_files& on, const io_uring_sqe& sqe, std::size_t limit);
    [[nodiscard]] std::int32_t perform_write(const io_uring_sqe& sqe);
    void write_rest(const io_uring_sqe& sqe, std::size_t told);
    [[nodiscard]] std::size_t cut_to_sectors(const io_uring_sqe& sqe,
                                             std::size_t limit) const noexcept;
    [[nodiscard]] std::int32_t fault_of(const io_uring_sqe& sqe, std::uint64_t mark);
    [[nodiscard]] outage_now* outage() noexcept;
    void begin_crash();
    void end_crash();
    void describe_files();

    /// What a crash has left, while the process that has crashed runs on.
    std::unique_ptr<sim_files> survivor_;
    std::vector<char> gathered_;
    simulated_calls* const others_;
};

} // namespace sapwood::detail
