// latch: waits until something has happened so many times. Once. Loop thread only.
#pragma once

#include <sapwood/list_awaiter.hpp>

#include <cstddef>

namespace sapwood {

/// Must outlive the waits on it.
class latch {
  public:
    class awaiter;

    /// Opens when it has been counted down `expected` times; at once for 0.
    explicit latch(std::size_t expected) noexcept : expected_(expected) {}

    latch(const latch&) = delete;
    latch& operator=(const latch&) = delete;

    /// More often than expected is a programming error.
    void count_down(std::size_t times = 1) noexcept {
        SAPWOOD_ASSERT(times <= expected_, "a latch was counted down more often than it expected");
        expected_ -= times;
        if (expected_ == 0) {
            detail::wake_all(waiters_);
        }
    }

    [[nodiscard]] bool is_open() const noexcept { return expected_ == 0; }

    /// Waits until it is open. Throws `cancelled`.
    [[nodiscard]] awaiter wait() noexcept;

    /// Counts down once, at the call, and waits.
    [[nodiscard]] awaiter arrive_and_wait() noexcept;

  private:
    waiter_list waiters_;
    std::size_t expected_;
};

class [[nodiscard]] latch::awaiter final : public detail::list_awaiter {
  public:
    explicit awaiter(latch& of) noexcept : list_awaiter(of.waiters_), latch_(of) {}

    [[nodiscard]] bool await_ready() const noexcept { return latch_.is_open(); }

    [[nodiscard]] std::string describe() const override { return "wait for a latch"; }

  private:
    latch& latch_;
};

inline latch::awaiter latch::wait() noexcept {
    return awaiter(*this);
}

inline latch::awaiter latch::arrive_and_wait() noexcept {
    count_down();
    return wait();
}

} // namespace sapwood
