// The ring of a sim_world: takes the same SQEs as the kernel's and carries them out on simulated
// files. An operation begins some time after it was submitted and completes some time later, in any
// order; it has its effect at the end, but that a sync covers what was there when it began. One
// that has not begun can be cancelled; of one that has, the cancel comes too late (EALREADY), and
// both completions come in either order. Reads and polls of the machine's own descriptors, such as
// the loop's eventfd, complete only when they are cancelled. Loop thread only.
#pragma once

#include "sim_machine.hpp"

#include <sapwood/ring.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace sapwood {

class sim_ring final : public ring {
  public:
    /// A process begins.
    explicit sim_ring(detail::sim_machine& machine);
    /// It is over.
    ~sim_ring() override;

    void enter(clock::time_point until) override;

    [[nodiscard]] clock::time_point now() const noexcept override { return machine_.now; }

    [[nodiscard]] std::string report() const override;

  private:
    enum class stage : std::uint8_t { free, waiting, begun };

    /// An operation that has been submitted and has not completed.
    struct flight {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic" // the header's array of no size at the end
        io_uring_sqe sqe;
#pragma GCC diagnostic pop
        std::uint64_t mark;
        std::uint64_t serial;
        /// The next of its chain, which begins when this one is over.
        std::uint32_t rest;
        stage at;
        /// Its completion is on its way, and says so.
        bool is_cancelled;
    };

    struct event {
        clock::time_point when;
        std::uint64_t serial;
        std::uint32_t index;

        /// For a heap whose first is the earliest.
        friend bool operator<(const event& one, const event& other) noexcept {
            return one.when != other.when ? one.when > other.when : one.serial > other.serial;
        }
    };

    static constexpr std::uint32_t nobody = UINT32_MAX;

    /// Completes only by being cancelled, or stopped.
    [[nodiscard]] static bool is_standing(const io_uring_sqe& sqe) noexcept;
    void take_staged(unsigned count);
    [[nodiscard]] std::uint32_t add(const io_uring_sqe& sqe);
    void start(std::uint32_t index);
    void schedule(std::uint32_t index, clock::time_point when);
    [[nodiscard]] bool is_there_event_until(clock::time_point until) noexcept;
    void run_event();
    void run_due();
    void begin(std::uint32_t index);
    void end(std::uint32_t index);
    void wait_for_ever(std::uint32_t index);
    void finish(std::uint32_t index, std::int32_t value);
    void cancel_chain(std::uint32_t index);
    [[nodiscard]] std::int32_t cancel(std::uint32_t request);
    [[nodiscard]] std::int32_t stop(std::uint32_t index);
    [[nodiscard]] bool matches(const flight& each, const io_uring_sqe& sqe) const noexcept;
    void post(std::uint64_t user_data, std::int32_t value);
    void flush_overflow();
    void crash();
    void hang(const char* why);

    detail::sim_machine& machine_;
    std::vector<io_uring_sqe> sqes_;
    std::vector<io_uring_cqe> cqes_;
    std::vector<io_uring_cqe> overflow_;
    std::vector<flight> flights_;
    std::vector<std::uint32_t> free_;
    std::vector<event> events_;
    std::uint64_t serials_ = 0;
    unsigned sq_head_ = 0;
    unsigned sq_flags_ = IORING_SQ_TASKRUN;
    unsigned cq_head_ = 0;
    unsigned cq_tail_ = 0;
    bool is_stopping_ = false;
};

} // namespace sapwood
