// semaphore: so many at a time. Loop thread only.
#pragma once

#include <sapwood/list_awaiter.hpp>

#include <cstddef>

namespace sapwood {

/// Fair: a permit goes to who has waited longest, and a newcomer never overtakes. Must outlive the
/// waits on it.
class semaphore {
  public:
    class awaiter;

    explicit semaphore(std::size_t permits) noexcept : permits_(permits) {}

    semaphore(const semaphore&) = delete;
    semaphore& operator=(const semaphore&) = delete;

    /// Takes a permit, waiting while there is none. Throws `cancelled`; a task that was handed a
    /// permit and then cancelled has it, and the request stays pending.
    [[nodiscard]] awaiter acquire() noexcept;

    /// False where acquire would have to wait.
    [[nodiscard]] bool try_acquire() noexcept {
        if (permits_ == 0) {
            return false;
        }
        --permits_;
        return true;
    }

    /// Gives back, or adds, permits. Need not be the task that took them.
    void release(std::size_t permits = 1) noexcept {
        for (; permits > 0 && !waiters_.empty(); --permits) {
            detail::wake_first(waiters_);
        }
        permits_ += permits;
    }

    /// Permits that nobody has. None while somebody waits.
    [[nodiscard]] std::size_t available() const noexcept { return permits_; }

  private:
    waiter_list waiters_;
    std::size_t permits_;
};

class [[nodiscard]] semaphore::awaiter final : public detail::list_awaiter {
  public:
    explicit awaiter(semaphore& of) noexcept : list_awaiter(of.waiters_), semaphore_(of) {}

    [[nodiscard]] bool await_ready() const noexcept { return semaphore_.try_acquire(); }

    [[nodiscard]] std::string describe() const override { return "acquire of a semaphore"; }

  private:
    semaphore& semaphore_;
};

inline semaphore::awaiter semaphore::acquire() noexcept {
    return awaiter(*this);
}

} // namespace sapwood
