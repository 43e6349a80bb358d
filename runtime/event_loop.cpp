#include <sapwood/event_loop.hpp>

#include "buffer_watch.hpp"
#include "fork_generation.hpp"
#include "make_ring.hpp"
#include "receive_buffers.hpp"

#include <sapwood/fmt_library.hpp>
#include <sapwood/spawn.hpp>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <sys/eventfd.h>
#include <system_error>
#include <unistd.h>

namespace sapwood {

constinit thread_local event_loop* detail::running_loop = nullptr;

namespace {

/// Completions with this user_data belong to nobody: those of cancel requests. What counts is the
/// completion of the operation that was to be cancelled.
constexpr std::uint64_t nobody = 0;

constexpr std::size_t prefetched_bytes = 384;

/// Turns without timers after which the loop looks at the clock all the same, for coarse_time().
constexpr std::uint64_t turns_per_look = 64;

/// Of a name that must outlive its task.
class kept_name {
  public:
    explicit kept_name(const task_context& of) noexcept { detail::share_name(of, holder_); }

    kept_name(const kept_name&) = delete;
    kept_name& operator=(const kept_name&) = delete;

    ~kept_name() { detail::drop_name(holder_); }

    [[nodiscard]] std::string_view text() const noexcept { return detail::name_of(holder_); }

  private:
    task_context holder_;
};

/// Asks the members of a group to stop that came after those that were asked already: once each.
class stop_members final : public detail::task_visitor {
  public:
    explicit stop_members(std::uint32_t asked_already) noexcept : asked_already_(asked_already) {}

    void visit(const detail::root_context& member) override {
        if (member.number() > asked_already_) {
            const_cast<detail::root_context&>(member).cancel(); // dumps visit, too, and only look
        }
    }

  private:
    const std::uint32_t asked_already_;
};

int make_wake_fd() {
    const int fd = ::eventfd(0, EFD_CLOEXEC);
    if (fd < 0) {
        throw std::system_error(
            errno, std::generic_category(),
            "cannot make the eventfd that wakes the event loop (where there are "
            "too many open files: ulimit -n sets the limit)");
    }
    return fd;
}

/// A write to a closed pipe or socket, or past a limit on the size of files, is an error to be
/// returned, not a signal that ends the process: the ring raises them as write(2) does. A
/// program's own handlers stay.
void ignore_signals_of_writes() noexcept {
    for (const int number : {SIGPIPE, SIGXFSZ}) {
        struct sigaction current {};

        if (::sigaction(number, nullptr, &current) == 0 && current.sa_handler == SIG_DFL) {
            std::signal(number, SIG_IGN);
        }
    }
}

void print_unhandled(const std::exception_ptr& error) noexcept {
    const char* const head = "sapwood: a task that nobody awaits ended with";
    try {
        std::rethrow_exception(error);
    } catch (const std::exception& failure) {
        std::fprintf(stderr, "%s an exception: %s\n", head, failure.what());
    } catch (...) {
        std::fprintf(stderr, "%s an exception of unknown type\n", head);
    }
}

} // namespace

/// Reads the eventfd for ever, so that a wait for the kernel ends when another thread writes it.
class event_loop::wake_operation final : public operation {
  public:
    explicit wake_operation(event_loop& loop) noexcept {
        own_context_.loop = &loop;
        context = &own_context_;
    }

    /// From now on the loop can be woken.
    void listen() noexcept {
        if (!is_started()) {
            start();
        }
    }

    void prepare(io_uring_sqe& sqe) noexcept override {
        ::io_uring_prep_read(&sqe, context->loop->wake_fd_, &count_, sizeof(count_), 0);
    }

    void complete(std::int32_t, std::uint32_t) noexcept override {
        if (own_context_.cancel_requested) {
            stopped_ = true;
        } else {
            start();
        }
    }

    void stop() noexcept {
        own_context_.cancel_requested = true;
        stopped_ = !is_started();
        cancel();
    }

    [[nodiscard]] bool stopped() const noexcept { return stopped_; }

    [[nodiscard]] bool is_in_flight() const noexcept { return is_started(); }

  private:
    task_context own_context_;
    std::uint64_t count_ = 0;
    bool stopped_ = false;
};

event_loop::event_loop(loop_options options) : event_loop(make_ring(options), std::move(options)) {}

event_loop::event_loop(std::unique_ptr<ring> ring, loop_options options)
    : options_(std::move(options)),
      ring_(std::move(ring)),
      generation_(detail::current_generation()),
      wake_operation_(std::make_unique<wake_operation>(*this)),
      wake_fd_(make_wake_fd()),
      buffers_(std::make_unique<detail::buffer_watch>()) {
    ignore_signals_of_writes();
    note_time(ring_->coarse_now());
}

event_loop::~event_loop() {
    if (is_inherited()) {
        // None of it is this process's to give back.
        tell_observers();
        for (auto* const left : {&idle_, &backlog_, &cancel_backlog_, &cancelling_}) {
            while (!left->empty()) {
                (void)left->pop_front();
            }
        }
        (void)wake_operation_.release();
        (void)ring_.release();
        return;
    }
    SAPWOOD_ASSERT(tasks_ == nullptr, "an event_loop was destroyed while tasks are alive on it: "
                                      "run() ends them");
    tell_observers();
    wake_operation_->stop();
    while (!wake_operation_->stopped() || standing_ != 0) {
        enter(saturating_add(now(), cancel_patience));
        repeat_cancels();
    }
    take_arrivals(); // what was sent too late to matter lets go of its sender
    ::close(wake_fd_);
    ring_.reset();
    if (receive_buffers_ != nullptr) {
        receive_buffers_->retire();
    }
}

clock::time_point event_loop::now() const noexcept {
    return ring_->now();
}

sapwood::ring_report event_loop::ring_report() const {
    return {.summary = ring_->report(), .features = ring_->features()};
}

bool event_loop::can_send_uncopied() const noexcept {
    return ring_->can_send_uncopied();
}

detail::receive_buffers* event_loop::receive_buffers() {
    if (receive_buffers_ == nullptr && !lacks_buffers_) {
        auto* const made = new detail::receive_buffers;
        if (ring_->register_buffers(made->entries(), made->count, made->group)) {
            receive_buffers_ = made;
        } else {
            lacks_buffers_ = true;
            made->retire();
        }
    }
    return receive_buffers_;
}

// --- tasks ---

void event_loop::report_unhandled(event_loop* loop, const std::exception_ptr& error) noexcept {
    if (detail::is_cancelled(error)) {
        return; // it did as it was told
    }
    if (loop == detail::running_loop && loop != nullptr && loop->options_.on_unhandled_exception) {
        loop->options_.on_unhandled_exception(error);
    } else {
        print_unhandled(error);
    }
}

void event_loop::run_until_done(const detail::spawned_task& main) noexcept {
    SAPWOOD_ASSERT(detail::running_loop == nullptr,
                   "run() was called inside a running loop: co_await the "
                   "task, or spawn it");
    SAPWOOD_ASSERT(thread_ == std::this_thread::get_id(),
                   "an event_loop was run on another thread than the one that made it");
    detail::running_loop = this;
    stack_base_ = static_cast<const char*>(__builtin_frame_address(0));
    while (!main.done()) {
        turn();
    }
    end_all_tasks();
    detail::running_loop = nullptr;
}

void event_loop::end_all_tasks() noexcept {
    std::uint32_t members_asked = 0;
    while (tasks_ != nullptr || groups_ != nullptr) {
        for (auto* task = tasks_; task != nullptr; task = task->next_) {
            if (!task->ending_) {
                task->ending_ = true;
                task->cancel();
            }
        }
        if (tasks_ == nullptr) {
            // Groups that are no task's, but of who runs the loop: nobody else tells their members.
            stop_members asking(members_asked);
            for (auto* group = groups_; group != nullptr; group = group->next_) {
                if (!group->is_joined()) {
                    group->visit_members(asking);
                }
            }
            members_asked = static_cast<std::uint32_t>(tasks_started_);
        }
        turn();
    }
}

void event_loop::on_slow_task(time_span at_least, std::function<void(const slow_task&)> tell) {
    slow_ = at_least;
    tell_slow_ = std::move(tell);
}

loop_stats event_loop::stats() const noexcept {
    const auto length = [](const detail::ready_node* first) {
        std::size_t count = 0;
        for (; first != nullptr; first = first->next) {
            ++count;
        }
        return count;
    };
    // The loop's own read of its eventfd is none of the program's.
    const std::size_t own = wake_operation_->is_in_flight() ? 1 : 0;
    return {.turns = turns_,
            .enters = enters_,
            .resumptions = resumptions_,
            .operations_started = started_,
            .operations_completed = completed_,
            .tasks_started = tasks_started_,
            .tasks = static_cast<std::size_t>(tasks_started_ - tasks_ended_),
            .ready = length(ready_.front()) + length(running_.front()),
            .operations_in_flight = static_cast<std::size_t>(started_ - completed_) - own,
            .operations_waiting = length(backlog_.front()),
            .timers = timers_.size(),
            .frame_bytes_kept = detail::thread_frames.cached_bytes};
}

void event_loop::list_group(detail::listed_group& group) noexcept {
    group.next_ = groups_;
    if (groups_ != nullptr) {
        groups_->previous_ = &group;
    }
    groups_ = &group;
}

void event_loop::unlist_group(detail::listed_group& group) noexcept {
    (group.previous_ != nullptr ? group.previous_->next_ : groups_) = group.next_;
    if (group.next_ != nullptr) {
        group.next_->previous_ = group.previous_;
    }
    group.next_ = group.previous_ = nullptr;
}

bool event_loop::is_inherited() const noexcept {
    return generation_ != detail::fork_generation;
}

// --- what outlives the loop ---

void event_loop::tell_observers() noexcept {
    while (observers_ != nullptr) {
        loop_observer& node = *observers_;
        forget(node);
        node.loop_ended();
    }
}

void event_loop::observe(loop_observer& node) noexcept {
    node.next_ = observers_;
    if (observers_ != nullptr) {
        observers_->previous_ = &node;
    }
    observers_ = &node;
}

void event_loop::forget(loop_observer& node) noexcept {
    (node.previous_ != nullptr ? node.previous_->next_ : observers_) = node.next_;
    if (node.next_ != nullptr) {
        node.next_->previous_ = node.previous_;
    }
    node.next_ = node.previous_ = nullptr;
}

// --- a turn ---

inline void event_loop::run_ready() noexcept {
    running_.take(ready_);
    while (!running_.empty()) {
        detail::ready_node& node = running_.pop();
        ++resumptions_;
        // With many tasks the frames are not in the cache; fetch them while others run: the node
        // after the next, so that its frame's address is there when it is the next one's turn.
        if (const auto* const next = running_.front()) {
            __builtin_prefetch(next->next);
            const auto* const frame = static_cast<const char*>(next->handle.address());
            for (std::size_t line = 0; line < prefetched_bytes; line += 64) {
                __builtin_prefetch(frame + line);
            }
        }
        running_task_ = node.context;
        node.handle.resume();
    }
    running_task_ = nullptr;
}

void event_loop::run_ready_watched() noexcept {
    running_.take(ready_);
    while (!running_.empty()) {
        const auto limit = slow_; // what runs now may set another, or none
        const auto begin = ring_->now();
        detail::ready_node& node = running_.pop();
        ++resumptions_;
        const kept_name name(*node.context); // the task may be over and gone afterwards
        const auto resumed_at = detail::promise_base::of(node.handle).awaits_where();
        running_task_ = node.context;
        node.handle.resume();
        const auto held = ring_->now() - begin;
        if (held >= limit && tell_slow_) {
            running_task_ = nullptr; // which may be gone; what is told may log
            tell_slow_({.name = name.text(), .held = held, .resumed_at = resumed_at});
        }
    }
    running_task_ = nullptr;
}

void event_loop::note_time(clock::time_point now) noexcept {
    coarse_time_ = static_cast<std::uint32_t>(
        static_cast<std::uint64_t>(now.time_since_epoch().count()) >> coarse_time_shift);
}

void event_loop::turn() noexcept {
    SAPWOOD_ASSERT(!is_inherited(),
                   "an event_loop was used in a child process, where its ring is not: after fork() "
                   "call exec or _exit, or run a loop of the child's own");
    ++turns_;
    if (!timers_.empty()) {
        const clock::time_point now = ring_->now();
        note_time(now);
        timers_.fire_due(now);
        repeat_cancels();
    } else if (turns_ % turns_per_look == 1) {
        note_time(ring_->coarse_now());
        repeat_cancels();
    }
    if (arrivals_.load(std::memory_order_relaxed) != nullptr) {
        take_arrivals();
    }
    if (ready_.empty()) {
        wait();
    } else if (!ring_->is_quiet() || !backlog_.empty() || !cancel_backlog_.empty()) {
        enter(ring::dont_wait);
    }
    if (tell_slow_) [[unlikely]] {
        run_ready_watched();
    } else {
        run_ready();
    }
}

void event_loop::wait() noexcept {
    if (!idle_.empty()) {
        // Nothing is ready; but perhaps something that was asked of the kernel is there already.
        enter(ring::dont_wait);
        while (ready_.empty() && !idle_.empty()) {
            make_ready(idle_.pop_front());
        }
        return;
    }
    repeat_cancels();
    wake_operation_->listen();
    // post() stores its arrival and then looks whether the loop is asleep; the loop does the two
    // in the opposite order, so at least one of them sees the other.
    asleep_.store(true, std::memory_order_seq_cst);
    if (arrivals_.load(std::memory_order_seq_cst) == nullptr) {
        clock::time_point until = timers_.empty() ? ring::no_deadline : timers_.nearest();
        if (!cancelling_.empty() || !cancel_backlog_.empty()) [[unlikely]] {
            until = std::min(until, saturating_add(now(), cancel_patience));
        }
        enter(until);
        note_time(ring_->coarse_now());
    }
    asleep_.store(false, std::memory_order_relaxed);
}

void event_loop::enter_now() noexcept {
    if (!is_inherited()) {
        enter(ring::dont_wait);
    }
}

void event_loop::enter(clock::time_point until) noexcept {
    stage_backlog();
    if (ring_->staged() != 0 || until != ring::dont_wait || ring_->wants_enter()) {
        if (ring_->has_completions() || !backlog_.empty() || !cancel_backlog_.empty()) {
            until = ring::dont_wait;
        }
        ++enters_;
        try {
            ring_->enter(until);
        } catch (const std::exception& failure) {
            std::fprintf(stderr, "sapwood: %s\n", failure.what());
            std::abort();
        }
    }
    ring_->reap([this](std::uint64_t user_data, std::int32_t value, std::uint32_t flags) {
        if (user_data == nobody) {
            return;
        }
        auto& node = *reinterpret_cast<operation*>(user_data);
        buffers_->completed(user_data, flags);
        if ((flags & IORING_CQE_F_MORE) != 0) {
            node.progress(value, flags);
            return;
        }
        ++completed_;
        if (node.phase_ == operation::phase::cancel_backlogged) [[unlikely]] {
            cancel_backlog_.remove(node);
        } else if (node.phase_ == operation::phase::cancelling) [[unlikely]] {
            cancelling_.remove(node);
        }
        node.phase_ = operation::phase::idle;
        node.complete(value, flags);
    });
}

// --- operations ---

void event_loop::stage(operation& node, io_uring_sqe& sqe) noexcept {
    sqe.user_data = reinterpret_cast<std::uintptr_t>(&node);
    node.phase_ = operation::phase::in_flight;
    node.is_asked_to_end_ = false;
    ++started_;
    node.prepare(sqe); // last, and so a jump where nobody watches buffers
    buffers_->submitted(sqe);
}

void event_loop::submit(operation& node) noexcept {
    if (auto* const sqe = backlog_.empty() ? ring_->next_sqe() : nullptr) [[likely]] {
        stage(node, *sqe);
    } else {
        node.phase_ = operation::phase::backlogged;
        backlog_.push_back(node);
    }
}

void event_loop::cancel(operation& node) noexcept {
    node.is_asked_to_end_ = true;
    switch (node.phase_) {
    case operation::phase::idle:
    case operation::phase::cancel_backlogged:
    case operation::phase::cancelling:
        return;
    case operation::phase::backlogged:
        backlog_.remove(node);
        node.phase_ = operation::phase::idle;
        node.complete(-ECANCELED, 0);
        return;
    case operation::phase::in_flight:
        node.phase_ = operation::phase::cancel_backlogged;
        cancel_backlog_.push_back(node);
        return;
    }
}

void event_loop::stage_backlog() noexcept {
    while (!cancel_backlog_.empty()) {
        auto* const sqe = ring_->next_sqe();
        if (sqe == nullptr) {
            return;
        }
        auto& node = static_cast<operation&>(cancel_backlog_.pop_front());
        ::io_uring_prep_cancel64(sqe, reinterpret_cast<std::uintptr_t>(&node), 0);
        sqe->user_data = nobody;
        node.phase_ = operation::phase::cancelling;
        if (cancelling_.empty()) {
            cancel_again_ = saturating_add(ring_->coarse_now(), cancel_patience);
        }
        cancelling_.push_back(node);
    }
    while (!backlog_.empty()) {
        auto* const sqe = ring_->next_sqe();
        if (sqe == nullptr) {
            return;
        }
        stage(static_cast<operation&>(backlog_.pop_front()), *sqe);
    }
}

void event_loop::repeat_cancels() noexcept {
    if (cancelling_.empty() || now() < cancel_again_) [[likely]] {
        return;
    }
    while (!cancelling_.empty()) {
        auto& node = static_cast<operation&>(cancelling_.pop_front());
        node.phase_ = operation::phase::cancel_backlogged;
        cancel_backlog_.push_back(node);
    }
}

// --- other threads ---

void event_loop::post(arrival& message) noexcept {
    message.next_ = arrivals_.load(std::memory_order_relaxed);
    while (!arrivals_.compare_exchange_weak(message.next_, &message, std::memory_order_seq_cst,
                                            std::memory_order_relaxed)) {
    }
    if (asleep_.load(std::memory_order_seq_cst) &&
        asleep_.exchange(false, std::memory_order_seq_cst)) {
        wake();
    }
}

void event_loop::take_arrivals() noexcept {
    arrival* newest_first = arrivals_.exchange(nullptr, std::memory_order_acquire);
    arrival* oldest_first = nullptr;
    while (newest_first != nullptr) {
        auto* const next = std::exchange(newest_first->next_, oldest_first);
        oldest_first = std::exchange(newest_first, next);
    }
    while (oldest_first != nullptr) {
        // It may be posted again while it arrives.
        auto* const next = std::exchange(oldest_first->next_, nullptr);
        oldest_first->arrive();
        oldest_first = next;
    }
}

void event_loop::wake() noexcept {
    const std::uint64_t one = 1;
    while (::write(wake_fd_, &one, sizeof(one)) < 0 && errno == EINTR) {
    }
}

} // namespace sapwood
