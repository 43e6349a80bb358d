// task<T>: a coroutine that starts when it is awaited, on the awaiting coroutine's loop, and hands
// its result or its exception to it. Control passes from parent to child and back by symmetric
// transfer, not through the loop. Frames come from the thread's frame pool. Loop thread only, but
// a task that has not started may be made and moved anywhere.
#pragma once

#include <sapwood/errors.hpp>
#include <sapwood/event_loop.hpp>
#include <sapwood/frame_pool.hpp>
#include <sapwood/inherited_value.hpp>
#include <sapwood/waiter.hpp>

#include <concepts>
#include <coroutine>
#include <exception>
#include <memory>
#include <type_traits>
#include <typeinfo>
#include <utility>

namespace sapwood {

namespace detail {

/// Whether `error` is a `cancelled`; without throwing it again where the library can tell.
[[nodiscard]] inline bool is_cancelled(const std::exception_ptr& error) noexcept {
    if (!error) {
        return false;
    }
#ifdef __GLIBCXX__
    return *error.__cxa_exception_type() == typeid(cancelled);
#else
    try {
        std::rethrow_exception(error);
    } catch (const cancelled&) {
        return true;
    } catch (...) {
        return false;
    }
#endif
}

/// The context of a task that nobody's coroutine awaits: a spawned one, a branch of a when_all.
class root_context : public task_context {
  public:
    /// The task's coroutine is over, suspended at its end. May destroy it.
    virtual void finished() noexcept = 0;

    /// What it inherited, and has bound for good, is no longer its.
    void drop_inherited() noexcept {
        if (name != nullptr || locals != nullptr) [[unlikely]] {
            release_inherited(std::exchange(name, nullptr));
            release_inherited(std::exchange(locals, nullptr));
        }
    }

  protected:
    ~root_context() = default;

    /// Takes over the name and the task_locals of `parent`.
    void inherit_from(const task_context& parent) noexcept {
        if (parent.name != nullptr || parent.locals != nullptr) [[unlikely]] {
            name = share_inherited(parent.name);
            locals = share_inherited(parent.locals);
        }
    }

    /// The same from the task that runs right now, if one does.
    void inherit_from_running() noexcept {
        if (running_loop != nullptr && running_loop->running_task() != nullptr) {
            inherit_from(*running_loop->running_task());
        }
    }
};

/// As a ready_node, it stands for the parent: `handle` is who awaits this task. Null for a root.
class promise_base : public ready_node {
  public:
    static void* operator new(std::size_t bytes) { return allocate_frame(bytes); }

    static void operator delete(void* memory, std::size_t bytes) noexcept {
        free_frame(memory, bytes);
    }

    /// Waits to be started. A root that is cancelled before its start never runs its body.
    struct initial_awaiter {
        const promise_base& promise;

        bool await_ready() const noexcept { return false; }

        void await_suspend(std::coroutine_handle<>) const noexcept {}

        void await_resume() const {
            if (promise.handle == nullptr && promise.context->take_cancel_request()) [[unlikely]] {
                throw cancelled{};
            }
        }
    };

    initial_awaiter initial_suspend() const noexcept { return {*this}; }

    struct final_awaiter {
        bool await_ready() const noexcept { return false; }

        template <class Promise>
        std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> self) const noexcept {
            promise_base& promise = self.promise();
            const std::coroutine_handle<> parent = promise.handle;
            if (parent == nullptr) {
                auto& root = *static_cast<root_context*>(promise.context);
                root.drop_inherited();
                root.finished();
                return std::noop_coroutine();
            }
            event_loop& loop = *promise.context->loop;
            if (loop.stack_is_deep(__builtin_frame_address(0))) [[unlikely]] {
                loop.resume_next(promise);
                return std::noop_coroutine();
            }
            return parent;
        }

        void await_resume() const noexcept {}
    };

    final_awaiter final_suspend() const noexcept { return {}; }

    void unhandled_exception() noexcept { error = std::current_exception(); }

    std::exception_ptr error;
};

template <class T>
class promise final : public promise_base {
  public:
    promise() noexcept {}

    promise(const promise&) = delete;
    promise& operator=(const promise&) = delete;

    ~promise() {
        if (has_value_) {
            std::destroy_at(std::addressof(value_));
        }
    }

    task<T> get_return_object() noexcept;

    template <class U>
        requires std::is_constructible_v<T, U>
    void return_value(U&& value) noexcept(std::is_nothrow_constructible_v<T, U>) {
        std::construct_at(std::addressof(value_), std::forward<U>(value));
        has_value_ = true;
    }

    /// What the coroutine returned, or its exception. Once.
    T take() {
        if (error) [[unlikely]] {
            std::rethrow_exception(std::move(error));
        }
        SAPWOOD_ASSERT(has_value_, "a task<T> ended without co_return");
        return std::move(value_);
    }

  private:
    union {
        T value_;
    };

    bool has_value_ = false;
};

template <class T>
class promise<T&> final : public promise_base {
  public:
    task<T&> get_return_object() noexcept;

    void return_value(T& value) noexcept { value_ = std::addressof(value); }

    T& take() {
        if (error) [[unlikely]] {
            std::rethrow_exception(std::move(error));
        }
        SAPWOOD_ASSERT(value_ != nullptr, "a task<T&> ended without co_return");
        return *value_;
    }

  private:
    T* value_ = nullptr;
};

template <>
class promise<void> final : public promise_base {
  public:
    task<void> get_return_object() noexcept;

    void return_void() const noexcept {}

    void take() {
        if (error) [[unlikely]] {
            std::rethrow_exception(std::move(error));
        }
    }
};

} // namespace detail

/// Owns the coroutine. Await it once, as `co_await std::move(t)` or `co_await f()`; or give it to
/// spawn, when_all or run. One that is never awaited never runs.
template <class T>
class [[nodiscard]] task {
  public:
    using value_type = T;
    using promise_type = detail::promise<T>;

    task(task&& other) noexcept : coroutine_(std::exchange(other.coroutine_, nullptr)) {}

    task& operator=(task&& other) noexcept {
        if (this != &other) {
            destroy();
            coroutine_ = std::exchange(other.coroutine_, nullptr);
        }
        return *this;
    }

    ~task() { destroy(); }

    class awaiter {
      public:
        explicit awaiter(std::coroutine_handle<promise_type> child) noexcept : child_(child) {}

        bool await_ready() const noexcept { return false; }

        template <class Parent>
        std::coroutine_handle<> await_suspend(std::coroutine_handle<Parent> parent) const noexcept {
            auto& promise = child_.promise();
            promise.handle = parent;
            promise.context = parent.promise().context;
            return child_;
        }

        T await_resume() const { return child_.promise().take(); }

      private:
        std::coroutine_handle<promise_type> child_;
    };

    /// Starts the coroutine and waits for its end. Borrows the task to the end of the expression.
    awaiter operator co_await() && noexcept {
        SAPWOOD_ASSERT(coroutine_ != nullptr && coroutine_.promise().context == nullptr,
                       "a task was awaited twice, or after it was moved from");
        return awaiter(coroutine_);
    }

    /// A task runs once: `co_await std::move(t)`.
    template <class Itself = task>
    void operator co_await() & noexcept {
        static_assert(!std::is_same_v<Itself, task>,
                      "a task is awaited once, and given away by it: co_await std::move(it)");
    }

    /// Gives up the coroutine; who takes it starts it and destroys it.
    [[nodiscard]] std::coroutine_handle<promise_type> release() && noexcept {
        SAPWOOD_ASSERT(coroutine_ != nullptr && coroutine_.promise().context == nullptr,
                       "a task was started twice, or after it was moved from");
        return std::exchange(coroutine_, nullptr);
    }

  private:
    friend promise_type;

    explicit task(std::coroutine_handle<promise_type> coroutine) noexcept : coroutine_(coroutine) {}

    void destroy() noexcept {
        if (coroutine_ != nullptr) {
            SAPWOOD_ASSERT(coroutine_.done() || coroutine_.promise().context == nullptr,
                           "a task was destroyed while it waits: cancel and await it instead");
            coroutine_.destroy();
        }
    }

    std::coroutine_handle<promise_type> coroutine_;
};

namespace detail {

template <class T>
task<T> promise<T>::get_return_object() noexcept {
    return task<T>(std::coroutine_handle<promise>::from_promise(*this));
}

template <class T>
task<T&> promise<T&>::get_return_object() noexcept {
    return task<T&>(std::coroutine_handle<promise>::from_promise(*this));
}

inline task<void> promise<void>::get_return_object() noexcept {
    return task<void>(std::coroutine_handle<promise>::from_promise(*this));
}

template <class T>
inline constexpr bool is_task = false;
template <class T>
inline constexpr bool is_task<task<T>> = true;

/// What makes a task when it is called without arguments: a function, or a lambda coroutine.
template <class F>
concept task_function = std::invocable<F&> && is_task<std::invoke_result_t<F&>>;

/// Keeps `work`, and so what a lambda has captured, until its task is over.
template <task_function F>
std::invoke_result_t<F&> call(F work) {
    co_return co_await work();
}

} // namespace detail

} // namespace sapwood
