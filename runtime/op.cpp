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
    // A kernel worker that was interrupted in order to cancel says EINTR as well.
    value_ = value == -EINTR ? -ECANCELED : value;
    context->loop->make_ready(*this);
}

} // namespace sapwood
