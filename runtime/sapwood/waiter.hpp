// How tasks wait: the intrusive nodes that live in the frame of the coroutine that waits, and the
// lists they stand in. Loop thread only. Nothing here allocates, and nothing here resumes a
// coroutine: whoever ends a wait only hands the node to the loop (event_loop::make_ready), and
// the loop alone resumes.
#pragma once

#include <sapwood/assert.hpp>

#include <coroutine>
#include <cstdint>
#include <source_location>
#include <string>

namespace sapwood {

class event_loop;
class waiter;

namespace detail {

class activity;
class cancel_scope;
class inherited_value;
class root_context;

/// Told of the tasks that somebody waits for.
class task_visitor {
  public:
    virtual void visit(const root_context& task) = 0;

  protected:
    ~task_visitor() = default;
};

} // namespace detail

/// Told, in place of the task, that a shielded task was asked to stop. Must not throw and must not
/// resume a coroutine.
class stop_listener {
  public:
    virtual void stop_requested() noexcept = 0;

  protected:
    ~stop_listener() = default;
};

namespace detail {

/// What a task has besides that is shielded for life.
struct shielded_part {
    stop_listener* listener;
    /// Its place for what it is doing; see task_context.
    activity* doing = nullptr;
};

} // namespace detail

/// What a task and everything it awaits have in common: one per spawned task, member of a group,
/// and branch of a when_all or when_any. A coroutine's promise points to it, and awaited children
/// inherit the pointer.
struct task_context {
    event_loop* loop = nullptr;
    /// Where the task waits right now. Null while it runs or is ready to.
    waiter* waiting = nullptr;

    union {
        /// What the task is doing, for who writes logs; see activity.hpp. Null: nothing.
        detail::activity* doing = nullptr;
        /// Where `is_shielded`: its listener is told of requests to stop.
        detail::shielded_part* shielded;
    };

    /// The innermost of the scopes it is in that can be told to stop by themselves, such as
    /// timeouts. Mostly null.
    detail::cancel_scope* scope = nullptr;

    /// Its name, as `name_is_literal` says, and the values of its task_locals; see this_task.hpp.
    /// Mostly null.
    union {
        detail::inherited_value* name = nullptr;
        const char* literal_name;
    };

    detail::inherited_value* locals = nullptr;
    /// When the wait began that it is in, in the loop's coarse time (event_loop::coarse_time).
    std::uint32_t waiting_since = 0;
    /// While it is not 0, no request to stop the task is delivered.
    std::uint16_t shields = 0;
    /// Somebody asked the task, or a scope that it is in, to stop, and the request has not been
    /// delivered yet.
    bool cancel_requested = false;
    /// It was the task itself that was asked. Looked at only where there are scopes.
    bool task_requested : 1 = false;
    bool name_is_literal : 1 = false;
    /// For life: from before its start to its end.
    bool is_shielded : 1 = false;

    /// Asks the task to stop: it throws `cancelled` at the await point where it waits, or, where
    /// it runs or already has what it waited for, at the next one where it has to wait; not
    /// before its shields are down.
    inline void cancel() noexcept;

    /// The task is asked to stop; who calls it sees to the waiter.
    void note_cancel_request() noexcept { cancel_requested = task_requested = true; }

    /// Whether a request to stop is to be delivered at the next wait.
    [[nodiscard]] bool must_stop() const noexcept {
        if (!cancel_requested) [[likely]] {
            return false;
        }
        return scope == nullptr ? shields == 0 : must_stop_in_scopes();
    }

    /// True, once, where a request to stop is pending: the caller throws `cancelled`.
    [[nodiscard]] bool take_cancel_request() noexcept {
        if (!must_stop()) [[likely]] {
            return false;
        }
        if (scope == nullptr) {
            cancel_requested = task_requested = false;
        } else {
            deliver_in_scopes();
        }
        return true;
    }

  private:
    friend class detail::cancel_scope;

    [[nodiscard]] bool must_stop_in_scopes() const noexcept;
    void deliver_in_scopes() noexcept;
    void note_pending_requests() noexcept;
};

namespace detail {

/// A coroutine that the loop is to resume.
struct ready_node {
    union {
        ready_node* next = nullptr;
        /// In a promise, which stands in a queue only once its coroutine is over: see promise_base.
        const void* note;
    };

    std::coroutine_handle<> handle;
    task_context* context = nullptr;
};

/// FIFO of coroutines to resume.
class ready_queue {
  public:
    [[nodiscard]] bool empty() const noexcept { return head_ == nullptr; }

    void push(ready_node& node) noexcept {
        node.next = nullptr;
        *tail_ = &node;
        tail_ = &node.next;
    }

    void push_front(ready_node& node) noexcept {
        node.next = head_;
        if (head_ == nullptr) {
            tail_ = &node.next;
        }
        head_ = &node;
    }

    /// The queue must not be empty.
    ready_node& pop() noexcept {
        ready_node& node = *head_;
        head_ = node.next;
        if (head_ == nullptr) {
            tail_ = &head_;
        }
        return node;
    }

    /// Moves everything from `other`; this queue must be empty.
    void take(ready_queue& other) noexcept {
        head_ = other.head_;
        tail_ = other.head_ == nullptr ? &head_ : other.tail_;
        other.head_ = nullptr;
        other.tail_ = &other.head_;
    }

    [[nodiscard]] ready_node* front() const noexcept { return head_; }

    ready_queue() = default;
    ready_queue(const ready_queue&) = delete;
    ready_queue& operator=(const ready_queue&) = delete;

  private:
    ready_node* head_ = nullptr;
    ready_node** tail_ = &head_;
};

} // namespace detail

/// A place where a task waits and can be told to stop waiting. Lives in the waiting coroutine's
/// frame; cannot be moved. A waiter waits in a waiter_list or in the hands of the kernel, and
/// then stands in the loop's ready queue.
class waiter : public detail::ready_node {
  public:
    waiter() = default;
    waiter(const waiter&) = delete;
    waiter& operator=(const waiter&) = delete;

    /// The task was asked to stop while it stood here. Ends the wait, now or as soon as the
    /// kernel lets go, by event_loop::make_ready.
    virtual void cancel() noexcept = 0;

    /// The task whose end is what is waited for; null where it is something else.
    [[nodiscard]] virtual task_context* joined() const noexcept { return nullptr; }

    /// What is waited for, in a few words, for people: "receive from a channel". May allocate.
    [[nodiscard]] virtual std::string describe() const { return "a wait without a description"; }

    /// The task that has what is waited for, as a mutex; null where there is none or it is not
    /// known. It may be gone: only to be compared.
    [[nodiscard]] virtual const task_context* held_by() const noexcept { return nullptr; }

    /// Calls `visitor` with each task whose end is waited for. Those of a list newest first.
    virtual void visit_awaited(detail::task_visitor& visitor) const { (void)visitor; }

    /// Ties the waiter to the coroutine that awaits it and tells its task where it waits. `where`
    /// is the co_await's place, which an awaitable gets as the default argument of its
    /// await_suspend(handle, std::source_location where = std::source_location::current()).
    template <class Promise>
    void wait_in(std::coroutine_handle<Promise> awaiting,
                 const std::source_location& where = std::source_location::current()) noexcept {
        handle = awaiting;
        awaiting.promise().waits_in(*this, where);
    }

  protected:
    ~waiter() = default;

  private:
    friend class waiter_list;
    waiter* previous_ = nullptr;
};

/// Waiters in the order they came. Doubly linked, so that a cancelled one leaves at once.
class waiter_list {
  public:
    waiter_list() = default;
    waiter_list(const waiter_list&) = delete;
    waiter_list& operator=(const waiter_list&) = delete;

    ~waiter_list() {
        SAPWOOD_ASSERT(empty(), "an object was destroyed while tasks wait on it: cancel and await "
                                "those tasks first");
    }

    [[nodiscard]] bool empty() const noexcept { return head_ == nullptr; }

    [[nodiscard]] waiter* front() const noexcept { return head_; }

    void push_back(waiter& node) noexcept {
        node.next = nullptr;
        node.previous_ = tail_;
        if (tail_ != nullptr) {
            tail_->next = &node;
        } else {
            head_ = &node;
        }
        tail_ = &node;
    }

    [[nodiscard]] waiter* back() const noexcept { return tail_; }

    /// Who waits before `node`, which is in the list; null before the first.
    [[nodiscard]] static waiter* before(const waiter& node) noexcept { return node.previous_; }

    /// Behind `place`, which is in the list; in front of all others where it is null.
    void insert_after(waiter* place, waiter& node) noexcept {
        auto* const next = place != nullptr ? static_cast<waiter*>(place->next) : head_;
        node.next = next;
        node.previous_ = place;
        (next != nullptr ? next->previous_ : tail_) = &node;
        if (place != nullptr) {
            place->next = &node;
        } else {
            head_ = &node;
        }
    }

    void remove(waiter& node) noexcept {
        auto* const next = static_cast<waiter*>(node.next);
        if (node.previous_ != nullptr) {
            node.previous_->next = next;
        } else {
            head_ = next;
        }
        if (next != nullptr) {
            next->previous_ = node.previous_;
        } else {
            tail_ = node.previous_;
        }
        node.next = nullptr;
        node.previous_ = nullptr;
    }

    /// The list must not be empty.
    waiter& pop_front() noexcept {
        waiter& node = *head_;
        remove(node);
        return node;
    }

  private:
    waiter* head_ = nullptr;
    waiter* tail_ = nullptr;
};

void task_context::cancel() noexcept {
    note_cancel_request();
    if (shields > 0) {
        if (is_shielded) {
            shielded->listener->stop_requested();
        }
    } else if (waiting != nullptr) {
        waiting->cancel();
    }
}

namespace detail {

/// For an awaitable around another one: `inner.await_suspend(awaiting)`, with the place of the
/// co_await where `inner` wants to know it.
template <class Awaiter, class Promise>
decltype(auto) suspend_in(Awaiter& inner, std::coroutine_handle<Promise> awaiting,
                          const std::source_location& where) noexcept(requires {
    { inner.await_suspend(awaiting) } noexcept;
}) {
    if constexpr (requires { inner.await_suspend(awaiting, where); }) {
        return inner.await_suspend(awaiting, where);
    } else {
        return inner.await_suspend(awaiting);
    }
}

} // namespace detail

} // namespace sapwood
