// One thread per connection: the code of a process per connection, without the fork and with one
// memory. What the threads share needs a lock (here only the list of them), and each has a stack.
#include "sockets.hpp"

#include <atomic>
#include <csignal>
#include <cstdint>
#include <list>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <system_error>
#include <thread>
#include <unistd.h>

namespace server_models {

namespace {

/// Closed by the thread that accepts, after it has joined: while the thread runs, nobody else gets
/// the descriptor's number, and whoever shuts it down to stop the thread hits the right client.
struct connection {
    descriptor client;
    std::atomic<bool> is_over{false};
    std::thread thread;
};

class connections {
  public:
    explicit connections(const service& what)
        : what_(what),
          bell_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
        if (bell_.fd() < 0) {
            fail("cannot make an eventfd");
        }
    }

    connections(const connections&) = delete;
    connections& operator=(const connections&) = delete;

    /// Hangs up on all, which ends every wait of their threads, and joins them.
    ~connections() {
        for (auto& one : all_) {
            ::shutdown(one.client.fd(), SHUT_RDWR);
        }
        for (auto& one : all_) {
            one.thread.join();
        }
    }

    void start(descriptor client) {
        connection& one = all_.emplace_back();
        one.client = std::move(client);
        try {
            one.thread = std::thread([this, &one] { run(one); });
        } catch (const std::system_error& failure) {
            print_line("no thread for {}: {}", peer_of(one.client.fd()), failure.what());
            turn_away(one.client.fd(), "this server has no thread left for you\n");
            all_.pop_back();
        }
    }

    /// Readable when a thread is over.
    [[nodiscard]] int bell() const noexcept { return bell_.fd(); }

    void join_those_over() {
        std::uint64_t rung = 0;
        (void)!::read(bell_.fd(), &rung, sizeof(rung));
        std::erase_if(all_, [](connection& one) {
            if (!one.is_over) {
                return false;
            }
            one.thread.join();
            return true;
        });
    }

  private:
    void run(connection& one) const {
        const int fd = one.client.fd();
        const std::string name = peer_of(fd);
        what_.say("new connection from {}", name);
        say_gone(what_, name, answer_until_gone(fd, what_));
        one.is_over = true;
        const std::uint64_t ring = 1;
        (void)!::write(bell_.fd(), &ring, sizeof(ring));
    }

    const service& what_;
    const descriptor bell_;
    std::list<connection> all_;
};

} // namespace

void serve_by_threads(const service& what) {
    const signal_watch signals{SIGINT, SIGTERM};
    door entrance(what);
    connections all(what);
    for (;;) {
        pollfd watched[] = {{.fd = signals.fd(), .events = POLLIN, .revents = 0},
                            {.fd = all.bell(), .events = POLLIN, .revents = 0},
                            {.fd = entrance.fd(), .events = POLLIN, .revents = 0}};
        (void)::poll(watched, entrance.is_open() ? 3 : 2, entrance.wait_ms_max());
        if (signals.next() != 0) {
            return;
        }
        all.join_those_over();
        while (descriptor client = entrance.accept(false)) {
            all.start(std::move(client));
        }
    }
}

} // namespace server_models
