// What a service manager is told, and that nothing of it outlasts its cancellation.
#include "support/co_test.hpp"
#include "support/sockets.hpp"
#include "support/temporary_directory.hpp"

#include <collector/service_manager.hpp>

#include <sapwood/datagram.hpp>
#include <sapwood/spawn.hpp>
#include <sapwood/timeout.hpp>

#include <chrono>
#include <cstdlib>
#include <doctest/doctest.h>
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
}
