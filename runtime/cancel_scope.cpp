#include <sapwood/cancel_scope.hpp>

#include <utility>

namespace sapwood {

bool task_context::must_stop_in_scopes() const noexcept {
    if (task_requested && shields == 0) {
        return true;
    }
    for (const auto* each = scope; each != nullptr; each = each->outer_) {
        if (each->is_deliverable()) {
            return true;
        }
    }
    return false;
}

void task_context::deliver_in_scopes() noexcept {
    const bool to_task = task_requested && shields == 0;
    if (to_task) {
        task_requested = false;
    }
    const detail::cancel_scope* outermost = nullptr;
    for (auto* each = scope; each != nullptr; each = each->outer_) {
        if (each->is_deliverable()) {
            each->pending_ = false;
            each->delivered_ = true;
            outermost = each;
        }
    }
    if (to_task) {
        outermost = nullptr;
    }
    for (auto* each = scope; each != outermost; each = each->outer_) {
        each->outer_delivered_ = true;
    }
    note_pending_requests();
}

void task_context::note_pending_requests() noexcept {
    cancel_requested = task_requested;
    for (const auto* each = scope; each != nullptr; each = each->outer_) {
        cancel_requested = cancel_requested || each->pending_;
    }
}

namespace detail {

void cancel_scope::enter(task_context& task) noexcept {
    task_ = &task;
    outer_ = task.scope;
    shields_ = task.shields;
    task.scope = this;
}

void cancel_scope::cancel() noexcept {
    pending_ = true;
    task_->cancel_requested = true;
    if (is_deliverable() && task_->waiting != nullptr) {
        task_->waiting->cancel();
    }
}

bool cancel_scope::leave(bool threw) noexcept {
    task_context& task = *std::exchange(task_, nullptr);
    SAPWOOD_ASSERT(task.scope == this, "timeouts of one task ended in another order than inside "
                                       "out");
    task.scope = outer_;
    task.note_pending_requests();
    if (!threw || !delivered_ || outer_delivered_) {
        return false;
    }
    // Somebody further out wants it to stop as well, and cannot tell the two apart: theirs counts.
    return !task.take_cancel_request();
}

} // namespace detail

} // namespace sapwood
