#include "echo_server.hpp"

#include <cerrno>
#include <cstdio>
#include <system_error>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <fmt/format.h>

namespace bench {

int listen_on_loopback(bool is_nonblocking) {
    const int type = SOCK_STREAM | SOCK_CLOEXEC | (is_nonblocking ? SOCK_NONBLOCK : 0);
    const int fd = socket(AF_INET, type, 0);
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int on = 1;
    if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 ||
        bind(fd, reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0 ||
        listen(fd, SOMAXCONN) != 0) {
        throw std::system_error{errno, std::generic_category(), "cannot listen on 127.0.0.1"};
    }
    return fd;
}

std::uint16_t port_of(int fd) {
    sockaddr_in at{};
    socklen_t size = sizeof at;
    if (getsockname(fd, reinterpret_cast<sockaddr*>(&at), &size) != 0) {
        throw std::system_error{errno, std::generic_category(), "cannot tell a server's port"};
    }
    return ntohs(at.sin_port);
}

void print_port(std::uint16_t port) {
    fmt::print("{}\n", port);
    std::fflush(stdout);
}

} // namespace bench
