// Echo by epoll, as somebody writes it who wants the least system calls: level-triggered, one recv
// and one send per message, one buffer for all connections. What does not go out at once is kept,
// and its connection is not read from meanwhile.

#include <array>
#include <cerrno>
#include <cstddef>
#include <memory>
#include <span>
#include <system_error>
#include <vector>

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "echo_server.hpp"

namespace bench {

namespace {

struct connection {
    int fd;
    std::vector<char> owed{};
};

[[noreturn]] void fail(const char* what) {
    throw std::system_error{errno, std::generic_category(), what};
}

class epoll_server {
  public:
    explicit epoll_server(const echo_options& options)
        : buffer_(options.buffer_bytes),
          listener_{.fd = listen_on_loopback(true)},
          epoll_{epoll_create1(EPOLL_CLOEXEC)} {
        if (epoll_ < 0) {
            fail("cannot make an epoll");
        }
        watch(EPOLL_CTL_ADD, listener_, EPOLLIN);
    }

    [[noreturn]] void run() {
        print_port(port_of(listener_.fd));
        std::array<epoll_event, 512> ready{};
        for (;;) {
            const int count = epoll_wait(epoll_, ready.data(), static_cast<int>(ready.size()), -1);
            for (int i = 0; i < count; ++i) {
                auto& at = *static_cast<connection*>(ready[static_cast<std::size_t>(i)].data.ptr);
                if (&at == &listener_) {
                    accept_all();
                } else if (at.owed.empty()) {
                    receive(at);
                } else {
                    send_rest(at);
                }
            }
        }
    }

  private:
    void watch(int how, connection& of, std::uint32_t events) const {
        epoll_event event{.events = events, .data = {.ptr = &of}};
        if (epoll_ctl(epoll_, how, of.fd, &event) != 0) {
            fail("cannot watch a connection");
        }
    }

    void accept_all() {
        for (;;) {
            const int fd = accept4(listener_.fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
            if (fd < 0) {
                return;
            }
            watch(EPOLL_CTL_ADD, *std::make_unique<connection>(connection{.fd = fd}).release(),
                  EPOLLIN);
        }
    }

    static void drop(connection& gone) {
        close(gone.fd);
        const std::unique_ptr<connection> freed{&gone};
    }

    void receive(connection& from) {
        const ssize_t got = recv(from.fd, buffer_.data(), buffer_.size(), 0);
        if (got <= 0) {
            if (got == 0 || errno != EAGAIN) {
                drop(from);
            }
            return;
        }
        const std::span message{buffer_.data(), static_cast<std::size_t>(got)};
        const ssize_t sent = send(from.fd, message.data(), message.size(), MSG_NOSIGNAL);
        if (sent == got) {
            return;
        }
        if (sent < 0 && errno != EAGAIN) {
            drop(from);
            return;
        }
        const auto rest = message.subspan(sent > 0 ? static_cast<std::size_t>(sent) : 0);
        from.owed.assign(rest.begin(), rest.end());
        watch(EPOLL_CTL_MOD, from, EPOLLOUT);
    }

    void send_rest(connection& to) {
        const ssize_t sent = send(to.fd, to.owed.data(), to.owed.size(), MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno != EAGAIN) {
                drop(to);
            }
            return;
        }
        to.owed.erase(to.owed.begin(), to.owed.begin() + sent);
        if (to.owed.empty()) {
            watch(EPOLL_CTL_MOD, to, EPOLLIN);
        }
    }

    std::vector<char> buffer_;
    connection listener_;
    int epoll_;
};

} // namespace

void serve_by_epoll(const echo_options& options) {
    epoll_server{options}.run();
}

} // namespace bench
