#include <sapwood/op.hpp>

#include <sapwood/event_loop.hpp>

namespace sapwood {

void operation::start() noexcept {
    context->loop->submit(*this);
}

void operation::cancel() noexcept {
    context->loop->cancel(*this);
}

std::int32_t operation::plain_errno(std::int32_t value) noexcept {
    // ERESTARTSYS and its kin, which the kernel keeps from system calls but not from completions.
    constexpr std::int32_t restart_first = 512;
    constexpr std::int32_t restart_last = 516;
    return value <= -restart_first && value >= -restart_last ? -EINTR : value;
}

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
