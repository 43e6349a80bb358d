// mutex: one task at a time, across its waits. Between two waits a task is never interrupted, so
// what is done without a co_await needs none. Loop thread only.
#pragma once

#include <sapwood/list_awaiter.hpp>

#include <utility>

namespace sapwood {

class mutex;

/// Holds a mutex, or nothing; lets go of it when destroyed. The mutex must outlive it.
class [[nodiscard]] mutex_lock {
  public:
    mutex_lock() = default;

    mutex_lock(mutex_lock&& other) noexcept : mutex_(std::exchange(other.mutex_, nullptr)) {}

    mutex_lock& operator=(mutex_lock&& other) noexcept {
        if (this != &other) {
            unlock();
            mutex_ = std::exchange(other.mutex_, nullptr);
        }
        return *this;
    }

    ~mutex_lock() { unlock(); }

    /// Lets go now; nothing where it holds nothing.
    inline void unlock() noexcept;

    [[nodiscard]] bool owns_lock() const noexcept { return mutex_ != nullptr; }

    explicit operator bool() const noexcept { return owns_lock(); }

  private:
    friend class mutex;
    friend class condition_variable;

    explicit mutex_lock(mutex& held) noexcept : mutex_(&held) {}

    mutex* mutex_ = nullptr;
};

/// Fair: it goes to who has waited longest, and a newcomer never overtakes. Not recursive: a task
/// that locks it twice waits for itself.
class mutex {
  public:
    class awaiter;

    mutex() = default;
    mutex(const mutex&) = delete;
    mutex& operator=(const mutex&) = delete;

    /// Nobody may hold it or wait for it.
    ~mutex() { SAPWOOD_ASSERT(!is_locked(), "a mutex was destroyed while a task holds it"); }

    /// `const auto held = co_await m.lock();` holds it to the end of the block. Throws `cancelled`;
    /// a task that was handed the mutex and then cancelled has it, and the request stays pending.
    [[nodiscard]] awaiter lock() noexcept;

    /// Holds nothing where lock would have to wait.
    [[nodiscard]] mutex_lock try_lock() noexcept {
        return take() ? mutex_lock(*this) : mutex_lock();
    }

    [[nodiscard]] bool is_locked() const noexcept { return locked_by_ != nullptr; }

  private:
    friend class mutex_lock;
    friend class condition_variable;

    /// What stands for a holder that is no task.
    static constexpr task_context no_task{};

    /// For the task that runs. False where somebody holds it.
    [[nodiscard]] bool take() noexcept {
        if (locked_by_ != nullptr) {
            return false;
        }
        const event_loop* const loop = detail::running_loop;
        const task_context* const task = loop != nullptr ? loop->running_task() : nullptr;
        locked_by_ = task != nullptr ? task : &no_task;
        return true;
    }

    /// Hands it to who has waited longest: it is never free while somebody waits.
    void unlock() noexcept {
        if (waiters_.empty()) {
            locked_by_ = nullptr;
        } else {
            locked_by_ = waiters_.front()->context;
            detail::wake_first(waiters_);
        }
    }

    waiter_list waiters_;
    /// The task that locked it, perhaps gone by now: its lock may have been moved elsewhere. Never
    /// looked into. Null while nobody holds it.
    const task_context* locked_by_ = nullptr;
};

class [[nodiscard]] mutex::awaiter final : public detail::list_awaiter {
  public:
    explicit awaiter(mutex& of) noexcept : list_awaiter(of.waiters_), mutex_(of) {}

    [[nodiscard]] bool await_ready() const noexcept { return mutex_.take(); }

    mutex_lock await_resume() const {
        list_awaiter::await_resume();
        return mutex_lock(mutex_);
    }

    /// Without throwing; see as_result.
    result<mutex_lock> outcome() const noexcept {
        if (const auto ended = list_awaiter::outcome(); !ended) {
            return ended.error();
        }
        return mutex_lock(mutex_);
    }

    [[nodiscard]] std::string describe() const override { return "lock of a mutex"; }

    [[nodiscard]] const task_context* held_by() const noexcept override {
        return mutex_.locked_by_;
    }

  private:
    mutex& mutex_;
};

inline mutex::awaiter mutex::lock() noexcept {
    return awaiter(*this);
}

void mutex_lock::unlock() noexcept {
    if (mutex_ != nullptr) {
        std::exchange(mutex_, nullptr)->unlock();
    }
}

} // namespace sapwood
