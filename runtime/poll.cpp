#include <sapwood/fmt_library.hpp>
#include <sapwood/poll.hpp>

#include <liburing.h>

namespace sapwood::detail {

void poll_op::prepare(io_uring_sqe& sqe) noexcept {
    ::io_uring_prep_poll_add(&sqe, fd(), static_cast<unsigned short>(events_));
}

std::string poll_op::describe() const {
    return fmt::format("poll of file descriptor {}", fd());
}

void foreign_poll_op::prepare(io_uring_sqe& sqe) noexcept {
    ::io_uring_prep_poll_add(&sqe, fd_, static_cast<unsigned short>(events_));
}

std::string foreign_poll_op::describe() const {
    return fmt::format("poll of file descriptor {}", fd_);
}

} // namespace sapwood::detail
