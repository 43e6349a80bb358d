// connect_to: the addresses of a host tried in turn and beside each other. Loopback only.
#include "support/co_test.hpp"

#include <sapwood/connect.hpp>
#include <sapwood/run.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>

#include <sys/socket.h>

namespace {

using namespace std::chrono_literals;
using sapwood::connect_to;
using sapwood::connect_to_any;
using sapwood::endpoint;
using sapwood::task;
using sapwood::tcp_listener;
using sapwood::tcp_stream;

/// A port that nobody listens on: it was free a moment ago, and stays bound.
class closed_port {
  public:
    closed_port() : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        const endpoint any("127.0.0.1", 0);
        REQUIRE(::bind(socket_.fd(), any.data(), any.size()) == 0);
        sockaddr_storage name{};
        socklen_t size = sizeof(name);
        REQUIRE(::getsockname(socket_.fd(), reinterpret_cast<sockaddr*>(&name), &size) == 0);
        where_ = endpoint(reinterpret_cast<sockaddr*>(&name), size);
    }

    [[nodiscard]] const endpoint& where() const noexcept { return where_; }

  private:
    sapwood::owned_fd socket_;
    endpoint where_;
};

/// A listener that accepts nobody and has no room: a connect to it waits.
class full_listener {
  public:
    full_listener() : listener_(endpoint("127.0.0.1", 0), {.backlog = 0}) {}

    task<> fill() {
        // With a backlog of 0 one connection fits; the kernel drops the greetings of others.
        first_ = co_await tcp_stream::connect(where());
    }

    [[nodiscard]] endpoint where() const { return listener_.local_endpoint(); }

  private:
    tcp_listener listener_;
    tcp_stream first_;
};

} // namespace

TEST_SUITE("connect") {

    TEST_CASE("families take turns, beginning with the first one's") {
        const std::vector<endpoint> given{endpoint("::1", 1), endpoint("::2", 1),
                                          endpoint("::3", 1), endpoint("127.0.0.1", 1),
                                          endpoint("127.0.0.2", 1)};
        const std::vector<endpoint> wanted{given[0], given[3], given[1], given[4], given[2]};
        CHECK((sapwood::detail::by_turns(given) == wanted));
        CHECK(sapwood::detail::by_turns({}).empty());
    }

    CO_TEST_CASE("a host is connected to by its name") {
        tcp_listener listener(endpoint("127.0.0.1", 0));
        const std::string port = std::to_string(listener.local_endpoint().port());
        auto accepting = sapwood::spawn(listener.accept());
        // localhost is ::1 first on most machines, where nobody listens.
        tcp_stream client = co_await connect_to("localhost", port);
        CHECK(client.peer_endpoint() == listener.local_endpoint());
        tcp_stream served = co_await accepting;
        co_await client.close();
        co_await served.close();
    }

    CO_TEST_CASE("an address that refuses is followed by the next at once") {
        const closed_port nobody;
        tcp_listener listener(endpoint("127.0.0.1", 0));
        auto& loop = sapwood::event_loop::current();
        const auto begun = loop.now();
        std::vector<endpoint> addresses{nobody.where(), nobody.where(), listener.local_endpoint()};
        tcp_stream client = co_await connect_to_any(addresses);
        CHECK(client.peer_endpoint() == listener.local_endpoint());
        CHECK(loop.now() - begun < 250ms); // by the virtual clock: no delay was waited for
    }

    CO_TEST_CASE("an address that does not answer has the next beside it after the delay") {
        full_listener silent;
        co_await silent.fill();
        tcp_listener listener(endpoint("127.0.0.1", 0));
        auto& loop = sapwood::event_loop::current();
        const auto begun = loop.now();
        std::vector<endpoint> addresses{silent.where(), listener.local_endpoint()};
        tcp_stream client = co_await connect_to_any(addresses);
        CHECK(client.peer_endpoint() == listener.local_endpoint());
        CHECK(loop.now() - begun == 250ms);
        CHECK(loop.stats().tasks == 1); // the loser is not left behind
    }

    CO_TEST_CASE("where all refuse, the error has the first reason, and the text has all") {
        const closed_port one;
        const closed_port other;
        std::vector<endpoint> addresses{one.where(), other.where()};
        try {
            (void)co_await connect_to_any(addresses);
            FAIL("connected");
        } catch (const std::system_error& failure) {
            CHECK(failure.code() == std::errc::connection_refused);
            const std::string text = failure.what();
            CAPTURE(text);
            CHECK(text.find(one.where().to_string() + ": Connection refused") != text.npos);
            CHECK(text.find(other.where().to_string() + ": Connection refused") != text.npos);
        }
    }

    CO_TEST_CASE("cancelling gives up every attempt") {
        full_listener silent;
        co_await silent.fill();
        std::vector<endpoint> addresses{silent.where(), silent.where()};
        auto connecting = sapwood::spawn(connect_to_any(addresses));
        co_await sapwood::sleep_for(1s); // by the virtual clock: both are under way
        connecting.cancel();
        CHECK_THROWS_AS((void)co_await connecting, sapwood::cancelled);
        CHECK(sapwood::event_loop::current().stats().tasks == 1);
    }
}
