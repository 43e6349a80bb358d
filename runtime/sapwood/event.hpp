// event: something that happens once, or again after reset, and that tasks wait for. Loop thread
// only.
#pragma once

#include <sapwood/list_awaiter.hpp>

namespace sapwood {

class event {
  public:
    class awaiter;

    event() = default;
    event(const event&) = delete;
    event& operator=(const event&) = delete;

    /// Tasks that still wait for it are cancelled.
    ~event() {
        while (!waiters_.empty()) {
            waiters_.front()->cancel(); // which takes it out of the list
        }
    }

    /// It has happened: everybody who waits becomes ready, and nobody waits until reset.
    void set() noexcept {
        is_set_ = true;
        detail::wake_all(waiters_);
    }

    void reset() noexcept { is_set_ = false; }

    [[nodiscard]] bool is_set() const noexcept { return is_set_; }

    /// Waits until it is set. A reset right after the set does not take back the wake-up. Throws
    /// `cancelled`.
    [[nodiscard]] awaiter wait() noexcept;

  private:
    waiter_list waiters_;
    bool is_set_ = false;
};

class [[nodiscard]] event::awaiter final : public detail::list_awaiter {
  public:
    explicit awaiter(event& of) noexcept : list_awaiter(of.waiters_), event_(of) {}

    [[nodiscard]] bool await_ready() const noexcept { return event_.is_set_; }

    [[nodiscard]] std::string describe() const override { return "wait for an event"; }

  private:
    event& event_;
};

inline event::awaiter event::wait() noexcept {
    return awaiter(*this);
}

} // namespace sapwood
