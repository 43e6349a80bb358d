// task_group: tasks that begin and end together, a nursery. with_task_group is the form that cannot
// be used wrongly; a group by itself is for a member of something that is closed explicitly. Loop
// thread only. Each member is two pooled blocks, its frame and its context.
#pragma once

#include <sapwood/branches.hpp>
#include <sapwood/named.hpp>

#include <exception>
#include <optional>
#include <string>
#include <vector>

namespace sapwood {

class task_group;

namespace detail {

template <class T, class F>
class with_task_group_awaiter;

/// A task of a group, in the group's list while it runs.
class group_member : public root_context {
  public:
    group_member() = default;
    group_member(const group_member&) = delete;
    group_member& operator=(const group_member&) = delete;

    template <class T>
    void start(task_group& group, std::coroutine_handle<promise<T>> coroutine) noexcept {
        promise_base& promise = coroutine.promise();
        promise.context = this;
        group_ = &group;
        start_.handle = coroutine;
        start_.context = this;
        begin();
        take_name(promise);
        promise.note = nullptr;
    }

    inline void finished() noexcept final;

    [[nodiscard]] std::uint32_t started_by() const noexcept final { return started_by_; }

  protected:
    ~group_member() = default;

    [[nodiscard]] std::coroutine_handle<> coroutine() const noexcept { return start_.handle; }

    [[nodiscard]] const std::exception_ptr& error() const noexcept {
        return promise_base::of(start_.handle).error;
    }

  private:
    friend class sapwood::task_group;

    /// The member has ended, and is out of the group's list. `failed`: the group wants to keep its
    /// exception, and so the member.
    virtual void release(bool failed) noexcept = 0;
    /// A failed one: the group is done with its exception.
    virtual void forget() noexcept = 0;
    inline void begin() noexcept;

    ready_node start_;
    std::uint32_t started_by_ = 0;
    task_group* group_ = nullptr;
    group_member* next_ = nullptr;
    group_member* previous_ = nullptr;
};

/// Owns its coroutine and itself.
class spawned_member final : public group_member {
  public:
    static void* operator new(std::size_t bytes) { return allocate_frame(bytes); }

    static void operator delete(void* memory, std::size_t bytes) noexcept {
        free_frame(memory, bytes);
    }

  private:
    ~spawned_member() = default;

    void release(bool failed) noexcept override {
        if (!failed) {
            forget();
        }
    }

    void forget() noexcept override {
        coroutine().destroy();
        delete this;
    }
};

/// with_task_group's body, which lives in the awaiting frame.
class body_member final : public group_member {
  private:
    void release(bool) noexcept override {}

    void forget() noexcept override {}
};

} // namespace detail

/// When a member ends with an exception, the others are cancelled; when all have ended, the first
/// failure is rethrown. It is rethrown as it is, not inside an exception for groups (so do Kotlin's
/// scopes; Trio and asyncio wrap it): C++ has no except*, and a handler for std::system_error must
/// not depend on whether a second member failed in the same moment. The later failures are kept:
/// failures() has them all, and where nobody asks, they go to loop_options::on_unhandled_exception
/// when the group ends. A member that ends with `cancelled` has not failed.
class task_group {
  public:
    class join_awaiter;

    task_group() noexcept = default;

    task_group(const task_group&) = delete;
    task_group& operator=(const task_group&) = delete;

    /// Its members must have been awaited.
    ~task_group() {
        SAPWOOD_ASSERT(size_ == 0, "a task_group was destroyed while members are alive: co_await "
                                   "its join(), or use with_task_group");
        drop_failures();
    }

    /// Makes `child` a member: it starts when the loop next gets to it. Its result is dropped; what
    /// it should give back it writes where the group's owner reads it, or use when_all. Members may
    /// add members. Where the group has been told to stop, the child never runs.
    template <class T>
    void spawn(task<T> child) {
        auto* const member = new detail::spawned_member; // first: `child` still owns its coroutine
        member->start(*this, std::move(child).release());
    }

    template <class T>
    void spawn(task<T> child, spawn_options options) {
        detail::prepared_name name(options.name);
        auto* const member = new detail::spawned_member;
        member->start(*this, std::move(child).release());
        name.give_to(*member);
    }

    /// The same for what makes the task when it is called: it is kept until the task is over.
    template <detail::task_function F>
    void spawn(F work, spawn_options options = {}) {
        spawn(detail::call(std::move(work)), options);
    }

    /// Asks all members to stop, once, and those that are still to come. Not the task that awaits
    /// the group.
    void cancel() noexcept {
        cancelled_ = true;
        stop_members();
    }

    /// Members that have not ended, the body of with_task_group included.
    [[nodiscard]] std::size_t size() const noexcept { return size_; }

    /// Waits until no member is left, and throws the first failure. Cancelling the awaiting task
    /// cancels the members and awaits them; where one of them stopped for it, `cancelled` is
    /// thrown. One task at a time. Afterwards the group is empty and may be used again.
    [[nodiscard]] join_awaiter join() noexcept;

    /// The exceptions of the members that failed, oldest first: the first is what join throws.
    /// Until the group is used again.
    [[nodiscard]] std::vector<std::exception_ptr> failures() const {
        std::vector<std::exception_ptr> all;
        for (const auto* each = first_failed_; each != nullptr; each = each->next_) {
            all.push_back(each->error());
        }
        failures_taken_ = true;
        return all;
    }

  private:
    friend class detail::group_member;
    template <class T, class F>
    friend class detail::with_task_group_awaiter;

    void stop_members() noexcept {
        if (std::exchange(asked_to_stop_, true)) {
            return;
        }
        for (auto* each = members_; each != nullptr; each = each->next_) {
            each->cancel();
        }
    }

    void add(detail::group_member& member) noexcept {
        if (is_over_) {
            is_over_ = false;
            drop_failures();
        }
        if (size_ == 0) {
            event_loop::current().list_group(links_);
        }
        member.next_ = members_;
        if (members_ != nullptr) {
            members_->previous_ = &member;
        }
        members_ = &member;
        ++size_;
    }

    void remove(detail::group_member& member) noexcept {
        (member.previous_ != nullptr ? member.previous_->next_ : members_) = member.next_;
        if (member.next_ != nullptr) {
            member.next_->previous_ = member.previous_;
        }
        member.next_ = member.previous_ = nullptr;
        if (--size_ == 0) {
            member.loop->unlist_group(links_);
        }
    }

    void member_ended(detail::group_member& member) noexcept {
        remove(member);
        const std::exception_ptr& error = member.error();
        const bool stopped = detail::is_cancelled(error);
        const bool failed = error && !stopped;
        some_stopped_ = some_stopped_ || stopped;
        if (failed) {
            (last_failed_ != nullptr ? last_failed_->next_ : first_failed_) = &member;
            last_failed_ = &member;
        }
        // The body that stops, for whatever reason, has nobody left to look after the others.
        if (failed || (stopped && &member == body_)) {
            stop_members();
        }
        waiter* const joiner = size_ == 0 ? std::exchange(joiner_, nullptr) : nullptr;
        member.release(failed);
        if (joiner != nullptr) {
            joiner->context->loop->make_ready(*joiner);
        }
    }

    /// All have ended: throws what there is to throw in `joining`, null where it never had to wait.
    void end(task_context* joining, bool joiner_was_asked) {
        asked_to_stop_ = false;
        cancelled_ = false;
        is_over_ = true;
        const bool some_stopped = std::exchange(some_stopped_, false);
        if (first_failed_ != nullptr) {
            first_taken_ = true;
            std::rethrow_exception(first_failed_->error());
        }
        if (joiner_was_asked && some_stopped) {
            (void)joining->take_cancel_request();
            throw cancelled{};
        }
    }

    /// Reports what nobody has seen.
    void drop_failures() noexcept {
        bool seen = std::exchange(first_taken_, false);
        while (first_failed_ != nullptr) {
            auto& member = *std::exchange(first_failed_, first_failed_->next_);
            if (!seen && !failures_taken_) {
                event_loop::report_unhandled(member.loop, member.error());
            }
            seen = false;
            member.forget();
        }
        last_failed_ = nullptr;
        failures_taken_ = false;
    }

    /// Calls `visitor` with its members, newest first.
    void visit_members(detail::task_visitor& visitor) const {
        for (const auto* each = members_; each != nullptr; each = each->next_) {
            visitor.visit(*each);
        }
    }

    /// In the loop's list while it has members, so that a dump finds them.
    class links final : public detail::listed_group {
      public:
        explicit links(task_group& of) noexcept : group_(of) {}

        [[nodiscard]] bool is_joined() const noexcept override { return group_.joiner_ != nullptr; }

        void visit_members(detail::task_visitor& visitor) const override {
            group_.visit_members(visitor);
        }

      private:
        task_group& group_;
    };

    links links_{*this};
    detail::group_member* members_ = nullptr;
    std::size_t size_ = 0;
    waiter* joiner_ = nullptr;
    const detail::group_member* body_ = nullptr;
    detail::group_member* first_failed_ = nullptr;
    detail::group_member* last_failed_ = nullptr;
    /// The members were asked to stop, for whatever reason.
    bool asked_to_stop_ = false;
    /// cancel() was called.
    bool cancelled_ = false;
    /// A member ended with `cancelled`.
    bool some_stopped_ = false;
    /// The first failure was rethrown.
    bool first_taken_ = false;
    mutable bool failures_taken_ = false;
    bool is_over_ = false;
};

void detail::group_member::begin() noexcept {
    begin_on(event_loop::current());
    group_->add(*this);
    started_by_ = inherit_from_running();
    loop->make_ready(start_);
    if (group_->asked_to_stop_) {
        cancel();
    }
}

void detail::group_member::finished() noexcept {
    group_->member_ended(*this);
}

class [[nodiscard]] task_group::join_awaiter : public waiter {
  public:
    explicit join_awaiter(task_group& of) noexcept : group_(of) {}

    [[nodiscard]] bool await_ready() const noexcept { return group_.size_ == 0; }

    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location where = std::source_location::current()) noexcept {
        SAPWOOD_ASSERT(group_.joiner_ == nullptr, "a task_group is joined by two tasks at once");
        wait_in(awaiting, where);
        group_.joiner_ = this;
        if (context->must_stop()) {
            cancel();
        }
    }

    void await_resume() { group_.end(context, was_asked_); }

    void cancel() noexcept override {
        was_asked_ = true;
        group_.stop_members();
    }

    [[nodiscard]] std::string describe() const override {
        return "task_group, " + std::to_string(group_.size_) + " still running";
    }

    void visit_awaited(detail::task_visitor& visitor) const override {
        group_.visit_members(visitor);
    }

  protected:
    task_group& group_;
    bool was_asked_ = false;
};

inline task_group::join_awaiter task_group::join() noexcept {
    return join_awaiter(*this);
}

namespace detail {

template <class T, class F>
class [[nodiscard]] with_task_group_awaiter final : public task_group::join_awaiter {
  public:
    explicit with_task_group_awaiter(F work) : join_awaiter(own_), work_(std::move(work)) {
        task_.emplace(work_(own_));
    }

    with_task_group_awaiter(const with_task_group_awaiter&) = delete;
    with_task_group_awaiter& operator=(const with_task_group_awaiter&) = delete;

    [[nodiscard]] bool await_ready() const noexcept { return false; }

    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location where = std::source_location::current()) noexcept {
        own_.body_ = &body_;
        // NOLINTNEXTLINE(bugprone-unchecked-optional-access): the constructor has made it
        body_.start(own_, task_->coroutine);
        join_awaiter::await_suspend(awaiting, where);
    }

    T await_resume() {
        const bool was_cancelled = own_.cancelled_;
        join_awaiter::await_resume();
        auto& promise = task_->coroutine.promise(); // NOLINT(bugprone-unchecked-optional-access)
        if (is_cancelled(promise.error)) {
            if (!was_cancelled) {
                throw cancelled{};
            }
            if constexpr (std::is_void_v<T>) {
                return;
            } else {
                throw std::system_error(
                    make_error_code(std::errc::operation_canceled),
                    "with_task_group: the group was cancelled before its body had a result");
            }
        }
        return promise.take();
    }

  private:
    F work_;
    std::optional<started_task<T>> task_;
    body_member body_;
    /// Last, because it looks at its members' failures when it is destroyed.
    task_group own_;
};

template <class F>
concept group_function =
    std::invocable<F&, task_group&> && is_task<std::invoke_result_t<F&, task_group&>>;

} // namespace detail

/// Runs `body(group)` as a member of a new group and gives its result when all members have ended:
///
///     co_await with_task_group([&](sapwood::task_group& group) -> sapwood::task<> {
///         group.spawn(produce(queue));
///         co_await consume(queue);
///     });
///
/// When the body or another member fails, all are cancelled and awaited, and the first failure is
/// rethrown. Cancelling the awaiting task cancels all and awaits them. group.cancel() stops the
/// body too; then a body without a result just ends, for one with a result std::system_error with
/// std::errc::operation_canceled is thrown. `body` is kept until all is over, so a lambda coroutine
/// may use what it has captured; what it declares itself is gone when it returns, while members
/// may go on: what they use belongs outside.
template <detail::group_function F>
[[nodiscard]] auto with_task_group(F body) {
    using made = std::invoke_result_t<F&, task_group&>;
    return detail::with_task_group_awaiter<typename made::value_type, F>(std::move(body));
}

} // namespace sapwood
