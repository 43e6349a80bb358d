// spawn: a task of its own beside the one that runs, and the handle to await, cancel or drop it.
// Loop thread only.
#pragma once

#include <sapwood/activity.hpp>
#include <sapwood/event_loop.hpp>
#include <sapwood/named.hpp>
#include <sapwood/task.hpp>
#include <sapwood/task_name.hpp>

#include <memory>

namespace sapwood {

namespace detail {

/// A spawned task's state. The loop keeps it in its list while the coroutine runs; the handle, if
/// it is still there, keeps it afterwards; whichever of the two ends last frees it.
class spawned_task final : public root_context {
  public:
    template <class T>
    spawned_task(event_loop& home, std::coroutine_handle<promise<T>> coroutine) noexcept {
        begin_on(home);
        started_by_ = inherit_from_running();
        promise_base& promise = coroutine.promise();
        take_name(promise);
        promise.context = this;
        promise.note = nullptr;
        start_.handle = coroutine;
        start_.context = this;
        join_list();
        home.make_ready(start_);
    }

    static void* operator new(std::size_t bytes) { return allocate_frame(bytes); }

    static void operator delete(void* memory, std::size_t bytes) noexcept {
        free_frame(memory, bytes);
    }

    void finished() noexcept override {
        leave_list();
        done_ = true;
        if (!has_handle_) {
            drop();
        } else if (joiner_ != nullptr) {
            loop->make_ready(*std::exchange(joiner_, nullptr));
        }
    }

    /// The handle is gone.
    void release_handle() noexcept {
        SAPWOOD_ASSERT(joiner_ == nullptr,
                       "a join_handle was dropped while a task awaits it, which "
                       "would wait for ever");
        has_handle_ = false;
        if (done_) {
            drop();
        }
    }

    [[nodiscard]] bool done() const noexcept { return done_; }

    [[nodiscard]] std::uint32_t started_by() const noexcept override { return started_by_; }

    /// Who waits for its end; null where nobody does.
    [[nodiscard]] const waiter* joiner() const noexcept { return joiner_; }

    /// The task that was spawned before it and is alive.
    [[nodiscard]] const spawned_task* next() const noexcept { return next_; }

    /// Before it starts: requests to stop go to the listener and are never delivered. It serves for
    /// longer than what its maker is doing, and begins with nothing.
    void shield(std::unique_ptr<shielded_part> part) noexcept {
        if (doing != nullptr) {
            doing->let_go(doing);
        }
        shields = 1;
        shielded = part.release();
        is_shielded = true;
    }

    void join_by(waiter& joiner) noexcept {
        SAPWOOD_ASSERT(joiner_ == nullptr, "a join_handle is awaited by two tasks at once");
        joiner_ = &joiner;
    }

    template <class T>
    T take() {
        SAPWOOD_ASSERT(!taken_, "the result of a join_handle was taken twice");
        taken_ = true;
        return static_cast<detail::promise<T>&>(promise()).take();
    }

  private:
    friend class sapwood::event_loop;

    ~spawned_task() = default;

    void join_list() noexcept {
        next_ = loop->tasks_;
        if (next_ != nullptr) {
            next_->previous_ = this;
        }
        loop->tasks_ = this;
    }

    void leave_list() noexcept {
        (previous_ != nullptr ? previous_->next_ : loop->tasks_) = next_;
        if (next_ != nullptr) {
            next_->previous_ = previous_;
        }
    }

    /// Frees the task and its result; an exception that nobody took is reported first.
    void drop() noexcept {
        if (promise().error && !taken_) [[unlikely]] {
            event_loop::report_unhandled(loop, promise().error);
        }
        start_.handle.destroy();
        delete this;
    }

    [[nodiscard]] promise_base& promise() const noexcept { return promise_base::of(start_.handle); }

    /// Its handle is the coroutine's, to the end.
    ready_node start_;
    waiter* joiner_ = nullptr;
    spawned_task* previous_ = nullptr;
    spawned_task* next_ = nullptr;
    bool has_handle_ = true;
    bool done_ = false;
    bool taken_ = false;
    /// The loop is ending and has cancelled the task.
    bool ending_ = false;
    std::uint32_t started_by_ = 0;
};

static_assert(sizeof(void*) != 8 || sizeof(spawned_task) <= 4 * frame_pool::granularity,
              "a spawned task's state takes another block of the pool");

/// Whether `one` is `other`, or waits for the end of a task that waits for the end of it, and so
/// on. Looks at the first tasks of a long chain only: it is to find mistakes.
[[nodiscard]] inline bool waits_for(task_context& one, const task_context& other) noexcept {
    constexpr int links_max = 64;
    task_context* link = &one;
    for (int i = 0; i < links_max && link != nullptr; ++i) {
        if (link == &other) {
            return true;
        }
        link = link->waiting != nullptr ? link->waiting->joined() : nullptr;
    }
    return false;
}

/// Cancels `first`, and what it waits for if that is a task's end, and so on. Not one inside the
/// other: there may be many.
inline void cancel_joined(task_context& first) noexcept {
    task_context* link = &first;
    while (link->shields == 0 && link->waiting != nullptr && link->waiting->joined() != nullptr) {
        link->note_cancel_request();
        link = link->waiting->joined();
    }
    link->cancel();
}

} // namespace detail

/// Await it for the task's result or exception, once; drop it and the task goes on by itself, and
/// an exception then goes to loop_options::on_unhandled_exception, or, where no loop runs any more,
/// to standard error. May outlive the loop.
template <class T>
class [[nodiscard]] join_handle {
  public:
    join_handle() = default;

    join_handle(join_handle&& other) noexcept : task_(std::exchange(other.task_, nullptr)) {}

    join_handle& operator=(join_handle&& other) noexcept {
        if (this != &other) {
            detach();
            task_ = std::exchange(other.task_, nullptr);
        }
        return *this;
    }

    ~join_handle() { detach(); }

    /// Whether there is a task to await.
    explicit operator bool() const noexcept { return task_ != nullptr; }

    [[nodiscard]] bool done() const noexcept { return task().done(); }

    /// Asks the task to stop: `cancelled` is thrown where it waits. The task may still end
    /// otherwise (what it waited for won the race, or it handles the exception); await the handle
    /// to know. Nothing happens to a task that is over.
    void cancel() noexcept {
        if (!task().done()) {
            task().cancel();
        }
    }

    /// Lets the task go on by itself.
    void detach() noexcept {
        if (task_ != nullptr) {
            std::exchange(task_, nullptr)->release_handle();
        }
    }

    /// Ends when the task ends; throws what it threw, `cancelled` included. Cancelling the awaiting
    /// task cancels the awaited one and awaits its end, as asyncio does.
    class awaiter final : public waiter {
      public:
        explicit awaiter(detail::spawned_task& task) noexcept : task_(task) {}

        [[nodiscard]] bool await_ready() const noexcept { return task_.done(); }

        template <class Promise>
        void await_suspend(std::coroutine_handle<Promise> awaiting,
                           std::source_location where = std::source_location::current()) noexcept {
            SAPWOOD_ASSERT(!detail::waits_for(task_, *awaiting.promise().context),
                           "a task awaits its own end: by itself, or through the tasks it awaits");
            wait_in(awaiting, where);
            task_.join_by(*this);
            if (context->must_stop()) {
                cancel();
            }
        }

        T await_resume() {
            try {
                return task_.take<T>();
            } catch (const cancelled&) {
                if (context != nullptr) {
                    (void)context->take_cancel_request();
                }
                throw;
            }
        }

        void cancel() noexcept override {
            if (!task_.done()) {
                detail::cancel_joined(task_);
            }
        }

        [[nodiscard]] task_context* joined() const noexcept override { return &task_; }

        [[nodiscard]] std::string describe() const override { return "join of a task"; }

        void visit_awaited(detail::task_visitor& visitor) const override { visitor.visit(task_); }

      private:
        detail::spawned_task& task_;
    };

    /// The handle must outlive the co_await.
    awaiter operator co_await() const noexcept { return awaiter(task()); }

  private:
    friend class event_loop;
    template <class U>
    friend join_handle<U> spawn_shielded(task<U> child, stop_listener& listener);

    explicit join_handle(detail::spawned_task* task) noexcept : task_(task) {}

    [[nodiscard]] detail::spawned_task& task() const noexcept {
        SAPWOOD_ASSERT(task_ != nullptr, "an empty join_handle was used");
        return *task_;
    }

    detail::spawned_task* task_ = nullptr;
};

template <class T>
join_handle<T> event_loop::spawn(task<T> child) {
    // Memory first: where there is none, `child` still owns its coroutine.
    void* const memory = detail::allocate_frame(sizeof(detail::spawned_task));
    return join_handle<T>(::new (memory) detail::spawned_task(*this, std::move(child).release()));
}

template <class T>
join_handle<T> event_loop::spawn(task<T> child, spawn_options options) {
    detail::prepared_name name(options.name);
    join_handle<T> handle = spawn(std::move(child));
    name.give_to(*handle.task_);
    return handle;
}

/// Makes `child` a task of its own on the loop that runs on this thread; it starts when the loop
/// next gets to it, never inside this call.
template <class T>
join_handle<T> spawn(task<T> child) {
    return event_loop::current().spawn(std::move(child));
}

/// `spawn(accept(listener), {.name = "accept"})`
template <class T>
join_handle<T> spawn(task<T> child, spawn_options options) {
    return event_loop::current().spawn(std::move(child), options);
}

/// The same for what makes the task when it is called: it is kept until the task is over, so a
/// lambda coroutine may use what it has captured.
template <detail::task_function F>
auto spawn(F work, spawn_options options = {}) {
    return spawn(detail::call(std::move(work)), options);
}

/// Like spawn, for a task that must come to its own end, cleaning up: it always starts, it is never
/// stopped, and a request to stop, as the loop makes at its end, goes to `listener`, which lives as
/// long as the task and makes it end. It is in no action of a log, whatever its maker is in.
template <class T>
join_handle<T> spawn_shielded(task<T> child, stop_listener& listener) {
    auto part = std::make_unique<detail::shielded_part>(&listener);
    auto handle = spawn(std::move(child));
    handle.task_->shield(std::move(part));
    return handle;
}

} // namespace sapwood
