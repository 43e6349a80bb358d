// event: something that happens once, or again after reset, and that tasks wait for. Loop thread
// only.
#pragma once

#include <sapwood/event_loop.hpp>

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
        while (!waiters_.empty()) {
            waiter& first = waiters_.pop_front();
            first.context->loop->make_ready(first);
        }
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

class [[nodiscard]] event::awaiter final : public waiter {
  public:
    explicit awaiter(event& of) noexcept : event_(of) {}

    [[nodiscard]] bool await_ready() const noexcept { return event_.is_set_; }

    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> awaiting) noexcept {
        context = awaiting.promise().context;
        if (context->must_stop()) [[unlikely]] {
            cancelled_ = true;
            return false;
        }
        wait_in(awaiting);
        event_.waiters_.push_back(*this);
        return true;
    }

    void await_resume() const {
        if (!outcome()) {
            throw cancelled{};
        }
    }

    /// Without throwing; see as_result.
    result<void> outcome() const noexcept {
        if (!cancelled_) {
            return {};
        }
        (void)context->take_cancel_request();
        return make_error_code(std::errc::operation_canceled);
    }

    void cancel() noexcept override {
        cancelled_ = true;
        event_.waiters_.remove(*this);
        context->loop->make_ready(*this);
    }

  private:
    event& event_;
    bool cancelled_ = false;
};

inline event::awaiter event::wait() noexcept {
    return awaiter(*this);
}

} // namespace sapwood
