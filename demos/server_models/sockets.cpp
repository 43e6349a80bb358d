#include "sockets.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <system_error>
#include <unistd.h>

namespace server_models {

namespace {

constexpr auto accept_pause = std::chrono::milliseconds(100);

std::string name_of(const sockaddr_storage& address, socklen_t size) {
    std::array<char, NI_MAXHOST> host{};
    std::array<char, NI_MAXSERV> port{};
    if (::getnameinfo(reinterpret_cast<const sockaddr*>(&address), size, host.data(), host.size(),
                      port.data(), port.size(), NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        return "an unknown place";
    }
    return address.ss_family == AF_INET6 ? fmt::format("[{}]:{}", host.data(), port.data())
                                         : fmt::format("{}:{}", host.data(), port.data());
}

descriptor listen_on(const service& what) {
    addrinfo hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE;
    addrinfo* found = nullptr;
    const std::string purpose = fmt::format("cannot listen on {}:{}", what.host, what.port);
    if (::getaddrinfo(what.host.c_str(), std::to_string(what.port).c_str(), &hints, &found) != 0) {
        errno = EINVAL;
        fail(purpose + " (names are not resolved, give a numeric address)");
    }
    descriptor listener(::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const int on = 1;
    ::setsockopt(listener.fd(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    // Accepted sockets inherit it: an answer is sent at once.
    ::setsockopt(listener.fd(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    const bool listens = listener.fd() >= 0 &&
                         ::bind(listener.fd(), found->ai_addr, found->ai_addrlen) == 0 &&
                         ::listen(listener.fd(), SOMAXCONN) == 0;
    const int error = errno;
    ::freeaddrinfo(found);
    if (!listens) {
        errno = error;
        fail(purpose);
    }
    return listener;
}

} // namespace

void service::answer(std::span<char> message) const noexcept {
    if (is_unchanged) {
        return;
    }
    for (char& letter : message) {
        if (letter >= 'a' && letter <= 'z') {
            letter = static_cast<char>(letter - 'a' + 'A');
        }
    }
}

void descriptor::close() noexcept {
    if (fd_ >= 0) {
        ::close(std::exchange(fd_, -1));
    }
}

void fail(const std::string& what) {
    throw std::system_error(errno, std::generic_category(), what);
}

signal_watch::signal_watch(std::initializer_list<int> signals) {
    sigset_t set;
    ::sigemptyset(&set);
    for (const int number : signals) {
        ::sigaddset(&set, number);
    }
    ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
    descriptor_ = descriptor(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
    if (fd() < 0) {
        fail("cannot watch for signals");
    }
}

int signal_watch::next() const noexcept {
    signalfd_siginfo info{};
    const bool came = ::read(fd(), &info, sizeof(info)) == static_cast<ssize_t>(sizeof(info));
    return came ? static_cast<int>(info.ssi_signo) : 0;
}

door::door(const service& what) : listener_(listen_on(what)) {
    sockaddr_storage address{};
    socklen_t size = sizeof(address);
    ::getsockname(fd(), reinterpret_cast<sockaddr*>(&address), &size);
    print_line("starting up on {}", name_of(address, size));
}

bool door::is_open() const noexcept {
    return !shut_until_ || std::chrono::steady_clock::now() >= *shut_until_;
}

int door::wait_ms_max() const noexcept {
    return is_open() ? -1 : static_cast<int>(accept_pause.count());
}

descriptor door::accept(bool is_nonblocking) {
    if (!is_open()) {
        return {};
    }
    const int flags = SOCK_CLOEXEC | (is_nonblocking ? SOCK_NONBLOCK : 0);
    const int fd = ::accept4(listener_.fd(), nullptr, nullptr, flags);
    if (fd >= 0) {
        if (std::exchange(shut_until_, std::nullopt)) {
            print_line("accepting again");
        }
        return descriptor(fd);
    }
    switch (errno) {
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        if (!shut_until_) { // once, and not ten times a second
            print_line("new clients have to wait: {}; `ulimit -n` raises the limit of descriptors",
                       std::strerror(errno));
        }
        shut_until_ = std::chrono::steady_clock::now() + accept_pause;
        break;
    default: // nobody there, or gone again already
        break;
    }
    return {};
}

std::string peer_of(int fd) {
    sockaddr_storage address{};
    socklen_t size = sizeof(address);
    if (::getpeername(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
        return "a client that has gone already";
    }
    return name_of(address, size);
}

void turn_away(int fd, std::string_view why) noexcept {
    (void)::send(fd, why.data(), why.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
}

int answer_until_gone(int fd, const service& what) noexcept {
    std::array<char, message_bytes_max> bytes;
    for (;;) {
        const ssize_t got = ::recv(fd, bytes.data(), bytes.size(), 0);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return got < 0 ? errno : 0;
        }
        std::span<char> left(bytes.data(), static_cast<std::size_t>(got));
        what.answer(left);
        while (!left.empty()) {
            const ssize_t sent = ::send(fd, left.data(), left.size(), MSG_NOSIGNAL);
            if (sent >= 0) {
                left = left.subspan(static_cast<std::size_t>(sent));
            } else if (errno != EINTR) {
                return errno;
            }
        }
    }
}

void say_gone(const service& what, const std::string& name, int error) {
    if (error == 0) {
        what.say("{} has left", name);
    } else {
        what.say("{} is lost: {}", name, std::strerror(error));
    }
}

} // namespace server_models
