#include <sapwood/op.hpp>

#include <sapwood/event_loop.hpp>

namespace sapwood {

void operation::progress(std::int32_t, std::uint32_t) noexcept {}

void operation::complete(std::int32_t value, std::uint32_t) noexcept {
    value = plain_errno(value);
    if (value == -EINTR && !context->must_stop()) {
        start();
        return;
    }
    // Under a storm of signals the kernel could not make the worker that was to do it, and has
    // given up what waited for one (io_acct_cancel_pending_work).
    if (value == -ECANCELED && !is_asked_to_end_ && !context->must_stop() &&
        unasked_cancels_ < unasked_cancels_max) {
        ++unasked_cancels_;
        start();
        return;
    }
    unasked_cancels_ = 0;
    // A kernel worker that was interrupted in order to cancel says EINTR as well.
    value_ = value == -EINTR ? -ECANCELED : value;
    context->loop->make_ready(*this);
}

} // namespace sapwood
