// condition_variable: waits, without the mutex, until something that the mutex guards may have
// become true. Loop thread only.
#pragma once

#include <sapwood/mutex.hpp>
#include <sapwood/task.hpp>

#include <concepts>
#include <type_traits>

namespace sapwood {

/// Must outlive the waits on it. Who is notified goes from here into the mutex's own queue, so a
/// task is resumed once for a wait, with the mutex.
class condition_variable {
  public:
    class awaiter;

    condition_variable() = default;
    condition_variable(const condition_variable&) = delete;
    condition_variable& operator=(const condition_variable&) = delete;

    /// Lets go of the mutex and waits for a notification and for the mutex. `held` holds it again
    /// afterwards, whatever happened, and must not be touched meanwhile. Throws `cancelled`, with
    /// the mutex; a notification that came before the request is not lost, it is what is returned,
    /// and the request stays pending. No wake-ups without a notification, but others may have had
    /// the mutex in between.
    [[nodiscard]] awaiter wait(mutex_lock& held) noexcept;

    /// Waits until `holds()`, which is called with the mutex held. One pooled frame.
    template <std::predicate Predicate>
    task<> wait(mutex_lock& held, Predicate holds);

    /// Lets the one who has waited longest go on. Holding the mutex is usual, not needed.
    inline void notify_one() noexcept;
    inline void notify_all() noexcept;

  private:
    waiter_list waiters_;
};

class [[nodiscard]] condition_variable::awaiter final : public detail::list_awaiter {
  public:
    awaiter(condition_variable& of, mutex_lock& held) noexcept
        : list_awaiter(of.waiters_),
          mutex_(held.mutex_) {
        SAPWOOD_ASSERT(held.owns_lock(),
                       "a condition_variable was waited on without holding a mutex");
    }

    [[nodiscard]] bool await_ready() const noexcept { return false; }

    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location where = std::source_location::current()) noexcept {
        if (!list_awaiter::await_suspend(awaiting, where)) {
            return false;
        }
        stage_ = stage::condition;
        mutex_->unlock();
        return true;
    }

    /// Cancelled or not, it has to wait for the mutex.
    void cancel() noexcept override {
        if (stage_ == stage::condition) {
            leave();
            want_mutex();
        }
    }

    /// It is out of the condition's list.
    void want_mutex() noexcept {
        stage_ = stage::mutex;
        if (mutex_->is_locked()) {
            mutex_->waiters_.push_back(*this);
        } else {
            mutex_->locked_by_ = context;
            detail::wake(*this);
        }
    }

    [[nodiscard]] std::string describe() const override {
        return stage_ == stage::condition ? "wait for a condition_variable"
                                          : "lock of a condition_variable's mutex";
    }

    [[nodiscard]] const task_context* held_by() const noexcept override {
        return stage_ == stage::mutex ? mutex_->locked_by_ : nullptr;
    }

  private:
    enum class stage : unsigned char { condition, mutex };

    mutex* const mutex_;
    stage stage_ = stage::condition;
};

inline condition_variable::awaiter condition_variable::wait(mutex_lock& held) noexcept {
    return awaiter(*this, held);
}

template <std::predicate Predicate>
task<> condition_variable::wait(mutex_lock& held, Predicate holds) {
    while (!holds()) {
        co_await wait(held);
    }
}

void condition_variable::notify_one() noexcept {
    if (!waiters_.empty()) {
        static_cast<awaiter&>(waiters_.pop_front()).want_mutex();
    }
}

void condition_variable::notify_all() noexcept {
    while (!waiters_.empty()) {
        notify_one();
    }
}

} // namespace sapwood
