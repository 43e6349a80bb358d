// Waiting for a time, for a turn, for quiet. Loop thread only.
#pragma once

#include <sapwood/event_loop.hpp>

namespace sapwood {

namespace detail {

/// Waits for a duration, or until a time_point.
class [[nodiscard]] sleep_awaiter final : public waiter, private timer {
  public:
    explicit sleep_awaiter(clock::duration duration) noexcept : duration_(duration) {}

    explicit sleep_awaiter(clock::time_point deadline) noexcept
        : deadline_(deadline),
          is_absolute_(true) {}

    [[nodiscard]] bool await_ready() const noexcept { return false; }

    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location where = std::source_location::current()) {
        context = awaiting.promise().context;
        if (context->must_stop()) [[unlikely]] {
            return false;
        }
        if (!is_absolute_) {
            deadline_ = saturating_add(context->loop->now(), duration_);
        }
        context->loop->arm(*this, deadline_);
        wait_in(awaiting, where);
        return true;
    }

    /// A sleep has no result to lose: a request that came after the deadline counts as well.
    void await_resume() const {
        if (context->take_cancel_request()) {
            throw cancelled{};
        }
    }

    /// Without throwing; see as_result.
    result<void> outcome() const noexcept {
        return context->take_cancel_request() ? make_error_code(std::errc::operation_canceled)
                                              : std::error_code();
    }

    void cancel() noexcept override {
        context->loop->disarm(*this);
        context->loop->make_ready(*this);
    }

    [[nodiscard]] std::string describe() const override { return "sleep"; }

  private:
    void fire() noexcept override { context->loop->make_ready(*this); }

    clock::duration duration_{};
    clock::time_point deadline_{};
    bool is_absolute_ = false;
};

/// Lets every other ready task run once.
class [[nodiscard]] yield_awaiter final : private ready_node {
  public:
    [[nodiscard]] bool await_ready() const noexcept { return false; }

    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location where = std::source_location::current()) noexcept {
        handle = awaiting;
        context = awaiting.promise().context;
        awaiting.promise().awaits_at(where);
        context->loop->make_ready(*this);
    }

    void await_resume() const {
        if (context->take_cancel_request()) [[unlikely]] {
            throw cancelled{};
        }
    }
};

/// Waits until no task of the loop is ready to run, or until a deadline.
class [[nodiscard]] idle_awaiter final : public waiter, private timer {
  public:
    explicit idle_awaiter(clock::duration at_most) noexcept : at_most_(at_most) {}

    [[nodiscard]] bool await_ready() const noexcept { return false; }

    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location where = std::source_location::current()) {
        context = awaiting.promise().context;
        if (context->must_stop()) [[unlikely]] {
            return false;
        }
        event_loop& loop = *context->loop;
        loop.arm(*this, saturating_add(loop.now(), at_most_));
        loop.idle_waiters().push_back(*this);
        wait_in(awaiting, where);
        return true;
    }

    void await_resume() {
        if (!outcome()) {
            throw cancelled{};
        }
    }

    /// Without throwing; see as_result.
    result<void> outcome() noexcept {
        if (armed()) { // it was the quiet that came first
            context->loop->disarm(*this);
        }
        return context->take_cancel_request() ? make_error_code(std::errc::operation_canceled)
                                              : std::error_code();
    }

    /// Ends the wait now, if it has begun and is not over.
    void wake() noexcept {
        if (context != nullptr && context->waiting == this) {
            context->loop->disarm(*this);
            leave();
        }
    }

    void cancel() noexcept override { wake(); }

    [[nodiscard]] std::string describe() const override { return "idle"; }

  private:
    void fire() noexcept override { leave(); }

    void leave() noexcept {
        context->loop->idle_waiters().remove(*this);
        context->loop->make_ready(*this);
    }

    clock::duration at_most_;
};

} // namespace detail

/// Waits for `duration` at least; zero or less waits for one turn of the loop. Throws `cancelled`.
[[nodiscard]] inline detail::sleep_awaiter sleep_for(time_span duration) noexcept {
    return detail::sleep_awaiter(duration);
}

/// Waits until `deadline`, on the loop's clock. Throws `cancelled`.
[[nodiscard]] inline detail::sleep_awaiter sleep_until(clock::time_point deadline) noexcept {
    return detail::sleep_awaiter(deadline);
}

/// Lets every other ready task run once. Throws `cancelled`.
[[nodiscard]] inline detail::yield_awaiter yield() noexcept {
    return {};
}

/// Waits until no other task of this loop is ready to run, `at_most` at the longest: the moment to
/// do what should happen once for a burst. Throws `cancelled`.
[[nodiscard]] inline detail::idle_awaiter idle(time_span at_most) noexcept {
    return detail::idle_awaiter(at_most);
}

} // namespace sapwood
