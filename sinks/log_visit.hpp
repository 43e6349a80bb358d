// A stretch of the consumer's work during which its rings, batches and forms are half changed: no
// process is doubled meanwhile, and a signal handler leaves them alone. Not across a co_await.
#pragma once

#include <sapwood/log_consumer.hpp>

namespace sapwood::detail {

/// Added to a time: later than all that there is.
inline constexpr std::uint64_t far_future_ticks = std::uint64_t{1} << 62;

class log_consumer::visit {
  public:
    explicit visit(log_consumer& to) : to_(to) {
        to_.visiting_.lock();
        visited_ = &to_;
        to_.visits_.store(to_.visits() + 1, std::memory_order_relaxed);
        to_.is_visiting_.store(true, std::memory_order_seq_cst);
        // The handler sets the one and then looks at the other: at least one of them sees it.
        if (to_.is_taken_over_.load(std::memory_order_seq_cst)) [[unlikely]] {
            stand_still();
        }
    }

    visit(const visit&) = delete;
    visit& operator=(const visit&) = delete;

    ~visit() {
        to_.is_visiting_.store(false, std::memory_order_release);
        visited_ = nullptr;
        to_.visiting_.unlock();
    }

    /// On this thread, right now.
    [[nodiscard]] static bool is_going_on(const log_consumer& to) noexcept {
        return visited_ == &to;
    }

  private:
    /// As long as a signal handler does its work: for ever, as a rule.
    void stand_still() noexcept;

    static constinit thread_local log_consumer* visited_;

    log_consumer& to_;
};

} // namespace sapwood::detail
