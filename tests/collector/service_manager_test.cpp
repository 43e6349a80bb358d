// What a service manager is told, and that nothing of it outlasts its cancellation.
#include "support/co_test.hpp"
#include "support/sockets.hpp"
#include "support/temporary_directory.hpp"

#include <collector/service_manager.hpp>

#include <sapwood/datagram.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>
#include <sapwood/timeout.hpp>

#include <array>
#include <chrono>
#include <cstdlib>
#include <doctest/doctest.h>
#include <string>
#include <string_view>
#include <sys/socket.h>

namespace {

using namespace std::chrono_literals;

/// One that has no room for another word.
class deaf_manager {
  public:
    deaf_manager() : socket_(sapwood::endpoint::unix_path(path_)) {
        const auto client = sapwood::unix_datagram::make_unnamed();
        const sapwood::endpoint at = sapwood::endpoint::unix_path(path_);
        while (::sendto(client.fd(), "x", 1, MSG_DONTWAIT, at.data(), at.size()) == 1) {
            ++sent_;
        }
        ::setenv("NOTIFY_SOCKET", path_.c_str(), 1);
        ::setenv("WATCHDOG_USEC", "20000", 1);
    }

    [[nodiscard]] bool is_full() const noexcept { return sent_ > 0; }

  private:
    sapwood::test::temporary_directory directory_;
    std::string path_ = directory_ / "notify";
    sapwood::unix_datagram socket_;
    unsigned sent_ = 0;
};

} // namespace

TEST_SUITE("service_manager") {
    CO_TEST_CASE(
        "who is cancelled while the manager does not listen ends, and tells nothing more") {
        const deaf_manager deaf;
        REQUIRE(deaf.is_full());
        sapwood::collector::service_manager manager;
        auto alive = sapwood::spawn(manager.keep_alive());
        co_await sapwood::test::settle();
        alive.cancel();
        CHECK_THROWS_AS(co_await sapwood::timeout(10s, std::move(alive)), sapwood::cancelled);
        auto telling = sapwood::spawn(manager.tell("READY=1"));
        co_await sapwood::test::settle();
        telling.cancel();
        CHECK_THROWS_AS(co_await telling, sapwood::cancelled);
    }

    CO_TEST_CASE("while it begins the manager is asked for more time, again and again") {
        const sapwood::test::temporary_directory directory;
        const std::string path = directory / "notify";
        sapwood::unix_datagram heard(sapwood::endpoint::unix_path(path));
        ::setenv("NOTIFY_SOCKET", path.c_str(), 1);
        sapwood::collector::service_manager manager;
        auto waiting = sapwood::spawn(manager.keep_waiting());
        co_await sapwood::sleep_for(25s);
        for (int i = 0; i < 2; ++i) {
            std::array<char, 100> text{};
            const auto got = ::recv(heard.fd(), text.data(), text.size(), MSG_DONTWAIT);
            CHECK(std::string_view(text.data(), got > 0 ? static_cast<std::size_t>(got) : 0) ==
                  "EXTEND_TIMEOUT_USEC=30000000");
        }
        waiting.cancel();
        CHECK_THROWS_AS(co_await waiting, sapwood::cancelled);
    }
}
