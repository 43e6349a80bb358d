// task<T>: a coroutine that starts when it is awaited, on the awaiting coroutine's loop, and hands
// its result or its exception to it. Control passes from parent to child and back by symmetric
// transfer, not through the loop. Frames come from the thread's frame pool. Loop thread only, but
// a task that has not started may be made and moved anywhere.
#pragma once

#include <sapwood/activity.hpp>
#include <sapwood/errors.hpp>
#include <sapwood/event_loop.hpp>
#include <sapwood/frame_pool.hpp>
#include <sapwood/inherited_value.hpp>
#include <sapwood/waiter.hpp>

#include <bit>
#include <concepts>
#include <coroutine>
#include <exception>
#include <memory>
#include <source_location>
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

class promise_base;

/// The context of a task that nobody's coroutine awaits: a spawned one, a branch of a when_all.
class root_context : public task_context {
  public:
    /// The task's coroutine is over, suspended at its end. May destroy it.
    virtual void finished() noexcept = 0;

    /// What it inherited, and has bound for good, is no longer its.
    void drop_inherited() noexcept {
        if (name != nullptr || locals != nullptr || doing != nullptr) [[unlikely]] {
            drop_what_is_there();
        }
    }

    /// Counts from 1, per loop, in the order in which tasks were started.
    [[nodiscard]] std::uint32_t number() const noexcept { return number_; }

    /// The task that ran when this one was started; 0 where none did, or it is not kept.
    [[nodiscard]] virtual std::uint32_t started_by() const noexcept { return 0; }

    /// When it was started, in the loop's coarse time.
    [[nodiscard]] std::uint32_t started_at() const noexcept { return started_at_; }

  protected:
    ~root_context() = default;

    /// It is a task of `home` from now on.
    void begin_on(event_loop& home) noexcept {
        loop = &home;
        number_ = home.count_task_start();
        started_at_ = home.coarse_time();
    }

    /// Takes over the name and the task_locals of `parent`, and what it is doing.
    void inherit_from(const task_context& parent) noexcept {
        if (parent.name != nullptr || parent.locals != nullptr || parent.doing != nullptr)
            [[unlikely]] {
            share_what_is_there(parent);
        }
    }

    /// The same from the task that runs right now, if one does, and whose number that is.
    std::uint32_t inherit_from_running() noexcept {
        if (running_loop == nullptr || running_loop->running_task() == nullptr) {
            if (thread_activity != nullptr) {
                doing = thread_activity->hand_down(&thread_activity, &doing);
            }
            return 0;
        }
        const task_context& parent = *running_loop->running_task();
        inherit_from(parent);
        return static_cast<const root_context&>(parent).number_;
    }

    /// A name of its own instead of an inherited one.
    void take_name(const promise_base& promise) noexcept;

  private:
    // Kept out of coroutines, where they would take registers from what is done every time.
    [[gnu::noinline, gnu::cold]] void drop_what_is_there() noexcept {
        drop_name(*this);
        release_inherited(std::exchange(locals, nullptr));
        activity*& place = activity_place(*this);
        if (place != nullptr) {
            place->let_go(place);
        }
        if (is_shielded) { // what asks it to stop from now on has come too late
            is_shielded = false;
            delete std::exchange(shielded, nullptr);
        }
    }

    [[gnu::noinline, gnu::cold]] void share_what_is_there(const task_context& parent) noexcept {
        share_name(parent, *this);
        locals = share_inherited(parent.locals);
        doing = hand_down_activity(activity_place(parent), doing);
    }

    std::uint32_t started_at_ = 0;
    std::uint32_t number_ = 0;
};

/// As a ready_node, it stands for the parent: `handle` is who awaits this task. Null for a root.
///
/// What would be its link in a queue is free until the coroutine is over, and keeps: before the
/// start, the name that the task is to have (a literal, see named); from then on the place of the
/// co_await in which the coroutine is, or was last.
class promise_base : public ready_node {
  public:
    /// The promise of the task<T> that this handle, of whatever T, is of.
    [[nodiscard]] static promise_base& of(std::coroutine_handle<> coroutine) noexcept {
        return std::coroutine_handle<promise_base>::from_address(coroutine.address()).promise();
    }

    /// Its coroutine suspends at `where`.
    void awaits_at(const std::source_location& where) noexcept {
        static_assert(sizeof(where) == sizeof(note));
        note = std::bit_cast<const void*>(where);
    }

    /// The same, in `node`.
    void waits_in(waiter& node, const std::source_location& where) noexcept {
        awaits_at(where);
        node.context = context;
        context->waiting = &node;
        context->waiting_since = context->loop->coarse_time();
    }

    /// Line 0 where it has not awaited anything yet.
    [[nodiscard]] std::source_location awaits_where() const noexcept {
        return std::bit_cast<std::source_location>(note);
    }

    /// Before the start.
    void name_before_start(const char* literal) noexcept { note = literal; }

    [[nodiscard]] const char* name_before_start() const noexcept {
        return static_cast<const char*>(note);
    }

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
                SAPWOOD_ASSERT(root.shields == 0 || root.is_shielded,
                               "a task ended while a shield of it is kept elsewhere: a shield "
                               "belongs into the coroutine that made it");
                root.drop_inherited();
                root.loop->count_task_end();
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

    void unhandled_exception() noexcept {
        error = std::current_exception();
        if (context->doing != nullptr) {
            tell_activity();
        }
    }

    std::exception_ptr error;

  private:
    [[gnu::noinline, gnu::cold]] void tell_activity() const noexcept {
        activity*& place = activity_place(*context);
        if (place != nullptr) {
            place->failed(place, error);
        }
    }
};

template <class T>
class promise final : public promise_base {
    static_assert(alignof(T) <= __STDCPP_DEFAULT_NEW_ALIGNMENT__,
                  "a task<T> cannot return what is aligned more strictly than operator new aligns: "
                  "coroutine frames are not");

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
        std::coroutine_handle<>
        await_suspend(std::coroutine_handle<Parent> parent,
                      std::source_location where = std::source_location::current()) const noexcept {
            auto& promise = child_.promise();
            parent.promise().awaits_at(where);
            promise.handle = parent;
            promise.context = parent.promise().context;
            promise.note = nullptr;
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

    /// Before the start: the task it becomes is named so. See named.
    [[nodiscard]] task with_literal_name(const char* literal) && noexcept {
        SAPWOOD_ASSERT(coroutine_ != nullptr && coroutine_.promise().context == nullptr,
                       "a task was named after it was started, or after it was moved from");
        coroutine_.promise().name_before_start(literal);
        return std::move(*this);
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

/// Awaits as `Awaiter` does, at no place: for coroutines of the library's own that would only be
/// in the way where people look for theirs.
template <class Awaiter>
class unplaced {
  public:
    explicit unplaced(Awaiter inner) noexcept : inner_(std::move(inner)) {}

    [[nodiscard]] bool await_ready() { return inner_.await_ready(); }

    template <class Promise>
    auto await_suspend(std::coroutine_handle<Promise> awaiting) {
        return suspend_in(inner_, awaiting, std::source_location());
    }

    decltype(auto) await_resume() { return inner_.await_resume(); }

  private:
    Awaiter inner_;
};

/// Keeps `work`, and so what a lambda has captured, until its task is over.
template <task_function F>
std::invoke_result_t<F&> call(F work) {
    auto made = work();
    co_return co_await unplaced(std::move(made).operator co_await());
}

inline void root_context::take_name(const promise_base& promise) noexcept {
    if (const char* const literal = promise.name_before_start()) [[unlikely]] {
        set_literal_name(*this, literal);
    }
}

} // namespace detail

} // namespace sapwood
