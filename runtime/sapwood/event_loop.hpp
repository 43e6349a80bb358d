// The loop: one thread, one ring, the queue of coroutines that are ready to run, the timers, and
// the tasks that are alive. A turn fires due timers, takes in what other threads sent, submits and
// reaps, waiting only where nothing is ready, and then resumes a snapshot of the ready queue.
// Everything is for the loop's own thread, which is the one that constructs it, except post().
#pragma once

#include <sapwood/clock.hpp>
#include <sapwood/loop_stats.hpp>
#include <sapwood/op.hpp>
#include <sapwood/ring_report.hpp>
#include <sapwood/timer.hpp>
#include <sapwood/waiter.hpp>

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <source_location>
#include <string_view>
#include <thread>

namespace sapwood {

class ring;
template <class T = void>
class task;
template <class T = void>
class join_handle;

struct spawn_options;

namespace detail {
class buffer_watch;
class spawned_task;
class receive_buffers;
class task_dump;
unsigned current_generation();
} // namespace detail

/// What carries out a loop's operations.
enum class ring_kind : std::uint8_t {
    /// What the environment variable SAPWOOD_RING says, `uring` or `poll`. Where it is not set:
    /// io_uring, and where that cannot be had, poll, with one line on standard error that says
    /// why.
    automatic,
    /// The kernel's. Where it cannot be had, the loop cannot be made.
    io_uring,
    /// epoll and a few threads: works everywhere, and costs a change of threads for each operation
    /// on a file.
    poll,
};

struct loop_options {
    ring_kind ring = ring_kind::automatic;

    /// Operations that can be staged between two system calls. More than this many in one turn
    /// are submitted in several calls; nothing is refused. Each costs 64 bytes of locked memory.
    unsigned sq_entries = 256;

    /// Completions that fit into shared memory at once; more are kept by the kernel and cost a
    /// further system call. Each costs 16 bytes of locked memory.
    unsigned cq_entries = 1024;

    /// Called with the exception of a task whose join_handle was dropped, since nobody else will
    /// see it. The default prints it on standard error. Must not throw.
    std::function<void(std::exception_ptr)> on_unhandled_exception = {};
};

/// Something another thread sends to a loop. Its sender owns it and keeps it alive until it has
/// arrived.
class arrival {
  public:
    /// Called on the loop's thread. Must not throw and must not resume a coroutine.
    virtual void arrive() noexcept = 0;

  protected:
    ~arrival() = default;

  private:
    friend class event_loop;
    arrival* next_ = nullptr;
};

/// Something that may outlive a loop and has to know when it is gone. Loop thread only.
class loop_observer {
  public:
    /// The loop is being destroyed; the observer is out of its list. Must not throw.
    virtual void loop_ended() noexcept = 0;

  protected:
    ~loop_observer() = default;

  private:
    friend class event_loop;
    loop_observer* next_ = nullptr;
    loop_observer* previous_ = nullptr;
};

namespace detail {

/// The loop that runs on this thread; null where none does.
[[gnu::tls_model("initial-exec")]] extern constinit thread_local event_loop* running_loop;

} // namespace detail

namespace detail {

/// A group that has members. Loop thread only.
class listed_group {
  public:
    listed_group() = default;
    listed_group(const listed_group&) = delete;
    listed_group& operator=(const listed_group&) = delete;

    /// Whether a task waits for the members' ends.
    [[nodiscard]] virtual bool is_joined() const noexcept = 0;
    /// Newest first.
    virtual void visit_members(task_visitor& visitor) const = 0;

  protected:
    ~listed_group() = default;

  private:
    friend class sapwood::event_loop;
    friend class task_dump;
    listed_group* next_ = nullptr;
    listed_group* previous_ = nullptr;
};

} // namespace detail

/// A task that held the loop; see event_loop::on_slow_task. Valid during the call that tells it.
struct slow_task {
    /// Empty where it has none.
    std::string_view name;
    /// From when it was resumed to its next wait.
    clock::duration held{};
    /// The co_await from which it was resumed: what took so long began behind it. Line 0 where the
    /// task had just been started.
    std::source_location resumed_at;
};

class event_loop {
  public:
    /// Throws std::system_error, with the reason and the remedy, where no ring can be made.
    explicit event_loop(loop_options options = {});

    /// On a ring of the caller's choice.
    explicit event_loop(std::unique_ptr<ring> ring, loop_options options = {});

    event_loop(const event_loop&) = delete;
    event_loop& operator=(const event_loop&) = delete;
    ~event_loop();

    /// Runs `main` to its end and returns its result or throws its exception. Before it returns,
    /// every task still alive has been cancelled and awaited. Not from inside a running loop.
    /// Defined in <sapwood/run.hpp>.
    template <class T>
    T run(task<T> main);

    /// Makes `child` a task of its own; it starts when the loop next gets to it. Defined in
    /// <sapwood/spawn.hpp>.
    template <class T>
    join_handle<T> spawn(task<T> child);

    /// The same with a name, for example.
    template <class T>
    join_handle<T> spawn(task<T> child, spawn_options options);

    /// The loop that runs on this thread; a programming error where none does.
    [[nodiscard]] static event_loop& current() noexcept {
        SAPWOOD_ASSERT(detail::running_loop != nullptr,
                       "no event loop runs on this thread: enter with run()");
        return *detail::running_loop;
    }

    /// The time by this loop's ring.
    [[nodiscard]] clock::time_point now() const noexcept;

    /// Which ring the loop has, what was granted, and what the rest costs.
    [[nodiscard]] sapwood::ring_report ring_report() const;

    /// From now on `tell` is called, on this thread, whenever a coroutine has held the loop for
    /// `at_least` or longer between two of its waits: nobody else ran meanwhile. Told after the
    /// fact, when it waits at last; one that never does, a debugger finds. Costs two readings of
    /// the clock for each that is resumed; an empty `tell` ends it. `tell` must not throw, nor call
    /// this.
    void on_slow_task(time_span at_least, std::function<void(const slow_task&)> tell);

    /// Counts since the loop was made, and what there is now. A copy of counters, and a walk along
    /// the queues of what is ready and of what waits for an SQE.
    [[nodiscard]] loop_stats stats() const noexcept;

    /// Any thread: has `message.arrive()` called on the loop's thread soon. One wake-up per burst.
    /// The loop must outlive the call.
    void post(arrival& message) noexcept;

    // The rest is for whoever writes an awaitable.

    /// Ends a wait: the task runs again in its turn.
    void make_ready(waiter& node) noexcept {
        SAPWOOD_ASSERT(this == detail::running_loop,
                       "a task was woken from another thread than its loop's: only a "
                       "remote_sender may be used there");
        node.context->waiting = nullptr;
        ready_.push(node);
    }

    /// A coroutine that runs again in the next turn.
    void make_ready(detail::ready_node& node) noexcept { ready_.push(node); }

    /// For child to parent transfers that would grow the stack: `node` runs before anything else.
    void resume_next(detail::ready_node& node) noexcept { running_.push_front(node); }

    /// Whether so many coroutines are resumed inside each other that one more could overflow the
    /// stack. Only compilers that do not turn a symmetric transfer into a jump get there (gcc
    /// without optimisation or with sanitizers, GCC PR 100897).
    [[nodiscard]] bool stack_is_deep(const void* here) const noexcept {
        return static_cast<std::size_t>(stack_base_ - static_cast<const char*>(here)) >
               nested_stack_bytes_max;
    }

    /// Throws std::bad_alloc where the timer heap cannot grow.
    void arm(timer& node, clock::time_point deadline) { timers_.add(node, deadline); }

    void disarm(timer& node) noexcept { timers_.remove(node); }

    /// Gives `node` to the ring, now or as soon as an SQE is free.
    void submit(operation& node) noexcept;

    void cancel(operation& node) noexcept;

    /// submit, for an operation that belongs to no task: the loop's end waits for standing_ended.
    void submit_standing(operation& node) noexcept {
        ++standing_;
        submit(node);
    }

    void standing_ended() noexcept { --standing_; }

    /// Submits, and takes in what has completed, without waiting for the turn's end. Not where a
    /// completion is being told.
    void enter_now() noexcept;

    /// Whether its ring has sends that copy nothing.
    [[nodiscard]] bool can_send_uncopied() const noexcept;

    /// What streams receive into; null where the ring has no means for it. Made when it is first
    /// asked for: throws std::bad_alloc.
    [[nodiscard]] detail::receive_buffers* receive_buffers();

    /// Waiters that become ready when nothing else is, before the loop would wait for the kernel.
    [[nodiscard]] waiter_list& idle_waiters() noexcept { return idle_; }

    /// Time in steps of 2^24 ns (17 ms), to tell how long something has lasted: a word in memory,
    /// not a clock. As of the last time that the loop waited or looked for due timers, or of 64
    /// turns ago. The difference of two is right up to 2.2 years.
    [[nodiscard]] std::uint32_t coarse_time() const noexcept { return coarse_time_; }

    /// Coroutines that it has resumed: the same as before means that none has waited meanwhile.
    [[nodiscard]] std::uint64_t resumptions() const noexcept { return resumptions_; }

    /// A coroutine becomes a task of the loop: its number, from 1.
    std::uint32_t count_task_start() noexcept {
        return static_cast<std::uint32_t>(++tasks_started_);
    }

    void count_task_end() noexcept { ++tasks_ended_; }

    void list_group(detail::listed_group& group) noexcept;
    void unlist_group(detail::listed_group& group) noexcept;

    /// The task that runs right now; null outside of tasks.
    [[nodiscard]] task_context* running_task() const noexcept { return running_task_; }

    /// Gives the exception of a task of `loop` that nobody else will see to on_unhandled_exception;
    /// `cancelled` is none. `loop` is looked at only where it is the one that runs on this thread:
    /// a join_handle may be dropped when it is gone.
    static void report_unhandled(event_loop* loop, const std::exception_ptr& error) noexcept;

    /// Whether it is the copy that a forked child has of its parent's loop. Nothing that its ring
    /// was given comes back here.
    [[nodiscard]] bool is_inherited() const noexcept;

    /// Of an inherited loop: `node` is the parent's, and over as far as this process goes.
    void disown(operation& node) noexcept;

    /// Has `node` told of the loop's end, until it is forgotten.
    void observe(loop_observer& node) noexcept;
    void forget(loop_observer& node) noexcept;

  private:
    friend class detail::spawned_task;
    friend class detail::task_dump;
    friend class operation;
    friend unsigned detail::current_generation();
    class wake_operation;

    static constexpr unsigned coarse_time_shift = 24;
    static constexpr std::size_t nested_stack_bytes_max = 64u << 10;
    /// An operation that is still not back this long after the ring was asked to cancel it is asked
    /// for once more: a request that meets a kernel worker just before it begins to wait may be
    /// lost (seen on Linux 6.1, opening a FIFO).
    static constexpr clock::duration cancel_patience = std::chrono::milliseconds(50);

    /// In a forked child, where the running loop of its parent has no ring.
    void lose_ring() noexcept;
    void tell_observers() noexcept;

    void run_until_done(const detail::spawned_task& main) noexcept;
    void end_all_tasks() noexcept;

    void note_time(clock::time_point now) noexcept;
    void turn() noexcept;
    void run_ready() noexcept;
    void run_ready_watched() noexcept;
    void wait() noexcept;
    void enter(clock::time_point until) noexcept;
    void stage_backlog() noexcept;
    void repeat_cancels() noexcept;
    void stage(operation& node, io_uring_sqe& sqe) noexcept;
    void take_arrivals() noexcept;
    void wake() noexcept;

    // Constant after construction.
    const loop_options options_;
    std::unique_ptr<ring> ring_;
    const std::thread::id thread_ = std::this_thread::get_id();
    /// Of processes; in a forked child it is another.
    const unsigned generation_;
    std::unique_ptr<wake_operation> wake_operation_;
    const int wake_fd_;
    const std::unique_ptr<detail::buffer_watch> buffers_;

    // Loop thread only.
    detail::ready_queue ready_;
    detail::ready_queue running_;
    task_context* running_task_ = nullptr;
    const char* stack_base_ = nullptr;
    timer_queue timers_;
    waiter_list idle_;
    /// Operations that wait for an SQE, and operations in flight whose cancel waits for one.
    waiter_list backlog_;
    waiter_list cancel_backlog_;
    /// Operations in flight that the ring was asked to cancel, and when to ask again.
    waiter_list cancelling_;
    clock::time_point cancel_again_{};
    /// Standing operations in flight.
    std::size_t standing_ = 0;
    detail::receive_buffers* receive_buffers_ = nullptr;
    bool lacks_buffers_ = false;
    std::uint32_t coarse_time_ = 0;
    std::uint64_t turns_ = 0;
    std::uint64_t resumptions_ = 0;
    std::uint64_t tasks_started_ = 0;
    std::uint64_t tasks_ended_ = 0;
    std::uint64_t enters_ = 0;
    std::uint64_t started_ = 0;
    std::uint64_t completed_ = 0;
    clock::duration slow_{};
    std::function<void(const slow_task&)> tell_slow_;
    detail::spawned_task* tasks_ = nullptr;
    detail::listed_group* groups_ = nullptr;
    loop_observer* observers_ = nullptr;

    // Any thread.
    std::atomic<arrival*> arrivals_{nullptr};
    /// True while the loop waits for the kernel, or is about to, and must be woken.
    std::atomic<bool> asleep_{false};
};

inline void operation::start() noexcept {
    context->loop->submit(*this);
}

inline void operation::cancel() noexcept {
    context->loop->cancel(*this);
}

} // namespace sapwood
