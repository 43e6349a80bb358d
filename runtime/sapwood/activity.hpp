// activity: what a task, or a thread outside of tasks, is doing right now, for who writes logs. The
// runtime knows no more of it than that it is handed down to what begins meanwhile: spawned tasks,
// branches, members of groups, calls of run_blocking. Each of them has a place of its own for it,
// so two tasks that take turns never see each other's. Counted; an activity may be used on several
// threads, a place only on its task's or its thread's.
#pragma once

#include <sapwood/event_loop.hpp>

#include <atomic>
#include <cstdint>
#include <exception>
#include <utility>

namespace sapwood::detail {

class activity {
  public:
    activity() = default;
    activity(const activity&) = delete;
    activity& operator=(const activity&) = delete;

    /// One share more. Whoever makes an activity has the first one.
    void share() noexcept { shares_.fetch_add(1, std::memory_order_relaxed); }

    /// One share less; the last one ends it.
    void release() noexcept {
        if (give_up()) {
            destroy();
        }
    }

    /// What is handed down to what begins at `to` while this is in the place `from`, with a share
    /// of its own. May be null. Of another place that was at `to` before, nothing is remembered.
    /// The task or thread of `from` calls it, or waits meanwhile.
    [[nodiscard]] virtual activity* hand_down(const void* from, const void* to) noexcept = 0;

    /// An exception has left a coroutine of the task in whose `place` this is.
    virtual void failed(activity*& place, const std::exception_ptr& error) noexcept = 0;

    /// The task in whose `place` this is has ended, or the thread.
    virtual void let_go(activity*& place) noexcept = 0;

  protected:
    virtual ~activity() = default;

    /// One share less; true where it was the last one: who has called it destroys this.
    [[nodiscard]] bool give_up() noexcept {
        return shares_.load(std::memory_order_acquire) == 1 ||
               shares_.fetch_sub(1, std::memory_order_acq_rel) == 1;
    }

    [[nodiscard]] std::uint32_t shares() const noexcept {
        return shares_.load(std::memory_order_acquire);
    }

    /// share() and release() of one that nobody else has a share of, nor looks at; not the last.
    void share_unseen() noexcept { add_shares_unseen(1); }

    void release_unseen() noexcept { add_shares_unseen(~std::uint32_t{0}); }

  private:
    virtual void destroy() noexcept = 0;

    void add_shares_unseen(std::uint32_t count) noexcept {
        shares_.store(shares_.load(std::memory_order_relaxed) + count, std::memory_order_relaxed);
    }

    std::atomic<std::uint32_t> shares_{1};
};

/// A thread's place, for what runs outside of tasks. Null where it is not in anything.
[[gnu::tls_model("initial-exec")]] extern constinit thread_local activity* thread_activity;

/// The place of that task. The loop's thread: what other flags stand beside `is_shielded` is
/// written there at any time.
[[nodiscard]] inline activity*& activity_place(task_context& task) noexcept {
    return task.is_shielded ? task.shielded->doing : task.doing;
}

[[nodiscard]] inline activity* const& activity_place(const task_context& task) noexcept {
    return task.is_shielded ? task.shielded->doing : task.doing;
}

/// The place of the task that runs right now, or of the thread.
[[nodiscard]] inline activity*& current_activity_place() noexcept {
    task_context* const task = running_loop != nullptr ? running_loop->running_task() : nullptr;
    return task != nullptr ? activity_place(*task) : thread_activity;
}

/// What is there. For every record that is logged: most often it is null.
[[nodiscard, gnu::always_inline]] inline activity* current_activity() noexcept {
    if (running_loop != nullptr) {
        if (const task_context* const task = running_loop->running_task()) {
            activity* const doing = task->doing;
            return doing == nullptr || !task->is_shielded ? doing : task->shielded->doing;
        }
    }
    return thread_activity;
}

/// Of who has the place `from`, for what begins below it at `to`: null where that is in nothing.
[[nodiscard]] inline activity* hand_down_activity(activity* const& from,
                                                  activity* const& to) noexcept {
    return from != nullptr ? from->hand_down(&from, &to) : nullptr;
}

/// While it lives, this thread is in what a task is in that waits meanwhile and has that place.
class [[nodiscard]] borrowed_activity {
  public:
    explicit borrowed_activity(activity* const& place) noexcept
        : before_(std::exchange(thread_activity, hand_down_activity(place, thread_activity))) {}

    borrowed_activity(const borrowed_activity&) = delete;
    borrowed_activity& operator=(const borrowed_activity&) = delete;

    /// The call has thrown.
    void failed(const std::exception_ptr& error) const noexcept {
        if (thread_activity != nullptr) {
            thread_activity->failed(thread_activity, error);
        }
    }

    ~borrowed_activity() {
        if (thread_activity != nullptr) {
            thread_activity->let_go(thread_activity);
        }
        thread_activity = before_;
    }

  private:
    activity* const before_;
};

} // namespace sapwood::detail
