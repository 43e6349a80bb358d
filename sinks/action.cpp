#include <sapwood/action.hpp>

#include "exceptions_under_way.hpp"
#include "failure_text.hpp"

#include <sapwood/decimal.hpp>
#include <sapwood/trace_parent.hpp>

#include <utility>

namespace sapwood {

void action::end_by_scope() noexcept {
    if (detail::exceptions_under_way() > action_->exceptions_before()) [[unlikely]] {
        detail::log_action* const ending = std::exchange(action_, nullptr);
        ending->end_by_exception();
        ending->release();
        return;
    }
    end(nullptr);
}

void action::end(const detail::action_failure* failure) noexcept {
    if (detail::log_action* const ending = std::exchange(action_, nullptr)) {
        ending->end(failure);
        ending->release();
    }
}

void action::succeed() noexcept {
    end(nullptr);
}

void action::fail(const std::exception_ptr& error) noexcept {
    if (action_ != nullptr) {
        const detail::failure_text text(error);
        const detail::action_failure failure = text.failure();
        end(&failure);
    }
}

void action::fail(std::string_view kind, std::string_view reason) noexcept {
    const detail::action_failure failure{.exception = kind, .reason = reason};
    end(&failure);
}

void action::cancel() noexcept {
    const detail::action_failure failure{.outcome = detail::action_outcome::cancelled,
                                         .exception = "sapwood::cancelled",
                                         .reason = "it was cancelled"};
    end(&failure);
}

void action::leave() noexcept {
    if (action_ != nullptr) {
        action_->leave();
    }
}

action::visit action::enter() const noexcept {
    return visit(action_);
}

action::visit::visit(detail::log_action* of) noexcept
    : inside_(of),
      place_(&detail::current_activity_place()),
      before_(*place_) {
    if (inside_ != nullptr) {
        was_left_ = inside_->come_back(*place_); // with a share for this
        inside_->share();                        // the place's
        *place_ = inside_;
    }
}

action::visit::~visit() {
    if (inside_ == nullptr) {
        return;
    }
    // It may have been ended or left here, and the place may be in what goes on elsewhere.
    const bool was_in = inside_->drop_from(*place_);
    *place_ = before_;
    if (was_left_ || !was_in) {
        inside_->skip_in(*place_);
    }
    inside_->visit_is_over();
    inside_->release();
}

std::string action::serialize_task_id() const {
    return action_ != nullptr ? action_->take_child_id() : std::string();
}

std::string action::traceparent() const {
    return action_ != nullptr ? action_->traceparent() : std::string();
}

std::string action::task_uuid() const {
    return action_ != nullptr ? std::string(action_->uuid()) : std::string();
}

} // namespace sapwood
