#include <sapwood/fmt_library.hpp>
#include <sapwood/path_lock.hpp>
#include <sapwood/unix_socket.hpp>

#include "fork_generation.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <optional>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace sapwood {

namespace {

void require_unix(const endpoint& at, const std::string& purpose) {
    if (at.family() != AF_UNIX) {
        throw std::system_error(EAFNOSUPPORT, std::generic_category(), purpose);
    }
}

bool is_socket(const std::string& path) noexcept {
    struct stat status {};

    return ::lstat(path.c_str(), &status) == 0 && S_ISSOCK(status.st_mode);
}

/// Whether anybody listens there. A socket of another type, or one whose backlog is full, is alive.
bool somebody_answers(const endpoint& at, const std::string& purpose) {
    const owned_fd probe = detail::make_socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, purpose);
    return ::connect(probe.fd(), at.data(), at.size()) == 0 ||
           (errno != ECONNREFUSED && errno != ENOENT);
}

[[noreturn]] void refuse_taken(const std::string& purpose, const std::string& why) {
    throw std::system_error(EADDRINUSE, std::generic_category(), purpose + why);
}

/// Binds where there is something already, if a dead process left it. Two that start at once must
/// not remove each other's: only who has the path's lock looks.
void bind_over_stale(int fd, const endpoint& at, const detail::path_lock& lock,
                     const std::string& purpose) {
    const std::string path = at.path();
    if (!is_socket(path)) {
        refuse_taken(purpose, ": there is something else under this name");
    }
    if (somebody_answers(at, purpose)) {
        refuse_taken(purpose, ": somebody listens there");
    }
    if (!lock.may_replace(path)) {
        refuse_taken(purpose,
                     ": a dead process left it, and it cannot be replaced" + lock.why_not());
    }
    if (::unlink(path.c_str()) != 0 || ::bind(fd, at.data(), at.size()) != 0) {
        detail::throw_socket_error(errno, purpose);
    }
}

/// Room for exactly one descriptor.
struct alignas(cmsghdr) descriptor_space {
    std::array<char, CMSG_SPACE(sizeof(int))> bytes{};
};

} // namespace

// --- unix_stream ---

task<unix_stream> unix_stream::connect(endpoint to) {
    const std::string purpose = fmt::format("cannot connect to {}", to.to_string());
    require_unix(to, purpose);
    // Not O_NONBLOCK: where the backlog is full, that would fail instead of waiting.
    unix_stream made(detail::make_socket(AF_UNIX, SOCK_STREAM, purpose).release());
    co_await detail::connect_op(made, to);
    co_return made;
}

std::pair<unix_stream, unix_stream> unix_stream::make_pair() {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
        detail::throw_socket_error(errno, "cannot make a pair of Unix sockets");
    }
    return {unix_stream(ends[0]), unix_stream(ends[1])};
}

credentials unix_stream::peer_credentials() const {
    ucred raw{};
    socklen_t size = sizeof(raw);
    if (::getsockopt(fd(), SOL_SOCKET, SO_PEERCRED, &raw, &size) != 0) {
        throw std::system_error(errno, std::generic_category(),
                                fmt::format("credentials of the peer of socket {}", fd()));
    }
    return {.pid = raw.pid, .uid = raw.uid, .gid = raw.gid};
}

task<> unix_stream::send_descriptor(int fd) {
    if (::fcntl(fd, F_GETFD) < 0) {
        throw std::system_error(errno, std::generic_category(),
                                fmt::format("cannot send file descriptor {}", fd));
    }
    char byte = 0;
    iovec part{.iov_base = &byte, .iov_len = 1};
    descriptor_space control;
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = &control;
    message.msg_controllen = sizeof(control);
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &fd, sizeof(fd));
    (void)co_await detail::send_message_op(*this, message);
}

task<owned_fd> unix_stream::receive_descriptor() {
    SAPWOOD_ASSERT(!has_standing_operation(),
                   "a stream that receive() was called on is read by other means");
    char byte = 0;
    iovec part{.iov_base = &byte, .iov_len = 1};
    descriptor_space control;
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = &control;
    message.msg_controllen = sizeof(control);
    const std::size_t got = co_await detail::receive_message_op(*this, message, MSG_CMSG_CLOEXEC);
    // Padding leaves room for two: who sends more than one must not leave us with the rest.
    owned_fd received;
    const cmsghdr* const header = CMSG_FIRSTHDR(&message);
    std::size_t count = 0;
    if (header != nullptr && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
        count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; i < count; ++i) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(fd));
            received = owned_fd(fd);
        }
    }
    if (got == 0) {
        co_return owned_fd();
    }
    if (count != 1 || (message.msg_flags & MSG_CTRUNC) != 0) {
        throw std::system_error(EBADMSG, std::generic_category(),
                                count == 0 && (message.msg_flags & MSG_CTRUNC) == 0
                                    ? "a byte came without a descriptor"
                                    : "one descriptor was expected, and others came or no number "
                                      "was free for it (`ulimit -n`)");
    }
    co_return received;
}

// --- unix_listener ---

unix_listener::bound_path::bound_path(std::string path)
    : path_(std::move(path)),
      generation_(detail::current_generation()) {
    struct stat status {};

    if (!path_.empty() && ::lstat(path_.c_str(), &status) == 0) {
        device_ = status.st_dev;
        inode_ = status.st_ino;
    }
}

void unix_listener::bound_path::remove() noexcept {
    struct stat status {};

    if (!path_.empty() && generation_ == detail::current_generation() &&
        ::lstat(path_.c_str(), &status) == 0 && status.st_dev == device_ &&
        status.st_ino == inode_) {
        ::unlink(path_.c_str());
    }
    path_.clear();
}

unix_listener::unix_listener(const endpoint& at, unix_listen_options options) {
    const std::string purpose = fmt::format("cannot listen on {}", at.to_string());
    require_unix(at, purpose);
    owned_fd made = detail::make_socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, purpose);
    // Before bind, which gives the path the socket's own permissions: nobody comes in between.
    if (!at.path().empty() && ::fchmod(made.fd(), options.mode) != 0) {
        detail::throw_socket_error(errno, purpose);
    }
    // Until it listens: before that it looks as dead as what a dead process left.
    std::optional<detail::path_lock> lock;
    if (!at.path().empty()) {
        lock.emplace(at.path());
        if (lock->is_taken()) {
            refuse_taken(purpose, lock->why_not());
        }
    }
    if (::bind(made.fd(), at.data(), at.size()) != 0) {
        if (errno != EADDRINUSE || !lock) {
            detail::throw_socket_error(errno, purpose);
        }
        bind_over_stale(made.fd(), at, *lock, purpose);
    }
    bound_path bound(at.path());
    if (::listen(made.fd(), options.backlog) != 0) {
        const int error = errno;
        bound.remove();
        detail::throw_socket_error(error, purpose);
    }
    static_cast<owned_fd&>(*this) = std::move(made);
    path_ = std::move(bound);
}

unix_listener unix_listener::adopt(owned_fd listening) {
    const std::string purpose = fmt::format("cannot listen by descriptor {}", listening.fd());
    require_unix(detail::require_listening(listening.fd(), purpose), purpose);
    unix_listener made;
    static_cast<owned_fd&>(made) = std::move(listening);
    return made;
}

unix_listener& unix_listener::operator=(unix_listener&& other) noexcept {
    if (this != &other) {
        path_.remove();
        path_ = std::move(other.path_);
        listener::operator=(std::move(other));
    }
    return *this;
}

unix_listener::~unix_listener() {
    path_.remove();
}

task<unix_stream> unix_listener::accept() {
    co_return unix_stream((co_await next_connection()).release());
}

detail::close_op unix_listener::close() noexcept {
    path_.remove();
    return listener::close();
}

} // namespace sapwood
