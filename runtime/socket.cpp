#include <sapwood/socket.hpp>

#include <sapwood/event_loop.hpp>
#include <sapwood/fmt_library.hpp>

#include <cerrno>
#include <fcntl.h>
#include <liburing.h>
#include <limits>
#include <unistd.h>

namespace sapwood {

namespace {

using address_call = int (*)(int, sockaddr*, socklen_t*);

endpoint asked(address_call call, int fd, const char* purpose) {
    sockaddr_storage address{};
    auto* const at = reinterpret_cast<sockaddr*>(&address);
    socklen_t size = sizeof(address);
    if (call(fd, at, &size) != 0) {
        throw std::system_error(errno, std::generic_category(),
                                fmt::format("{} of socket {}", purpose, fd));
    }
    return size == 0 ? endpoint() : endpoint(at, size);
}

} // namespace

endpoint socket::local_endpoint() const {
    return asked(::getsockname, fd(), "local endpoint");
}

endpoint socket::peer_endpoint() const {
    return asked(::getpeername, fd(), "peer endpoint");
}

namespace detail {

void throw_socket_error(int error, const std::string& purpose) {
    std::string text = purpose;
    switch (error) {
    case EADDRINUSE:
        text += " (`ss -lp` shows who is there)";
        break;
    case EACCES:
        text += " (ports below net.ipv4.ip_unprivileged_port_start need CAP_NET_BIND_SERVICE, a "
                "path needs write permission)";
        break;
    case EMFILE:
        text += " (raise the limit with `ulimit -n`)";
        break;
    default:
        break;
    }
    throw std::system_error(error, std::generic_category(), text);
}

std::string peer_name(int fd) {
    if (fd < 0) {
        return "a socket that has been closed";
    }
    sockaddr_storage address{};
    auto* const at = reinterpret_cast<sockaddr*>(&address);
    socklen_t size = sizeof(address);
    if (::getpeername(fd, at, &size) != 0 || size <= sizeof(sa_family_t)) {
        return fmt::format("socket {}", fd);
    }
    return endpoint(at, size).to_string();
}

std::string local_name(int fd) {
    if (fd < 0) {
        return "a socket that has been closed";
    }
    sockaddr_storage address{};
    auto* const at = reinterpret_cast<sockaddr*>(&address);
    socklen_t size = sizeof(address);
    if (::getsockname(fd, at, &size) != 0) {
        return fmt::format("socket {}", fd);
    }
    return endpoint(at, size).to_string();
}

owned_fd make_socket(int family, int type, const std::string& purpose) {
    owned_fd made(::socket(family, type | SOCK_CLOEXEC, 0));
    if (!made.is_open()) {
        throw_socket_error(errno, purpose);
    }
    return made;
}

void set_option(int fd, int level, int name, int value, const std::string& purpose) {
    if (::setsockopt(fd, level, name, &value, sizeof(value)) != 0) {
        throw_socket_error(errno, purpose);
    }
}

endpoint require_listening(int fd, const std::string& purpose) {
    int type = 0;
    int listens = 0;
    socklen_t size = sizeof(type);
    sockaddr_storage address{};
    socklen_t address_size = sizeof(address);
    if (::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0 ||
        ::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0 ||
        ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &address_size) != 0) {
        throw_socket_error(errno, purpose);
    }
    if (type != SOCK_STREAM || listens != 1) {
        throw_socket_error(EOPNOTSUPP, purpose);
    }
    const int flags = ::fcntl(fd, F_GETFL);
    if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 ||
        ::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) {
        throw_socket_error(errno, purpose);
    }
    return {reinterpret_cast<const sockaddr*>(&address), address_size};
}

void prepare_poll(io_uring_sqe& sqe, int fd, short events) noexcept {
    ::io_uring_prep_poll_add(&sqe, fd, static_cast<unsigned short>(events));
}

// --- accept ---

void accept_op::call(io_uring_sqe& sqe) noexcept {
    ::io_uring_prep_accept(&sqe, fd(), nullptr, nullptr, SOCK_CLOEXEC);
}

void accept_op::complete(std::int32_t value, std::uint32_t flags) noexcept {
    if (value >= 0 && !is_polling() && context->must_stop()) {
        ::close(value);
        value = -ECANCELED;
    }
    socket_op::complete(value, flags);
}

std::string accept_op::describe() const {
    return fmt::format("cannot accept on {}", local_name(fd()));
}

// --- connect ---

void connect_op::prepare(io_uring_sqe& sqe) noexcept {
    if (is_in_progress_) {
        prepare_poll(sqe, fd(), POLLOUT);
    } else {
        ::io_uring_prep_connect(&sqe, fd(), to_.data(), to_.size());
    }
}

void connect_op::complete(std::int32_t value, std::uint32_t flags) noexcept {
    if (is_in_progress_ && value >= 0) {
        int error = 0;
        socklen_t size = sizeof(error);
        value = ::getsockopt(fd(), SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? -error : -errno;
    } else if (value == -EINPROGRESS || value == -EALREADY) {
        // An old kernel on a socket that is O_NONBLOCK, or it was interrupted and asked again.
        if (!context->must_stop()) {
            is_in_progress_ = true;
            start();
            return;
        }
        value = -ECANCELED;
    }
    fd_op::complete(value, flags);
}

std::string connect_op::describe() const {
    return fmt::format("cannot connect to {}", to_.to_string());
}

// --- receive, send ---

void receive_op::call(io_uring_sqe& sqe) noexcept {
    ::io_uring_prep_recv(&sqe, fd(), into_.data(), transfer_size(into_.size()), 0);
}

std::string receive_op::describe() const {
    return fmt::format("receiving from {}", peer_name(fd()));
}

void send_op::call(io_uring_sqe& sqe) noexcept {
    ::io_uring_prep_send(&sqe, fd(), bytes_.data(), transfer_size(bytes_.size()), MSG_NOSIGNAL);
}

std::string send_op::describe() const {
    return fmt::format("sending {} bytes to {}", bytes_.size(), peer_name(fd()));
}

void send_all_op::call(io_uring_sqe& sqe) noexcept {
    if (left_.size() >= zero_copy_from_) [[unlikely]] {
        call_uncopied(sqe);
        return;
    }
    is_uncopied_ = false;
    ::io_uring_prep_send(&sqe, fd(), left_.data(), transfer_size(left_.size()), MSG_NOSIGNAL);
}

[[gnu::noinline]] void send_all_op::call_uncopied(io_uring_sqe& sqe) noexcept {
    const unsigned size = transfer_size(left_.size());
    is_uncopied_ = context->loop->can_send_uncopied();
    if (is_uncopied_) {
        ::io_uring_prep_send_zc(&sqe, fd(), left_.data(), size, MSG_NOSIGNAL, 0);
    } else {
        ::io_uring_prep_send(&sqe, fd(), left_.data(), size, MSG_NOSIGNAL);
    }
}

void send_all_op::progress(std::int32_t value, std::uint32_t) noexcept {
    sent_ = value;
}

void send_all_op::complete(std::int32_t value, std::uint32_t flags) noexcept {
    if (static_cast<std::size_t>(value) == left_.size() && !is_uncopied_ && !is_polling())
        [[likely]] {
        succeed(0);
        return;
    }
    if ((flags & IORING_CQE_F_NOTIF) != 0) {
        value = sent_; // and now the kernel does not need the bytes any more
    }
    if (is_uncopied_ && (value == -EOPNOTSUPP || value == -ENOMEM || value == -ENOBUFS)) {
        // A socket of another kind, or the limit on locked memory: then copied.
        zero_copy_from_ = std::numeric_limits<std::size_t>::max();
        if (!context->must_stop()) {
            start();
            return;
        }
        value = -ECANCELED;
    }
    if (value > 0 && !is_polling()) {
        left_ = left_.subspan(static_cast<std::size_t>(value));
        value = 0;
        if (!left_.empty()) {
            if (!context->must_stop()) {
                start();
                return;
            }
            value = -ECANCELED;
        }
    }
    socket_op::complete(value, flags);
}

std::string send_all_op::describe() const {
    return fmt::format("sending to {}, with {} bytes left", peer_name(fd()), left_.size());
}

void receive_message_op::call(io_uring_sqe& sqe) noexcept {
    ::io_uring_prep_recvmsg(&sqe, fd(), &message_, static_cast<unsigned>(flags_));
}

std::string receive_message_op::describe() const {
    return fmt::format("receiving on {}", local_name(fd()));
}

void send_message_op::call(io_uring_sqe& sqe) noexcept {
    ::io_uring_prep_sendmsg(&sqe, fd(), &message_, MSG_NOSIGNAL);
}

std::string send_message_op::describe() const {
    const auto* const name = static_cast<const sockaddr*>(message_.msg_name);
    return fmt::format("sending to {}", name != nullptr
                                            ? endpoint(name, message_.msg_namelen).to_string()
                                            : peer_name(fd()));
}

// --- shutdown ---

void shutdown_op::prepare(io_uring_sqe& sqe) noexcept {
    ::io_uring_prep_shutdown(&sqe, fd(), how_);
}

std::string shutdown_op::describe() const {
    return fmt::format("shutdown of the connection with {}", peer_name(fd()));
}

} // namespace detail

} // namespace sapwood
