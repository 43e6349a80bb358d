#include <sapwood/datagram.hpp>
#include <sapwood/fmt_library.hpp>

#include <cerrno>
#include <liburing.h>
#include <netinet/in.h>
#include <utility>

namespace sapwood {

namespace detail {

void receive_datagram_op::call(io_uring_sqe& sqe) noexcept {
    message_.header.msg_name = &message_.name;
    message_.header.msg_namelen = sizeof(message_.name);
    ::io_uring_prep_recvmsg(&sqe, fd(), &message_.header, 0);
}

datagram receive_datagram_op::convert(std::int32_t bytes) const noexcept {
    datagram got;
    got.size = static_cast<std::size_t>(bytes);
    got.is_truncated = (message_.header.msg_flags & MSG_TRUNC) != 0;
    if (message_.header.msg_namelen > 0) {
        got.from = endpoint(reinterpret_cast<const sockaddr*>(&message_.name),
                            message_.header.msg_namelen);
    }
    return got;
}

std::string receive_datagram_op::describe() const {
    return fmt::format("receiving datagrams on socket {}", fd());
}

void send_datagram_op::call(io_uring_sqe& sqe) noexcept {
    message_.header.msg_name = const_cast<sockaddr*>(to_.data());
    message_.header.msg_namelen = to_.size();
    // Not to wait: Linux (seen in 6.18) tries a send that has to wait again with the bytes that the
    // first try has already taken, and so sends an empty datagram.
    ::io_uring_prep_sendmsg(&sqe, fd(), &message_.header, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void send_datagram_op::complete(std::int32_t value, std::uint32_t flags) noexcept {
    if (value == -EAGAIN && to_.family() == AF_UNIX && !room_.is_open()) {
        // An unconnected Unix socket is always ready: the queue that is full is the receiver's.
        room_ = owned_fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
        if (!room_.is_open() || ::connect(room_.fd(), to_.data(), to_.size()) != 0) {
            value = -errno;
        }
    } else if (value >= 0 && !is_polling() && std::cmp_not_equal(value, message_.part.iov_len)) {
        value = -EIO; // a datagram that was cut is not sent
    }
    socket_op::complete(value, flags);
}

int send_datagram_op::polled_fd() const noexcept {
    return room_.is_open() ? room_.fd() : fd();
}

std::string send_datagram_op::describe() const {
    return fmt::format("cannot send a datagram of {} bytes to {}", message_.part.iov_len,
                       to_.to_string());
}

} // namespace detail

namespace {

void bind_to(const owned_fd& made, const endpoint& at, const std::string& purpose) {
    if (::bind(made.fd(), at.data(), at.size()) != 0) {
        detail::throw_socket_error(errno, purpose);
    }
}

} // namespace

detail::receive_datagram_op datagram_socket::receive_from(std::span<char> into) noexcept {
    return {*this, into};
}

detail::send_datagram_op datagram_socket::send_to(std::span<const char> bytes,
                                                  const endpoint& to) noexcept {
    return {*this, bytes, to};
}

udp_socket::udp_socket(const endpoint& at, udp_options options) {
    const std::string purpose = fmt::format("cannot receive datagrams on {}", at.to_string());
    if (at.family() != AF_INET && at.family() != AF_INET6) {
        throw std::system_error(EAFNOSUPPORT, std::generic_category(), purpose);
    }
    owned_fd made = detail::make_socket(at.family(), SOCK_DGRAM, purpose);
    if (options.reuse_address) {
        detail::set_option(made.fd(), SOL_SOCKET, SO_REUSEADDR, 1, purpose);
    }
    if (options.reuse_port) {
        detail::set_option(made.fd(), SOL_SOCKET, SO_REUSEPORT, 1, purpose);
    }
    if (at.family() == AF_INET6) {
        detail::set_option(made.fd(), IPPROTO_IPV6, IPV6_V6ONLY, options.v6_only ? 1 : 0, purpose);
    }
    bind_to(made, at, purpose);
    static_cast<owned_fd&>(*this) = std::move(made);
}

unix_datagram::unix_datagram(const endpoint& at) {
    const std::string purpose = fmt::format("cannot receive datagrams on {}", at.to_string());
    if (at.family() != AF_UNIX) {
        throw std::system_error(EAFNOSUPPORT, std::generic_category(), purpose);
    }
    owned_fd made = detail::make_socket(AF_UNIX, SOCK_DGRAM, purpose);
    bind_to(made, at, purpose);
    static_cast<owned_fd&>(*this) = std::move(made);
}

unix_datagram unix_datagram::make_unnamed() {
    unix_datagram made;
    static_cast<owned_fd&>(made) =
        detail::make_socket(AF_UNIX, SOCK_DGRAM, "cannot make a Unix socket");
    return made;
}

} // namespace sapwood
