// tcp: listening, connecting and accepting.
#include "support/co_test.hpp"
#include "support/scripted_ring.hpp"
#include "support/sockets.hpp"

#include <sapwood/when_all.hpp>

#include <array>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace std::string_view_literals;
using sapwood::endpoint;
using sapwood::task;
using sapwood::tcp_listener;
using sapwood::tcp_stream;
using sapwood::test::connected;
using sapwood::test::failure_of;
using sapwood::test::loopback;
using sapwood::test::settle;

int option(const sapwood::socket& of, int level, int name) {
    int value = -1;
    socklen_t size = sizeof(value);
    REQUIRE(::getsockopt(of.fd(), level, name, &value, &size) == 0);
    return value;
}

std::pair<std::error_code, std::string> listen_failure(const endpoint& at) {
    try {
        const tcp_listener listener(at);
    } catch (const std::system_error& failure) {
        return {failure.code(), failure.what()};
    }
    return {};
}

} // namespace

TEST_SUITE("tcp") {

    CO_TEST_CASE("a stream connects to a listener, and each knows where the other is") {
        tcp_listener listener(loopback());
        CHECK(listener.local_endpoint().port() != 0);
        auto client = co_await tcp_stream::connect(listener.local_endpoint());
        auto server = co_await listener.accept();
        CHECK(server.peer_endpoint() == client.local_endpoint());
        CHECK(client.peer_endpoint() == listener.local_endpoint());
        CHECK(server.local_endpoint() == listener.local_endpoint());
        co_await client.write_all("hello"sv);
        std::array<char, 5> bytes{};
        CHECK(co_await server.read_exactly(bytes));
        CHECK(std::string_view(bytes.data(), 5) == "hello");
    }

    CO_TEST_CASE("accepting waits for a connection") {
        tcp_listener listener(loopback());
        auto accepting = sapwood::spawn(listener.accept());
        co_await settle();
        CHECK_FALSE(accepting.done());
        auto client = co_await tcp_stream::connect(listener.local_endpoint());
        auto server = co_await accepting;
        CHECK(server.peer_endpoint() == client.local_endpoint());
    }

    CO_TEST_CASE("IPv6 works as IPv4 does, and takes no IPv4 unless it is told to") {
        if (!sapwood::test::has_ipv6()) {
            co_return;
        }
        tcp_listener six(endpoint("::1", 0));
        auto client = co_await tcp_stream::connect(six.local_endpoint());
        auto server = co_await six.accept();
        CHECK(server.peer_endpoint().address() == "::1");
        CHECK(server.peer_endpoint() == client.local_endpoint());
        CHECK(option(six, IPPROTO_IPV6, IPV6_V6ONLY) == 1);
        tcp_listener both(endpoint("::", 0), {.v6_only = false});
        auto four =
            co_await tcp_stream::connect(endpoint("127.0.0.1", both.local_endpoint().port()));
        CHECK((co_await both.accept()).peer_endpoint().address() == "::ffff:127.0.0.1");
    }

    CO_TEST_CASE("options reach the sockets, and exec passes none of them on") {
        tcp_listener plain(loopback());
        CHECK(option(plain, SOL_SOCKET, SO_REUSEADDR) == 1);
        CHECK(option(plain, SOL_SOCKET, SO_REUSEPORT) == 0);
        tcp_listener shared(loopback(), {.reuse_port = true, .streams = {.no_delay = false}});
        CHECK(option(shared, SOL_SOCKET, SO_REUSEPORT) == 1);
        const tcp_listener sharing(shared.local_endpoint(), {.reuse_port = true});
        auto [client, server] = co_await connected();
        CHECK(option(client, IPPROTO_TCP, TCP_NODELAY) == 1);
        CHECK(option(server, IPPROTO_TCP, TCP_NODELAY) == 1);
        for (const int fd : {plain.fd(), client.fd(), server.fd()}) {
            CHECK((::fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
        }
    }

    CO_TEST_CASE("a connection that is refused names the endpoint and the reason") {
        const auto nobody = tcp_listener(loopback()).local_endpoint();
        const auto [code, text] = co_await failure_of([&] { return tcp_stream::connect(nobody); });
        CHECK(code == std::errc::connection_refused);
        CHECK(text == "cannot connect to " + nobody.to_string() + ": Connection refused");
    }

    CO_TEST_CASE(
        "a port that is taken is refused with its endpoint, the reason and where to look") {
        const tcp_listener first(loopback());
        const auto [code, text] = listen_failure(first.local_endpoint());
        CHECK(code == std::errc::address_in_use);
        CHECK(text.find("cannot listen on " + first.local_endpoint().to_string()) == 0);
        CHECK(text.find("ss -lp") != std::string::npos);
        CHECK(listen_failure(endpoint::unix_path("/x")).first ==
              std::errc::address_family_not_supported);
        CHECK((co_await failure_of([] { return tcp_stream::connect(endpoint()); })).first ==
              std::errc::address_family_not_supported);
    }

    CO_TEST_CASE("an accept that waits can be cancelled, and the listener goes on") {
        tcp_listener listener(loopback());
        auto accepting = sapwood::spawn(listener.accept());
        co_await settle();
        accepting.cancel();
        CHECK_THROWS_AS((void)co_await accepting, sapwood::cancelled);
        auto client = co_await tcp_stream::connect(listener.local_endpoint());
        auto server = co_await listener.accept();
        CHECK(server.is_open());
    }

    CO_TEST_CASE("a connection that comes after the accept was cancelled is there for the next") {
        tcp_listener listener(loopback());
        auto accepting = sapwood::spawn(listener.accept());
        co_await settle();
        accepting.cancel();
        CHECK_THROWS_AS((void)co_await accepting, sapwood::cancelled);
        auto client = co_await tcp_stream::connect(listener.local_endpoint());
        auto server = co_await listener.accept();
        CHECK(server.peer_endpoint() == client.local_endpoint());
    }

    CO_TEST_CASE("several that accept on one listener get a connection each, in their order") {
        tcp_listener listener(loopback());
        auto first = sapwood::spawn(listener.accept());
        auto second = sapwood::spawn(listener.accept());
        co_await settle();
        auto one = co_await tcp_stream::connect(listener.local_endpoint());
        auto two = co_await tcp_stream::connect(listener.local_endpoint());
        CHECK((co_await first).peer_endpoint() == one.local_endpoint());
        CHECK((co_await second).peer_endpoint() == two.local_endpoint());
    }

    TEST_CASE("a listener that is gone closes what was accepted meanwhile") {
        auto made = std::make_unique<sapwood::test::scripted_ring>();
        auto& ring = *made;
        std::optional<sapwood::event_loop> loop(std::in_place, std::move(made));
        const int won = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
        REQUIRE(won >= 0);
        ring.answer = [](const io_uring_sqe&) { return std::optional<std::int32_t>(); };
        ring.answer_cancel = [&](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
            return sqe.opcode == IORING_OP_ACCEPT ? won : -ECANCELED;
        };
        auto body = [&]() -> task<> {
            tcp_listener listener(loopback());
            auto accepting = sapwood::spawn(listener.accept());
            co_await settle();
            accepting.cancel();
            CHECK_THROWS_AS((void)co_await accepting, sapwood::cancelled);
        };
        loop->run(body());
        loop.reset();
        CHECK(::fcntl(won, F_GETFD) == -1);
    }

    CO_TEST_CASE("connections and cancelled accepts that race leave no descriptor behind") {
        tcp_listener listener(loopback());
        const int before = ::dup(listener.fd());
        ::close(before);
        for (int i = 0; i < 100; ++i) {
            auto accepting = sapwood::spawn(listener.accept());
            co_await settle();
            auto client = co_await tcp_stream::connect(listener.local_endpoint());
            accepting.cancel();
            tcp_stream server;
            try {
                server = co_await accepting;
            } catch (const sapwood::cancelled&) {
            }
        }
        const int after = ::dup(listener.fd());
        ::close(after);
        CHECK(after == before);
    }

    CO_TEST_CASE("a connect that gets no answer can be cancelled") {
        // A backlog that is full: the kernel drops what more comes.
        tcp_listener listener(loopback(), {.backlog = 0});
        std::vector<tcp_stream> taken;
        sapwood::join_handle<tcp_stream> waiting;
        for (int i = 0; i < 8 && (i == 0 || waiting.done()); ++i) {
            if (waiting) {
                taken.push_back(co_await waiting);
            }
            waiting = sapwood::spawn(tcp_stream::connect(listener.local_endpoint()));
            co_await settle();
        }
        REQUIRE_FALSE(waiting.done());
        waiting.cancel();
        CHECK_THROWS_AS((void)co_await waiting, sapwood::cancelled);
    }

    CO_TEST_CASE("five hundred connections at once") {
        constexpr std::size_t count = 500;
        tcp_listener listener(loopback());
        auto echo = [](tcp_stream stream) -> task<> {
            std::array<char, 64> bytes{};
            while (const auto got = co_await stream.read_some(bytes)) {
                co_await stream.write_all(std::span<const char>(bytes).first(got));
            }
        };
        std::vector<sapwood::join_handle<void>> servers;
        auto accept = [&]() -> task<> {
            for (std::size_t i = 0; i < count; ++i) {
                auto stream = co_await listener.accept();
                servers.push_back(sapwood::spawn(echo(std::move(stream))));
            }
        };
        auto accepting = sapwood::spawn(accept());
        std::vector<tcp_stream> clients;
        for (std::size_t i = 0; i < count; ++i) {
            clients.push_back(co_await tcp_stream::connect(listener.local_endpoint()));
        }
        co_await accepting;
        std::size_t answered = 0;
        auto talk = [&](tcp_stream& stream, std::size_t number) -> task<> {
            for (std::size_t i = 0; i < 3; ++i) {
                const auto text = std::to_string(number * 1000 + i);
                co_await stream.write_all(text);
                std::string answer(text.size(), ' ');
                if (co_await stream.read_exactly(answer) && answer == text) {
                    ++answered;
                }
            }
            co_await stream.close();
        };
        std::vector<sapwood::join_handle<void>> talks;
        for (std::size_t i = 0; i < count; ++i) {
            talks.push_back(sapwood::spawn(talk(clients[i], i)));
        }
        for (auto& one : talks) {
            co_await one;
        }
        for (auto& one : servers) {
            co_await one;
        }
        CHECK(answered == count * 3);
    }

    CO_TEST_CASE("a socket that listens already is taken over, and one that does not is refused") {
        tcp_listener maker(loopback());
        const endpoint at = maker.local_endpoint();
        const int blocking = ::fcntl(maker.fd(), F_GETFL) & ~O_NONBLOCK;
        REQUIRE(::fcntl(maker.fd(), F_SETFL, blocking) == 0);
        REQUIRE(::fcntl(maker.fd(), F_SETFD, 0) == 0);
        auto adopted = tcp_listener::adopt(sapwood::owned_fd(maker.release()));
        CHECK(adopted.local_endpoint() == at);
        CHECK((::fcntl(adopted.fd(), F_GETFL) & O_NONBLOCK) != 0);
        CHECK(::fcntl(adopted.fd(), F_GETFD) == FD_CLOEXEC);
        auto client = co_await tcp_stream::connect(at);
        auto server = co_await adopted.accept();
        CHECK(server.peer_endpoint() == client.local_endpoint());
        CHECK(option(server, IPPROTO_TCP, TCP_NODELAY) != 0);
        CHECK_THROWS_AS((void)tcp_listener::adopt(sapwood::owned_fd(client.release())),
                        std::system_error);
        CHECK_THROWS_AS((void)tcp_listener::adopt(sapwood::owned_fd(::open("/dev/null", O_RDONLY))),
                        std::system_error);
    }
}
