#include <sapwood/standing_operation.hpp>

#include <system_error>
#include <unistd.h>
#include <utility>

namespace sapwood::detail {

// --- the operation ---

standing_operation::~standing_operation() {
    if (loop_ != nullptr) {
        loop_->forget(*this);
    }
}

bool standing_operation::serve(standing_wait& who, event_loop& loop) {
    if (loop_ != &loop) {
        SAPWOOD_ASSERT(loop_ == nullptr, "a socket that one loop accepts on or receives from was "
                                         "used by another");
        loop_ = &loop;
        loop.observe(*this);
        loop_joined();
    }
    if (may_give_ && waiting_.empty() && give(who)) {
        return true;
    }
    if (error_ != 0) {
        who.error_ = std::exchange(error_, 0);
        return true;
    }
    waiting_.push_back(who);
    arm();
    return false;
}

void standing_operation::forget(standing_wait& who) noexcept {
    waiting_.remove(who);
}

void standing_operation::arm() noexcept {
    if (!is_started()) {
        loop_->submit_standing(*this);
    }
}

void standing_operation::break_off() noexcept {
    loop_->cancel(*this);
}

void standing_operation::wake_waiting() noexcept {
    while (!waiting_.empty()) {
        auto& who = static_cast<standing_wait&>(*waiting_.front());
        if (!give(who)) {
            return;
        }
        waiting_.remove(who);
        who.wake();
    }
}

void standing_operation::failed(std::int32_t error) noexcept {
    if (auto* const who = next_waiting()) {
        who->error_ = error;
        who->wake();
    } else {
        error_ = error;
    }
}

/// In a forked child what is in flight is the parent's, and no completion comes of it.
void standing_operation::leave_to_parent() noexcept {
    if (is_started() && loop_->is_inherited()) {
        loop_->disown(*this);
    }
}

void standing_operation::abandon() noexcept {
    is_abandoned_ = true;
    leave_to_parent();
    if (is_started()) {
        event_loop& home = *loop_;
        break_off();      // deletes this where it still waits for an SQE
        home.enter_now(); // so that the peer and the port do not have to wait for the next turn
    } else {
        ::close(fd_);
        delete this;
    }
}

bool standing_operation::end_before(close_op& closing) noexcept {
    leave_to_parent();
    while (auto* const who = next_waiting()) {
        who->error_ = ECANCELED;
        who->wake();
    }
    if (!is_started()) {
        delete this;
        return false;
    }
    closing_ = &closing;
    break_off();
    return true;
}

void standing_operation::complete(std::int32_t value, std::uint32_t flags) noexcept {
    loop_->standing_ended();
    value = plain_errno(value);
    if (is_abandoned_) {
        drop(value, flags);
        ::close(fd_);
        delete this;
        return;
    }
    if (auto* const closing = closing_) {
        drop(value, flags);
        delete this;
        closing->standing_ended();
        return;
    }
    rest(value, flags);
    if (std::exchange(loop_is_ending_, false)) {
        loop_ = nullptr;
    } else if (!waiting_.empty()) {
        arm();
    }
}

void standing_operation::loop_ended() noexcept {
    leave_to_parent();
    if (is_started()) {
        loop_is_ending_ = true; // complete comes before the loop is gone
        break_off();
    } else {
        loop_ = nullptr;
    }
}

// --- the wait ---

bool standing_wait::begin() {
    SAPWOOD_ASSERT(on_.is_open() && on_.closing_ == nullptr,
                   "an operation was started on a socket that is not open");
    if (on_.standing_ == nullptr) {
        on_.standing_ = make().release();
    }
    if (on_.standing_->serve(*this, *context->loop)) {
        return true;
    }
    ++on_.in_flight_;
    return false;
}

void standing_wait::cancel() noexcept {
    on_.standing_->forget(*this);
    error_ = ECANCELED;
    wake();
}

std::int32_t standing_wait::take_error() noexcept {
    if (error_ == ECANCELED) [[unlikely]] {
        (void)context->take_cancel_request();
    }
    return error_;
}

void standing_wait::throw_error() {
    if (error_ == ECANCELED && context->take_cancel_request()) {
        throw cancelled{};
    }
    throw std::system_error(error_, std::generic_category(), describe());
}

} // namespace sapwood::detail
