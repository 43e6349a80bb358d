// timeout and deadline: whatever can be awaited, for so long at most. Loop thread only.
//
// No task is spawned: what is awaited runs in the awaiting task, in a cancel scope with a timer.
#pragma once

#include <sapwood/branches.hpp>
#include <sapwood/cancel_scope.hpp>
#include <sapwood/result.hpp>

#include <exception>

namespace sapwood {

namespace detail {

/// A scope that is told to stop at a time.
class expiring_scope final : public cancel_scope, private timer {
  public:
    /// Throws std::bad_alloc where the timer cannot be armed; the scope is not entered then.
    void enter_until(task_context& task, clock::time_point deadline) {
        enter_until(task, deadline, task.loop->now());
    }

    void enter_for(task_context& task, clock::duration at_most) {
        const clock::time_point now = task.loop->now();
        enter_until(task, saturating_add(now, at_most), now);
    }

    bool leave(bool threw) noexcept {
        if (armed()) {
            loop_->disarm(*this);
        }
        return cancel_scope::leave(threw);
    }

  private:
    void enter_until(task_context& task, clock::time_point deadline, clock::time_point now) {
        if (deadline > now) {
            task.loop->arm(*this, deadline);
            loop_ = task.loop;
            enter(task);
        } else {
            enter(task);
            cancel();
        }
    }

    void fire() noexcept override { cancel(); }

    event_loop* loop_ = nullptr;
};

/// Throw std::errc::timed_out, with how long it was given.
[[noreturn]] void throw_timed_out(clock::duration at_most);
[[noreturn]] void throw_past_deadline();

/// Awaits a task that it owns.
template <class T>
class owned_task_awaiter {
  public:
    explicit owned_task_awaiter(task<T> from) noexcept : task_(std::move(from)) {}

    [[nodiscard]] bool await_ready() const noexcept { return false; }

    template <class Promise>
    std::coroutine_handle<>
    await_suspend(std::coroutine_handle<Promise> parent,
                  std::source_location where = std::source_location::current()) const noexcept {
        return typename task<T>::awaiter(task_.coroutine).await_suspend(parent, where);
    }

    T await_resume() const { return task_.coroutine.promise().take(); }

  private:
    started_task<T> task_;
};

/// Awaits what `work` makes, and keeps `work` meanwhile.
template <task_function F>
class owned_function_awaiter {
    using made = std::invoke_result_t<F&>;

  public:
    explicit owned_function_awaiter(F work) : work_(std::move(work)), task_(work_()) {}

    owned_function_awaiter(const owned_function_awaiter&) = delete;
    owned_function_awaiter& operator=(const owned_function_awaiter&) = delete;

    [[nodiscard]] bool await_ready() const noexcept { return false; }

    template <class Promise>
    std::coroutine_handle<>
    await_suspend(std::coroutine_handle<Promise> parent,
                  std::source_location where = std::source_location::current()) const noexcept {
        return task_.await_suspend(parent, where);
    }

    typename made::value_type await_resume() const { return task_.await_resume(); }

  private:
    F work_;
    owned_task_awaiter<typename made::value_type> task_;
};

/// `Inner` is an awaiter, or a reference to one that lives to the end of the expression.
template <class Inner>
class [[nodiscard]] timeout_awaiter {
    using value = decltype(std::declval<Inner&>().await_resume());
    static constexpr bool inner_is_fallible = fallible_awaiter<std::remove_reference_t<Inner>>;

  public:
    template <class Make>
    timeout_awaiter(clock::duration at_most, Make&& make)
        : inner_(std::forward<Make>(make)()),
          at_most_(at_most) {}

    template <class Make>
    timeout_awaiter(clock::time_point deadline, Make&& make)
        : inner_(std::forward<Make>(make)()),
          deadline_(deadline),
          is_absolute_(true) {}

    timeout_awaiter(const timeout_awaiter&) = delete;
    timeout_awaiter& operator=(const timeout_awaiter&) = delete;

    [[nodiscard]] bool await_ready() { return inner_.await_ready(); }

    template <class Promise>
    auto await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location where = std::source_location::current()) {
        task_context& task = *awaiting.promise().context;
        if (is_absolute_) {
            scope_.enter_until(task, deadline_);
        } else {
            scope_.enter_for(task, at_most_);
        }
        entered_ = true;
        if constexpr (noexcept(inner_.await_suspend(awaiting))) {
            return suspend_in(inner_, awaiting, where);
        } else {
            try {
                return suspend_in(inner_, awaiting, where);
            } catch (...) {
                leave(false);
                throw;
            }
        }
    }

    value await_resume() {
        if (!entered_) {
            return inner_.await_resume();
        }
        try {
            if constexpr (std::is_void_v<value>) {
                inner_.await_resume();
                leave(false);
            } else {
                // The value is constructed where the caller wants it, before the scope is left.
                const leaving last(*this);
                return inner_.await_resume();
            }
        } catch (const cancelled&) {
            if (leave(true)) {
                throw_timed_out();
            }
            throw;
        } catch (...) {
            leave(false);
            throw;
        }
    }

    /// Without throwing that it timed out; see as_result. What is not an operation by itself, as
    /// a task, still throws everything else.
    auto outcome() {
        if constexpr (inner_is_fallible) {
            return outcome_of_fallible();
        } else {
            return outcome_of_throwing();
        }
    }

  private:
    /// Leaves the scope at the end of a block that is left normally; a handler does it otherwise.
    class leaving {
      public:
        explicit leaving(timeout_awaiter& scope) noexcept
            : scope_(scope),
              exceptions_(std::uncaught_exceptions()) {}

        ~leaving() {
            if (std::uncaught_exceptions() == exceptions_) {
                scope_.leave(false);
            }
        }

      private:
        timeout_awaiter& scope_;
        const int exceptions_;
    };

    bool leave(bool threw) noexcept {
        return std::exchange(entered_, false) && scope_.leave(threw);
    }

    [[noreturn]] void throw_timed_out() const {
        if (is_absolute_) {
            throw_past_deadline();
        }
        detail::throw_timed_out(at_most_);
    }

    auto outcome_of_fallible() {
        try {
            auto ended = inner_.outcome();
            if (leave(ended.error() == std::errc::operation_canceled)) {
                return decltype(ended)(make_error_code(std::errc::timed_out));
            }
            return ended;
        } catch (...) {
            leave(false);
            throw;
        }
    }

    result<value> outcome_of_throwing() {
        try {
            if constexpr (std::is_void_v<value>) {
                inner_.await_resume();
                leave(false);
                return {};
            } else {
                result<value> ended(inner_.await_resume());
                leave(false);
                return ended;
            }
        } catch (const cancelled&) {
            if (leave(true)) {
                return make_error_code(std::errc::timed_out);
            }
            throw;
        } catch (...) {
            leave(false);
            throw;
        }
    }

    Inner inner_;
    expiring_scope scope_;
    clock::duration at_most_{};
    clock::time_point deadline_{};
    bool is_absolute_ = false;
    bool entered_ = false;
};

template <class A>
concept has_awaiter = requires(A&& awaitable) { std::forward<A>(awaitable).operator co_await(); };

template <class A>
concept plain_awaiter = requires(std::remove_reference_t<A>& awaiter) {
    awaiter.await_ready();
    awaiter.await_resume();
};

/// `when` is a duration or a time_point.
template <class When, class A>
[[nodiscard]] auto limit(When when, A&& awaitable) {
    using plain = std::remove_cvref_t<A>;
    if constexpr (is_task<plain>) {
        static_assert(!std::is_lvalue_reference_v<A>,
                      "a task is awaited once, and given away by it: timeout(d, std::move(it))");
        using inner = owned_task_awaiter<typename plain::value_type>;
        return timeout_awaiter<inner>(when, [&] { return inner(std::forward<A>(awaitable)); });
    } else if constexpr (task_function<plain>) {
        using inner = owned_function_awaiter<plain>;
        return timeout_awaiter<inner>(when, [&] { return inner(std::forward<A>(awaitable)); });
    } else if constexpr (has_awaiter<A>) {
        using inner = decltype(std::forward<A>(awaitable).operator co_await());
        return timeout_awaiter<inner>(
            when, [&]() -> inner { return std::forward<A>(awaitable).operator co_await(); });
    } else {
        static_assert(plain_awaiter<A>, "timeout wants something that a task can co_await");
        using inner = std::remove_reference_t<A>&;
        return timeout_awaiter<inner>(when, [&]() -> inner { return awaitable; });
    }
}

} // namespace detail

/// `co_await timeout(2s, something)` is `co_await something`, but where that is still waiting after
/// `at_most` it is told to stop (it gets `cancelled`, once), its end is awaited, and where it did
/// stop, std::system_error with std::errc::timed_out is thrown. `something` is a task, a function
/// or lambda coroutine that makes one (kept until it is over), a join_handle, or any operation,
/// sleep, send, receive, when_all and so on; awaiters are borrowed: write them into the co_await
/// expression itself.
///
/// - What ends with a result or an exception of its own after all is not touched: that is given,
///   and nothing is left of the request.
/// - A request to the task itself, or of a timeout further out, stays what it is, and where both
///   come it counts: it leaves as `cancelled`.
/// - Zero or less: it is told to stop where it first has to wait.
/// - Under a shield inside of it the request waits for the shield's end. A shield around it is none
///   to it.
/// - `co_await as_result(timeout(2s, something))` gives std::errc::timed_out in a result<T>; where
///   `something` is a task, a function or a handle its own exceptions are still thrown.
template <class A>
[[nodiscard]] auto timeout(time_span at_most, A&& awaitable) {
    return detail::limit(clock::duration(at_most), std::forward<A>(awaitable));
}

/// The same until a time on the loop's clock.
template <class A>
[[nodiscard]] auto deadline(clock::time_point until, A&& awaitable) {
    return detail::limit(until, std::forward<A>(awaitable));
}

} // namespace sapwood
