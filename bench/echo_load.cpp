#include "echo_load.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <random>
#include <stdexcept>
#include <string>
#include <system_error>

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace bench {

namespace {

constexpr int patience_ms = 10'000;

[[noreturn]] void fail(const char* what) {
    throw std::system_error{errno, std::generic_category(), what};
}

std::uint64_t now_ns() {
    return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
}

int connect_to(std::uint16_t port) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    at.sin_port = htons(port);
    const int on = 1;
    if (fd < 0 || connect(fd, reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 ||
        fcntl(fd, F_SETFL, O_NONBLOCK) != 0) {
        fail("cannot connect to the server");
    }
    return fd;
}

} // namespace

echo_load::echo_load(std::uint16_t port, std::size_t connections, std::size_t message_bytes)
    : message_bytes_{message_bytes},
      connections_(connections),
      message_(message_bytes),
      buffer_(message_bytes),
      epoll_{epoll_create1(EPOLL_CLOEXEC)} {
    std::minstd_rand random; // The same bytes in every run.
    for (char& byte : message_) {
        byte = static_cast<char>(random() >> 8);
    }
    for (std::size_t i = 0; i < connections; ++i) {
        connections_[i].fd = connect_to(port);
        connections_[i].index = static_cast<std::uint32_t>(i);
        watch(connections_[i], EPOLL_CTL_ADD, EPOLLIN);
    }
}

echo_load::~echo_load() {
    for (const connection& one : connections_) {
        if (one.fd >= 0) {
            close(one.fd);
        }
    }
    close(epoll_);
}

void echo_load::run(std::chrono::nanoseconds duration, histogram& latencies) {
    std::uint64_t now = now_ns();
    const std::uint64_t end = now + static_cast<std::uint64_t>(duration.count());
    if (under_way_ == 0) {
        for (connection& one : connections_) {
            begin(one, now_ns());
        }
    }
    while (now < end) {
        turn(&latencies);
        now = now_ns();
    }
}

void echo_load::finish() {
    while (under_way_ > 0) {
        turn(nullptr);
    }
}

void echo_load::turn(histogram* latencies) {
    std::array<epoll_event, 512> ready{};
    const int count = epoll_wait(epoll_, ready.data(), static_cast<int>(ready.size()), patience_ms);
    if (count < 0 && errno != EINTR) {
        fail("cannot wait for answers");
    }
    if (count == 0) {
        throw std::runtime_error("the server has not answered for ten seconds");
    }
    for (int i = 0; i < count; ++i) {
        auto& at = *static_cast<connection*>(ready[static_cast<std::size_t>(i)].data.ptr);
        if (at.awaits_room) {
            send_rest(at);
        }
        if (!receive(at)) {
            continue;
        }
        const std::uint64_t now = now_ns();
        --under_way_;
        ++answers_;
        if (latencies != nullptr) {
            latencies->add(now - at.begun_ns);
            begin(at, now);
        }
    }
}

void echo_load::begin(connection& with, std::uint64_t now) {
    ++with.sequence;
    with.sent = 0;
    with.received = 0;
    with.begun_ns = now;
    ++under_way_;
    send_rest(with);
}

void echo_load::send_rest(connection& to) {
    compose(to);
    while (to.sent < message_bytes_) {
        const ssize_t sent =
            send(to.fd, message_.data() + to.sent, message_bytes_ - to.sent, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) {
            fail("cannot send a message");
        }
        if (sent < 0) {
            break;
        }
        to.sent += static_cast<std::size_t>(sent);
    }
    const bool has_rest = to.sent < message_bytes_;
    if (to.awaits_room != has_rest) {
        to.awaits_room = has_rest;
        watch(to, EPOLL_CTL_MOD, to.awaits_room ? EPOLLIN | EPOLLOUT : EPOLLIN);
    }
}

bool echo_load::receive(connection& from) {
    const ssize_t got = recv(from.fd, buffer_.data(), message_bytes_ - from.received, 0);
    if (got < 0 && errno == EAGAIN) {
        return false;
    }
    if (got <= 0) {
        errno = got == 0 ? ECONNRESET : errno;
        fail("a connection is lost");
    }
    compose(from);
    const auto size = static_cast<std::size_t>(got);
    if (std::memcmp(message_.data() + from.received, buffer_.data(), size) != 0) {
        throw std::runtime_error("an answer is not what was sent");
    }
    from.received += size;
    return from.received == message_bytes_;
}

// Messages differ in their first bytes: an answer of another connection or time would be noticed.
void echo_load::compose(const connection& of) {
    std::memcpy(message_.data(), &of.index, sizeof of.index);
    std::memcpy(message_.data() + sizeof of.index, &of.sequence, sizeof of.sequence);
}

void echo_load::watch(connection& at, int how, std::uint32_t events) const {
    epoll_event event{.events = events, .data = {.ptr = &at}};
    if (epoll_ctl(epoll_, how, at.fd, &event) != 0) {
        fail("cannot watch a connection");
    }
}

} // namespace bench
