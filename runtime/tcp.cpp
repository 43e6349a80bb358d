#include <sapwood/fmt_library.hpp>
#include <sapwood/tcp.hpp>

#include <cerrno>
#include <netinet/in.h>
#include <netinet/tcp.h>

namespace sapwood {

namespace {

void require_internet(const endpoint& at, const std::string& purpose) {
    if (at.family() != AF_INET && at.family() != AF_INET6) {
        throw std::system_error(EAFNOSUPPORT, std::generic_category(), purpose);
    }
}

} // namespace

task<tcp_stream> tcp_stream::connect(endpoint to, tcp_options options) {
    const std::string purpose = fmt::format("cannot connect to {}", to.to_string());
    require_internet(to, purpose);
    // O_NONBLOCK, so that poll_ring needs no thread for it.
    tcp_stream made(
        detail::make_socket(to.family(), SOCK_STREAM | SOCK_NONBLOCK, purpose).release());
    detail::set_option(made.fd(), IPPROTO_TCP, TCP_NODELAY, options.no_delay ? 1 : 0, purpose);
    co_await detail::connect_op(made, to);
    co_return made;
}

tcp_listener::tcp_listener(const endpoint& at, tcp_listen_options options)
    : streams_(options.streams) {
    const std::string purpose = fmt::format("cannot listen on {}", at.to_string());
    require_internet(at, purpose);
    owned_fd made = detail::make_socket(at.family(), SOCK_STREAM | SOCK_NONBLOCK, purpose);
    const auto set = [&](int level, int name, bool value) {
        detail::set_option(made.fd(), level, name, value ? 1 : 0, purpose);
    };
    set(SOL_SOCKET, SO_REUSEADDR, options.reuse_address);
    if (options.reuse_port) {
        set(SOL_SOCKET, SO_REUSEPORT, true);
    }
    if (at.family() == AF_INET6) {
        set(IPPROTO_IPV6, IPV6_V6ONLY, options.v6_only);
    }
    if (::bind(made.fd(), at.data(), at.size()) != 0 || ::listen(made.fd(), options.backlog) != 0) {
        detail::throw_socket_error(errno, purpose);
    }
    static_cast<owned_fd&>(*this) = std::move(made);
}

tcp_listener tcp_listener::adopt(owned_fd listening, tcp_options streams) {
    const std::string purpose = fmt::format("cannot listen by descriptor {}", listening.fd());
    require_internet(detail::require_listening(listening.fd(), purpose), purpose);
    tcp_listener made;
    made.streams_ = streams;
    static_cast<owned_fd&>(made) = std::move(listening);
    return made;
}

task<tcp_stream> tcp_listener::accept() {
    tcp_stream made((co_await next_connection()).release());
    // Where the peer has gone already this fails, and the first read tells.
    const int value = streams_.no_delay ? 1 : 0;
    (void)::setsockopt(made.fd(), IPPROTO_TCP, TCP_NODELAY, &value, sizeof(value));
    co_return made;
}

} // namespace sapwood
