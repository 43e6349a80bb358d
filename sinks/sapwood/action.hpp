// action: a piece of work in a log, with a beginning and an end. While its scope lives, what its
// task logs hangs below it, at every depth of calls and awaited coroutines, across suspensions, in
// the tasks, branches and members that it starts, and in the calls of run_blocking. Two tasks that
// take turns never mix. Outside of tasks the same holds for the thread.
//
//     auto action = log.start_action("save_order", kv("order", id));  // a record: it has started
//     co_await db.insert(order);                  // records inside hang below
//     action.add_success(kv("receipt", r.id));
//     co_return r;                                // a record: it has succeeded
//
// The records are eliot's: task_uuid, task_level, action_type, action_status. The log, by any of
// its loggers, has to outlive its actions.
#pragma once

#include <sapwood/log_action.hpp>
#include <sapwood/rendered_fields.hpp>

#include <concepts>
#include <exception>
#include <source_location>
#include <string>
#include <string_view>
#include <utility>

namespace sapwood {

class logger;

namespace detail {
struct call_access;
}

/// What an action is called, its type, and where in the source it begins. Borrows the text.
class action_name {
  public:
    template <class Text>
        requires std::convertible_to<const Text&, std::string_view>
    action_name(const Text& text, // NOLINT: is to convert
                std::source_location where = std::source_location::current()) noexcept
        : text_(text),
          where_(where) {}

    [[nodiscard]] std::string_view text() const noexcept { return text_; }

    [[nodiscard]] const std::source_location& where() const noexcept { return where_; }

  private:
    std::string_view text_;
    std::source_location where_;
};

/// The scope. It ends the action where it is destroyed: well, or, where an exception destroys it,
/// as failed, and as cancelled where that is `cancelled`. Which exception it is is known when it
/// has left the coroutine, or at the next record in its handler; where it is caught in the
/// coroutine, or in a plain function, and nothing is logged there, fail() in the handler says it.
/// A coroutine that is given one begins with `auto here = std::move(given);`: its parameters are
/// destroyed when the exception has left already, and the action would have succeeded.
/// One that was moved from, or whose logger's level was too high for it, is nothing: its calls do
/// nothing, and records hang below what was around it.
class [[nodiscard]] action {
  public:
    action() = default;

    action(action&& other) noexcept : action_(std::exchange(other.action_, nullptr)) {}

    action& operator=(action&& other) noexcept {
        if (this != &other) {
            end_scope();
            action_ = std::exchange(other.action_, nullptr);
        }
        return *this;
    }

    ~action() { end_scope(); }

    /// Whether there is one, and it has not ended.
    explicit operator bool() const noexcept { return action_ != nullptr; }

    /// Fields for its last record, should it end well. Throws std::bad_alloc.
    template <class... T>
    void add_success(const log_field<T>&... fields) {
        if (action_ != nullptr) {
            put_success(detail::field_text(fields)...);
        }
    }

    /// Ends it, well, before its scope does.
    void succeed() noexcept;

    /// Ends it as failed, or cancelled, by the exception: in a handler, the one that is handled.
    void fail(const std::exception_ptr& error = std::current_exception()) noexcept;

    /// Ends it as failed without an exception: what kind of failure it is, and the reason.
    void fail(std::string_view kind, std::string_view reason) noexcept;

    /// Ends it as cancelled.
    void cancel() noexcept;

    /// What this task, or thread, logs hangs below what was around it from now on, and it goes on:
    /// for an action that another task, or a callback, is to end. What was started in it stays in
    /// it. Call it before the scope is given away.
    void leave() noexcept;

    /// While what it returns lives, the caller is in the action, as it is where it began, unless it
    /// is ended or left meanwhile. Such visits end in the reverse order, where they began.
    class [[nodiscard]] visit;
    [[nodiscard]] visit enter() const noexcept;

    /// For another process, or another loop: continue_task() there makes the next child of this
    /// action. `<uuid>@/2/3`, as eliot writes it; each is for one use, for it takes the child's
    /// number. Empty where there is no action.
    [[nodiscard]] std::string serialize_task_id() const;

    /// W3C Trace Context's header for requests that are made inside. Empty where there is no
    /// action. Its trace is the one of continue_trace(), else the task's UUID; its parent is made
    /// of the UUID and the action's level, so that a reader can tell which action it was.
    [[nodiscard]] std::string traceparent() const;

    /// 36 characters; empty where there is no action.
    [[nodiscard]] std::string task_uuid() const;

  private:
    friend class logger;
    friend struct detail::call_access;

    explicit action(detail::log_action& begun) noexcept : action_(&begun) {}

    void end_scope() noexcept {
        if (action_ != nullptr) {
            end_by_scope();
        }
    }

    template <class... Text>
    void put_success(const Text&... fields) {
        if (!action_->put_success(fields...)) [[unlikely]] {
            detail::rendered_fields all;
            (all.add(fields), ...);
            action_->add_success(all.view());
        }
    }

    void end_by_scope() noexcept;
    void end(const detail::action_failure* failure) noexcept;

    detail::log_action* action_ = nullptr;
};

class [[nodiscard]] action::visit {
  public:
    visit(const visit&) = delete;
    visit& operator=(const visit&) = delete;
    ~visit();

  private:
    friend class action;

    explicit visit(detail::log_action* of) noexcept;

    detail::log_action* const inside_;
    detail::activity** const place_;
    detail::activity* const before_;
    bool was_left_ = false;
};

} // namespace sapwood
