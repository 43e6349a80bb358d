// A ring without a kernel, for what a kernel does rarely: the test says how each operation ends
// and what an enter does. Time is virtual. A loop that would wait for ever ends the program
// instead, so a lost wake-up is a failure and not a hang. Loop thread only.
#pragma once

#include <sapwood/ring.hpp>

#include <functional>
#include <optional>
#include <vector>

namespace sapwood::test {

class scripted_ring final : public ring {
  public:
    struct options {
        /// Both powers of two.
        unsigned sq_entries = 64;
        unsigned cq_entries = 256;
    };

    scripted_ring() : scripted_ring(options{}) {}

    explicit scripted_ring(options wanted);

    /// How an operation that has been submitted ends: with this result, or (empty) not by itself.
    std::function<std::optional<std::int32_t>(const io_uring_sqe&)> answer;
    /// How an operation in flight ends that is asked to cancel, or (empty) not. By default
    /// -ECANCELED.
    std::function<std::optional<std::int32_t>(const io_uring_sqe&)> answer_cancel;
    /// Asked at every enter; false makes that enter return at once, with nothing submitted.
    std::function<bool()> interrupt;
    /// Called instead of ending the program where the loop would wait for ever: it waits for
    /// another thread, and completes what that one has ended.
    std::function<void()> wait_for_thread;

    /// Whether it has buffers to receive into, which the answers would have to use.
    bool takes_buffers = false;

    [[nodiscard]] bool register_buffers(io_uring_buf_ring&, unsigned,
                                        std::uint16_t) noexcept override {
        return takes_buffers;
    }

    /// Submitted and not complete, oldest first.
    [[nodiscard]] const std::vector<io_uring_sqe>& in_flight() const noexcept { return in_flight_; }

    [[nodiscard]] unsigned enters() const noexcept { return enters_; }

    /// Ends an operation in flight; with IORING_CQE_F_MORE among `flags` it goes on.
    void complete(std::uint64_t user_data, std::int32_t value, std::uint32_t flags = 0);

    /// Time passes, also for a loop that is never idle.
    void advance(clock::duration time) noexcept { now_ += time; }

    void enter(clock::time_point until) override;

    [[nodiscard]] clock::time_point now() const noexcept override { return now_; }

    [[nodiscard]] std::string report() const override { return "scripted"; }

  private:
    void submit(const io_uring_sqe& sqe);
    void cancel(const io_uring_sqe& request);
    void post(std::uint64_t user_data, std::int32_t value, std::uint32_t flags = 0);
    void flush();

    std::vector<io_uring_sqe> sqes_;
    std::vector<io_uring_cqe> cqes_;
    /// Completions that do not fit into the queue yet.
    std::vector<io_uring_cqe> overflow_;
    std::vector<io_uring_sqe> in_flight_;
    unsigned sq_head_ = 0;
    unsigned sq_flags_ = 0;
    unsigned cq_head_ = 0;
    unsigned cq_tail_ = 0;
    unsigned enters_ = 0;
    clock::time_point now_ = clock::time_point(std::chrono::hours(24));
};

} // namespace sapwood::test
