#include <sapwood/owned_fd.hpp>

#include "fd_calls.hpp"

#include <sapwood/event_loop.hpp>
#include <sapwood/fmt_library.hpp>
#include <sapwood/standing_operation.hpp>

#include <liburing.h>
#include <utility>

namespace sapwood {

namespace detail {

/// Begins, now or when the last of them has ended.
void close_op::end_others() noexcept {
    of_.closing_ = this;
    if (auto* const standing = std::exchange(of_.standing_, nullptr)) {
        ++of_.in_flight_;
        if (standing->end_before(*this)) {
            return; // standing_ended has been called, or will be
        }
        --of_.in_flight_;
    }
    if (of_.in_flight_ == 0) {
        begin();
    }
}

void close_op::begin() noexcept {
    fd_ = std::exchange(of_.fd_, -1);
    of_.closing_ = nullptr;
    start();
}

void close_op::prepare(io_uring_sqe& sqe) noexcept {
    ::io_uring_prep_close(&sqe, fd_);
}

void close_op::complete(std::int32_t value, std::uint32_t) noexcept {
    // Not begun (see operation::complete), and made at once; or what a file system's flush has said
    // (FUSE may say anything), behind which the descriptor is gone. Then its number is nobody's,
    // but where another thread has taken it since: a window that the kernel leaves, and so kept
    // short.
    if (value == -ECANCELED) {
        const std::int32_t made = close_now(fd_);
        value = made != -EBADF ? made : value;
    }
    // Never again otherwise, not even after EINTR: the number may be another's.
    value_ = plain_errno(value);
    context->loop->make_ready(*this);
}

std::string close_op::describe() const {
    return fmt::format("close of file descriptor {}", fd_);
}

} // namespace detail

owned_fd::owned_fd(owned_fd&& other) noexcept : standing_(std::exchange(other.standing_, nullptr)) {
    fd_ = other.release();
}

owned_fd& owned_fd::operator=(owned_fd&& other) noexcept {
    if (this != &other) {
        const owned_fd old(std::move(*this));
        standing_ = std::exchange(other.standing_, nullptr);
        fd_ = other.release();
    }
    return *this;
}

owned_fd::~owned_fd() {
    SAPWOOD_ASSERT(in_flight_ == 0 && closing_ == nullptr,
                   "a file or socket was destroyed while operations are in flight on it");
    if (standing_ != nullptr) {
        standing_->abandon();
    } else if (fd_ >= 0) {
        (void)detail::close_now(fd_);
    }
}

int owned_fd::release() noexcept {
    SAPWOOD_ASSERT(in_flight_ == 0 && closing_ == nullptr,
                   "a file or socket was moved or released while operations are in flight on it");
    SAPWOOD_ASSERT(standing_ == nullptr, "the descriptor of a stream that receive() was called on, "
                                         "or of a listener that has accepted, was released: the "
                                         "loop would go on");
    return std::exchange(fd_, -1);
}

detail::close_op owned_fd::close() noexcept {
    return detail::close_op(*this);
}

void owned_fd::begin_closing() noexcept {
    closing_->begin();
}

} // namespace sapwood
