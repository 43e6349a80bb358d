#include "readiness.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <ctime>
#include <new>
#include <poll.h>
#include <sys/syscall.h>
#include <system_error>
#include <unistd.h>

namespace sapwood::detail {

namespace {

/// epoll_pwait2, which is newer than some C libraries.
constexpr long epoll_pwait2_number = 441;

int make_epoll() {
    const int fd = ::epoll_create1(EPOLL_CLOEXEC);
    if (fd < 0) {
        throw std::system_error(errno, std::generic_category(),
                                "cannot make the epoll that the event loop waits on; where no "
                                "descriptor is free, raise the limit with `ulimit -n`");
    }
    return fd;
}

timespec until_then(clock::time_point until) noexcept {
    using namespace std::chrono;
    const auto left = std::max(until - clock::now(), clock::duration::zero());
    const auto whole = duration_cast<seconds>(left);
    return {.tv_sec = whole.count(), .tv_nsec = nanoseconds(left - whole).count()};
}

} // namespace

readiness::readiness() : epoll_fd_(make_epoll()) {}

readiness::~readiness() {
    ::close(epoll_fd_);
}

void readiness::watch_doorbell(int fd) {
    // Edge-triggered: what rings it need not be read.
    epoll_event event{.events = EPOLLIN | EPOLLET, .data = {.fd = fd}};
    if (::epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event) != 0) {
        throw std::system_error(errno, std::generic_category(),
                                "cannot watch the eventfd by which worker threads wake the loop");
    }
    doorbell_ = fd;
}

std::int32_t readiness::add_standing(waiting& node, int fd, std::uint32_t events) noexcept {
    node.is_standing_ = true;
    return add_any(node, fd, events);
}

std::int32_t readiness::add(waiting& node, int fd, std::uint32_t events) noexcept {
    node.is_standing_ = false;
    return add_any(node, fd, events);
}

std::int32_t readiness::add_any(waiting& node, int fd, std::uint32_t events) noexcept {
    try {
        while (by_fd_.size() <= static_cast<std::size_t>(fd)) {
            by_fd_.emplace_back();
        }
    } catch (const std::bad_alloc&) {
        return -ENOMEM;
    }
    node.fd_ = fd;
    node.events_ = events;
    by_fd_[static_cast<std::size_t>(fd)].waiters.push_back(node);
    ++waiting_count_;
    const std::int32_t refused = arm(fd);
    if (refused != 0) {
        remove(node);
    }
    return refused;
}

void readiness::remove(waiting& node) noexcept {
    watch& on = by_fd_[static_cast<std::size_t>(node.fd_)];
    on.waiters.remove(node);
    --waiting_count_;
    if (node.is_standing_ && on.is_standing) {
        // Or epoll would tell of it in every turn.
        ::epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, node.fd_, nullptr);
        on.is_standing = false;
        on.armed = 0;
        (void)arm(node.fd_);
    }
    if (on.waiters.empty()) {
        // The descriptor may be closed now and its number used again: believe nothing of it.
        on.armed = 0;
    }
}

void readiness::forget(int fd) noexcept {
    // Closing removes it from the epoll only if nobody else has the open file description.
    if (fd >= 0 && static_cast<std::size_t>(fd) < by_fd_.size()) {
        ::epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, fd, nullptr);
    }
}

/// Has epoll tell of all that is waited for on `fd`: once, unless one of those who wait stays.
/// Once, because a registration that outlives its descriptor can then mislead one time and not for
/// ever.
std::int32_t readiness::arm(int fd) noexcept {
    watch& on = by_fd_[static_cast<std::size_t>(fd)];
    // Of these two epoll tells in any case; a poll for nothing waits for them alone.
    std::uint32_t wanted = on.waiters.empty() ? 0u : std::uint32_t{EPOLLERR} | EPOLLHUP;
    bool is_standing = false;
    for (waiting* node = on.waiters.front(); node != nullptr; node = waiting_list::after(*node)) {
        wanted |= node->events_;
        is_standing = is_standing || node->is_standing_;
    }
    const bool is_told =
        is_standing ? on.is_standing && wanted == on.armed : (wanted & ~on.armed) == 0;
    if (is_told) {
        return 0;
    }
    epoll_event event{.events = wanted | (is_standing ? 0u : std::uint32_t{EPOLLONESHOT}),
                      .data = {.fd = fd}};
    if (::epoll_ctl(epoll_fd_, EPOLL_CTL_MOD, fd, &event) != 0 &&
        (errno != ENOENT || ::epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event) != 0)) {
        return -errno;
    }
    on.is_standing = is_standing;
    on.armed = wanted;
    return 0;
}

void readiness::wait(clock::time_point until) noexcept {
    ready_count_ = 0;
    const int room = static_cast<int>(events_.size());
    int count = -1;
    if (until == clock::time_point::min()) {
        count = ::epoll_wait(epoll_fd_, events_.data(), room, 0);
    } else if (until == clock::time_point::max()) {
        count = ::epoll_wait(epoll_fd_, events_.data(), room, -1);
    } else {
        const timespec left = until_then(until);
        if (!lacks_pwait2_) {
            count = static_cast<int>(::syscall(epoll_pwait2_number, epoll_fd_, events_.data(), room,
                                               &left, nullptr, std::size_t{_NSIG / 8}));
            lacks_pwait2_ = count < 0 && (errno == ENOSYS || errno == EPERM);
        }
        if (lacks_pwait2_) {
            // epoll_wait itself knows milliseconds only.
            pollfd self{.fd = epoll_fd_, .events = POLLIN, .revents = 0};
            ::ppoll(&self, 1, &left, nullptr);
            count = ::epoll_wait(epoll_fd_, events_.data(), room, 0);
        }
    }
    if (count > 0) { // else the time has come, or a signal
        ready_count_ = static_cast<std::size_t>(count);
    }
}

} // namespace sapwood::detail
