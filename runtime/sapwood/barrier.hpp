// barrier: a number of tasks wait for each other, round after round. Loop thread only.
#pragma once

#include <sapwood/list_awaiter.hpp>

#include <cstddef>

namespace sapwood {

/// Must outlive the waits on it.
class barrier {
  public:
    class awaiter;

    /// `parties` tasks, at least one, make a round.
    explicit barrier(std::size_t parties) noexcept : parties_(parties) {
        SAPWOOD_ASSERT(parties > 0, "a barrier needs at least one party");
    }

    barrier(const barrier&) = delete;
    barrier& operator=(const barrier&) = delete;

    /// Waits until all parties of the round have come, and the next round begins. True for one of
    /// them, the last to come, which may do what is to be done once. Throws `cancelled`: then it
    /// has not come, and the others wait for somebody in its place.
    [[nodiscard]] awaiter arrive_and_wait() noexcept;

    [[nodiscard]] std::size_t parties() const noexcept { return parties_; }

    /// How many have come in this round.
    [[nodiscard]] std::size_t waiting() const noexcept { return waiting_; }

  private:
    const std::size_t parties_;
    std::size_t waiting_ = 0;
    waiter_list waiters_;
};

class [[nodiscard]] barrier::awaiter final : public detail::list_awaiter {
  public:
    explicit awaiter(barrier& of) noexcept : list_awaiter(of.waiters_), barrier_(of) {}

    [[nodiscard]] bool await_ready() noexcept {
        if (barrier_.waiting_ + 1 < barrier_.parties_) {
            return false;
        }
        is_last_ = true;
        barrier_.waiting_ = 0;
        detail::wake_all(barrier_.waiters_);
        return true;
    }

    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location where = std::source_location::current()) noexcept {
        if (!list_awaiter::await_suspend(awaiting, where)) {
            return false;
        }
        ++barrier_.waiting_;
        return true;
    }

    bool await_resume() const {
        list_awaiter::await_resume();
        return is_last_;
    }

    /// Without throwing; see as_result.
    result<bool> outcome() const noexcept {
        if (const auto ended = list_awaiter::outcome(); !ended) {
            return ended.error();
        }
        return is_last_;
    }

    void cancel() noexcept override {
        --barrier_.waiting_;
        list_awaiter::cancel();
    }

    [[nodiscard]] std::string describe() const override { return "wait at a barrier"; }

  private:
    barrier& barrier_;
    bool is_last_ = false;
};

inline barrier::awaiter barrier::arrive_and_wait() noexcept {
    return awaiter(*this);
}

} // namespace sapwood
