// A `sapwood serve` of a test's own, and sockets that it is passed or spoken to by.
#pragma once

#include "support/program.hpp"
#include "support/temporary_directory.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <csignal>
#include <cstdlib>
#include <doctest/doctest.h>
#include <memory>
#include <netinet/in.h>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace sapwood::test {

inline bool has(std::string_view text, std::string_view what) {
    return text.find(what) != text.npos;
}

inline std::size_t lines_in(const std::string& path) {
    const std::string text = contents_of(path);
    return static_cast<std::size_t>(std::ranges::count(text, '\n'));
}

/// A daemon that listens at `places`; `ports` has those of TCP, HTTP's first.
class daemon_under_test {
  public:
    daemon_under_test(std::vector<std::string> arguments, unsigned places,
                      const program::streams& with = {}) {
        arguments.insert(arguments.begin(), {"serve", "--log", log});
        process = std::make_unique<program>("sapwood", std::move(arguments), with);
        eventually([&] {
            const std::string out = process->out_so_far();
            return std::ranges::count(out, '\n') >= places;
        });
        std::string out = process->out_so_far();
        constexpr std::string_view place = "127.0.0.1:";
        for (auto at = out.find(place); at != out.npos; at = out.find(place, at + 1)) {
            ports.push_back(std::atoi(out.c_str() + at + place.size()));
        }
    }

    program::outcome stop() {
        process->signal(SIGTERM);
        return process->wait();
    }

    temporary_directory directory;
    std::string log = directory / "app.log";
    std::vector<int> ports;
    std::unique_ptr<program> process;
};

/// A Unix socket of `type` that is bound to `path`, and listens where that is for streams.
inline int bound(const std::string& path, int type) {
    const int fd = ::socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    sockaddr_un at{};
    at.sun_family = AF_UNIX;
    path.copy(at.sun_path, sizeof(at.sun_path) - 1);
    REQUIRE(::bind(fd, reinterpret_cast<const sockaddr*>(&at), sizeof(at)) == 0);
    if (type == SOCK_STREAM) {
        REQUIRE(::listen(fd, 16) == 0);
    }
    return fd;
}

/// An IPv4 socket on a port that was free.
inline int bound_to_loopback(int type, int& port) {
    const int fd = ::socket(AF_INET, type | SOCK_CLOEXEC, 0);
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(at);
    REQUIRE(::bind(fd, reinterpret_cast<const sockaddr*>(&at), size) == 0);
    if (type == SOCK_STREAM) {
        REQUIRE(::listen(fd, 16) == 0);
    }
    REQUIRE(::getsockname(fd, reinterpret_cast<sockaddr*>(&at), &size) == 0);
    port = ntohs(at.sin_port);
    return fd;
}

/// Passes sockets on as systemd does: from descriptor 3 on.
inline program::streams activation(std::vector<int> sockets, const std::string& names) {
    return {.in = -1, .err = -1, .prepare = [sockets = std::move(sockets), names] {
                constexpr int above = 100;
                for (std::size_t i = 0; i < sockets.size(); ++i) {
                    ::dup2(sockets[i], above + static_cast<int>(i));
                }
                for (std::size_t i = 0; i < sockets.size(); ++i) {
                    ::dup2(above + static_cast<int>(i), 3 + static_cast<int>(i));
                    ::close(above + static_cast<int>(i));
                }
                ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
                ::setenv("LISTEN_FDS", std::to_string(sockets.size()).c_str(), 1);
                ::setenv("LISTEN_FDNAMES", names.c_str(), 1);
            }};
}

/// A stream that is connected to a path; -1 where it is refused.
inline int connected_to(const std::string& path) {
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un at{};
    at.sun_family = AF_UNIX;
    path.copy(at.sun_path, sizeof(at.sun_path) - 1);
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&at), sizeof(at)) != 0) {
        ::close(fd);
        return -1;
    }
    return fd;
}

/// Sends `line` to a Unix stream as a user, and waits until the other side has closed.
inline void send_as(uid_t user, const std::string& path, const std::string& line) {
    const pid_t child = ::fork();
    if (child == 0) {
        if (::setuid(user) != 0) {
            ::_exit(2);
        }
        const int fd = connected_to(path);
        if (fd < 0) {
            ::_exit(3);
        }
        (void)::send(fd, line.data(), line.size(), MSG_NOSIGNAL);
        ::shutdown(fd, SHUT_WR);
        char byte = 0;
        (void)::recv(fd, &byte, 1, 0);
        ::_exit(0);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(WEXITSTATUS(status) == 0);
}

} // namespace sapwood::test
