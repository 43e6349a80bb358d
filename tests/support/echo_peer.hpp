// Who talks to a server that is tested from outside.
#pragma once

#include "support/program.hpp"

#include <arpa/inet.h>
#include <cstdint>
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <poll.h>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

namespace sapwood::test {

/// The port that the server says it has, once it says so.
inline std::uint16_t port_of(const program& server) {
    constexpr std::string_view head = "starting up on 127.0.0.1:";
    std::string said;
    eventually([&] {
        said = server.out_so_far();
        return said.starts_with(head) && said.find('\n') != std::string::npos;
    });
    return static_cast<std::uint16_t>(std::stoi(said.substr(head.size())));
}

/// A connection to it, in plain blocking calls.
class echo_peer {
  public:
    explicit echo_peer(std::uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_in at{};
        at.sin_family = AF_INET;
        at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        at.sin_port = htons(port);
        REQUIRE(::connect(fd_, reinterpret_cast<const sockaddr*>(&at), sizeof(at)) == 0);
    }

    echo_peer(echo_peer&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

    echo_peer& operator=(echo_peer&&) = delete;

    ~echo_peer() { close(); }

    void close() {
        if (fd_ >= 0) {
            ::close(std::exchange(fd_, -1));
        }
    }

    void reset() {
        const linger at_once{.l_onoff = 1, .l_linger = 0};
        ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
        close();
    }

    void say(std::string_view text) const {
        REQUIRE(::send(fd_, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()));
    }

    void shutdown_write() const { REQUIRE(::shutdown(fd_, SHUT_WR) == 0); }

    /// Sends `text` again and again until nothing goes out any more, and returns how many bytes
    /// went; `at_most` where there is no end to it.
    std::size_t say_until_blocked(std::string_view text, std::size_t at_most) const {
        std::size_t said = 0;
        while (said < at_most) {
            const auto rest = text.substr(said % text.size());
            const ssize_t sent = ::send(fd_, rest.data(), rest.size(), MSG_DONTWAIT);
            if (sent > 0) {
                said += static_cast<std::size_t>(sent);
                continue;
            }
            // What was sent may still be on its way to the server.
            pollfd room{.fd = fd_, .events = POLLOUT, .revents = 0};
            if (::poll(&room, 1, 500) == 0) {
                break;
            }
        }
        return said;
    }

    std::string hear(std::size_t size) const {
        std::string text(size, ' ');
        const ssize_t got = ::recv(fd_, text.data(), size, MSG_WAITALL);
        text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
        return text;
    }

    [[nodiscard]] bool is_hung_up() const {
        char byte = 0;
        return ::recv(fd_, &byte, 1, 0) <= 0;
    }

  private:
    int fd_;
};

} // namespace sapwood::test
