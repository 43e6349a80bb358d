// A ring without io_uring: it interprets the same SQEs in user space, by calls that do not block,
// epoll and a few threads, with the same results as the kernel's. For hosts where io_uring is
// forbidden. A descriptor must stay open until the operations on it have completed (file sees to
// that), and what an SQE points to must stay alive until then. Loop thread only.
#pragma once

#include "readiness.hpp"
#include "worker_pool.hpp"

#include <sapwood/ring.hpp>
#include <sapwood/timer.hpp>

#include <atomic>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

namespace sapwood {

class poll_ring final : public ring {
  public:
    struct options {
        /// As uring_ring's. Rounded up to a power of two.
        unsigned sq_entries = 256;
        unsigned cq_entries = 1024;
        /// Threads for what may wait for a disk. Two per file that hangs are lost to the others.
        unsigned disk_threads_max = 8;
        /// Threads for what waits for another process: the open of a FIFO, a read of a terminal
        /// that somebody else emptied first. More than these wait in line.
        unsigned peer_threads_max = 256;
        /// For the report: why it is this ring.
        std::string reason{};
    };

    /// Throws std::system_error where no descriptor or memory is left.
    explicit poll_ring(options wanted);

    /// Operations that are still in flight are broken off, as the kernel's ring does.
    ~poll_ring() override;

    void enter(clock::time_point until) override;
    [[nodiscard]] bool register_buffers(io_uring_buf_ring& entries, unsigned count,
                                        std::uint16_t group) noexcept override;
    [[nodiscard]] clock::time_point coarse_now() const noexcept override;
    [[nodiscard]] std::string report() const override;
    [[nodiscard]] std::vector<ring_feature> features() const override;

    /// Whether the ring knows the operation. One that it does not know completes with -ENOSYS.
    [[nodiscard]] static bool knows(std::uint8_t opcode) noexcept;

  private:
    struct request;
    struct lists;

    /// An interrupt that came a moment too early is repeated after this long, then after twice as
    /// long and so on. A disk that hangs cannot be interrupted and need not be asked often.
    static constexpr clock::duration interrupt_again_first = std::chrono::milliseconds(1);
    static constexpr clock::duration interrupt_again_max = std::chrono::milliseconds(256);

    // Taking SQEs.
    void take_staged();
    [[nodiscard]] bool reserve(std::size_t count) noexcept;
    [[nodiscard]] bool send_at_once(const io_uring_sqe& sqe) noexcept;
    void admit(request& first) noexcept;
    void run_starting() noexcept;
    void begin(request& node) noexcept;
    void begin_transfer(request& node) noexcept;
    void begin_socket_call(request& node) noexcept;
    void begin_multishot(request& node) noexcept;
    void begin_poll(request& node) noexcept;
    void begin_timeout(request& node) noexcept;
    void begin_wait(request& node) noexcept;
    void begin_performed(request& node) noexcept;
    void give_to_disk_workers(request& node, worker_pool::lane_key lane) noexcept;
    void give_to_peer_workers(request& node) noexcept;

    // What has come of them.
    [[nodiscard]] bool attempt(request& node, std::uint32_t events) noexcept;
    [[nodiscard]] std::int32_t attempt_multishot(const request& node) noexcept;
    [[nodiscard]] std::int32_t receive_into_buffer(const request& node,
                                                   std::uint32_t& flags) noexcept;
    void take_performed(request& node) noexcept;
    void finish(request& node, std::int32_t value) noexcept;
    void post(request& node) noexcept;

    void write_completion(std::uint64_t user_data, std::int32_t value,
                          std::uint32_t flags) noexcept {
        cqes_[cq_tail_ & cq_.mask] = {.user_data = user_data, .res = value, .flags = flags};
        std::atomic_ref(cq_tail_).store(cq_tail_ + 1, std::memory_order_release);
    }

    [[nodiscard]] bool is_full() const noexcept {
        return cq_tail_ - *cq_.head == options_.cq_entries;
    }

    void flush_overflow() noexcept;
    void sleep(clock::time_point until) noexcept;
    void look() noexcept;

    // Cancelling.
    [[nodiscard]] std::int32_t cancel(const io_uring_sqe& sqe) noexcept;
    [[nodiscard]] std::int32_t cancel_of_type(const io_uring_sqe& sqe,
                                              std::uint8_t opcode) noexcept;
    [[nodiscard]] std::int32_t stop(request& node) noexcept;

    // Constant after construction.
    const options options_;
    const std::unique_ptr<io_uring_sqe[]> sqes_;

    // Loop thread only. What the kernel would own of the two queues:
    std::vector<io_uring_cqe> cqes_;
    unsigned sq_head_ = 0;
    unsigned sq_flags_ = 0;
    unsigned cq_head_ = 0;
    unsigned cq_tail_ = 0;

    const std::unique_ptr<lists> lists_;
    std::vector<std::unique_ptr<request[]>> chunks_;
    std::size_t free_count_ = 0;
    std::size_t in_flight_ = 0;
    timer_queue timers_;
    /// Completions so far but for timeouts, which count them.
    std::uint64_t completion_count_ = 0;
    /// When to repeat the interrupts of calls that were to be broken off.
    clock::time_point repeat_interrupts_at_ = no_deadline;
    clock::duration repeat_interrupts_after_{};

    /// What was registered: the entries before the head have been used.
    io_uring_buf_ring* buffers_ = nullptr;
    unsigned buffers_mask_ = 0;
    std::uint16_t buffers_head_ = 0;
    std::uint16_t buffers_group_ = 0;

    detail::readiness readiness_;
    doorbell doorbell_;
    worker_pool disk_workers_;
    worker_pool peer_workers_;
};

} // namespace sapwood
