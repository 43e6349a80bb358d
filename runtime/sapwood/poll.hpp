// poll: waiting until a descriptor is ready without doing anything to it. For descriptors that
// are non-blocking, as a standard input may be that is shared with other processes: some kinds
// (FIFOs among them) then say EAGAIN to a read instead of waiting. Loop thread only.
#pragma once

#include <sapwood/file.hpp>

#include <poll.h>

namespace sapwood {

namespace detail {

class [[nodiscard]] poll_op final : public fd_op<poll_op, short> {
  public:
    poll_op(owned_fd& of, short events) noexcept : fd_op(of), events_(events) {}

    void prepare(io_uring_sqe& sqe) noexcept override;

    short convert(std::int32_t events) const noexcept { return static_cast<short>(events); }

    std::string describe() const override;

  private:
    short events_;
};

/// The same for a descriptor that is somebody else's.
class [[nodiscard]] foreign_poll_op final : public op<foreign_poll_op, short> {
  public:
    foreign_poll_op(int fd, short events) noexcept : fd_(fd), events_(events) {}

    void prepare(io_uring_sqe& sqe) noexcept override;

    short convert(std::int32_t events) const noexcept { return static_cast<short>(events); }

    std::string describe() const override;

  private:
    int fd_;
    short events_;
};

} // namespace detail

/// Waits until one of `events` (POLLIN, POLLOUT and so on, as in poll(2)) holds for `of`, or
/// POLLERR or POLLHUP, and returns those that hold. A regular file is always ready. Throws
/// `cancelled`.
[[nodiscard]] inline detail::poll_op poll(owned_fd& of, short events) noexcept {
    return {of, events};
}

/// The same for the descriptor of a library, which stays the library's: so one that has its own
/// (libpq, curl, inotify) lives on the loop. It must not be closed while this waits; cancel and
/// await the wait first.
[[nodiscard]] inline detail::foreign_poll_op poll(int fd, short events) noexcept {
    return {fd, events};
}

} // namespace sapwood
