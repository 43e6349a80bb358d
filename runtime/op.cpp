#include <sapwood/op.hpp>

#include <sapwood/event_loop.hpp>

namespace sapwood {

void operation::start() noexcept {
    context->loop->submit(*this);
}

void operation::cancel() noexcept {
    context->loop->cancel(*this);
}

void operation::complete(std::int32_t value, std::uint32_t flags) noexcept {
    if (value == -EINTR && !context->cancel_requested) {
        start();
        return;
    }
    // A kernel worker that was interrupted in order to cancel says EINTR as well.
    value_ = value == -EINTR ? -ECANCELED : value;
    flags_ = flags;
    context->loop->make_ready(*this);
}

} // namespace sapwood
