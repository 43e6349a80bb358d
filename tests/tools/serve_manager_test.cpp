// sapwood serve, from outside: what a service manager is told, also one that is slow to listen.
#include "support/program.hpp"
#include "support/temporary_directory.hpp"
#include "tools/serve_daemon.hpp"

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <doctest/doctest.h>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

namespace {

using namespace std::chrono_literals;
using sapwood::test::bound;
using sapwood::test::connected_to;
using sapwood::test::daemon_under_test;
using sapwood::test::eventually;
using sapwood::test::temporary_directory;

/// Who is told how a service is.
class manager {
  public:
    explicit manager(std::chrono::seconds patience) {
        const timeval within{.tv_sec = patience.count(), .tv_usec = 0};
        ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &within, sizeof(within));
        ::setenv("NOTIFY_SOCKET", path_.c_str(), 1);
    }

    manager(const manager&) = delete;
    manager& operator=(const manager&) = delete;

    ~manager() {
        ::unsetenv("NOTIFY_SOCKET");
        ::close(fd_);
    }

    /// Waits for it; empty where nothing comes.
    [[nodiscard]] std::string next() const {
        char text[64];
        ssize_t got = -1;
        do { // a wait that has an end is interrupted where its process is stopped and goes on
            got = ::recv(fd_, text, sizeof(text), 0);
        } while (got < 0 && errno == EINTR);
        return std::string(text, got > 0 ? static_cast<std::size_t>(got) : 0);
    }

    [[nodiscard]] std::string next_but(const std::string& other) const {
        std::string text = next();
        while (text == other) {
            text = next();
        }
        return text;
    }

    /// Until it has no room for another word: with «x».
    void fill_up() const {
        const int other = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        sockaddr_un at{};
        at.sun_family = AF_UNIX;
        path_.copy(at.sun_path, sizeof(at.sun_path) - 1);
        const auto* const to = reinterpret_cast<const sockaddr*>(&at);
        while (::sendto(other, "x", 1, MSG_DONTWAIT, to, sizeof(at)) == 1) {
        }
        ::close(other);
    }

  private:
    temporary_directory directory_;
    std::string path_ = directory_ / "notify";
    int fd_ = bound(path_, SOCK_DGRAM);
};

constexpr std::string_view stopping =
    "STOPPING=1\nEXTEND_TIMEOUT_USEC=30000000"; // 10 s to drain, and as much as it takes

} // namespace

TEST_SUITE("serve_manager") {
    TEST_CASE("a service manager is told when it is ready, that it lives, and when it ends") {
        const manager told(30s);
        const temporary_directory sockets;
        ::setenv("WATCHDOG_USEC", "2000000", 1); // so rare that they have room while we are late
        daemon_under_test served({"--unix", sockets / "lines"}, 1);
        ::unsetenv("WATCHDOG_USEC");
        CHECK(told.next() == "READY=1");
        CHECK(told.next() == "WATCHDOG=1");
        CHECK(told.next() == "WATCHDOG=1");
        CHECK(served.stop().status == 0);
        CHECK(told.next_but("WATCHDOG=1") == stopping);
    }

    TEST_CASE("a service manager that is slow to listen is told of the end all the same") {
        std::string last;
        for (int i = 0; i < 10 && last != stopping; ++i) { // we may be later than it waits for
            const manager slow(3s);
            const temporary_directory sockets;
            daemon_under_test served({"--unix", sockets / "lines"}, 1);
            CHECK(slow.next() == "READY=1");
            slow.fill_up();
            served.process->signal(SIGTERM);
            eventually([&] { // it lets nobody in any more
                const int fd = connected_to(sockets / "lines");
                ::close(fd);
                return fd < 0;
            });
            last = slow.next_but("x");
            CHECK(served.process->wait().status == 0);
        }
        CHECK(last == stopping);
    }

    TEST_CASE("for a service manager that does not listen it waits for a second, and ends") {
        const manager deaf(30s);
        const temporary_directory sockets;
        daemon_under_test served({"--unix", sockets / "lines"}, 1);
        CHECK(deaf.next() == "READY=1");
        deaf.fill_up();
        const auto began = std::chrono::steady_clock::now();
        CHECK(served.stop().status == 0);
        CHECK(std::chrono::steady_clock::now() - began >= 900ms);
    }
}
