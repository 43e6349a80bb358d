// receive: pieces in the loop's memory, whichever way the ring brings them.
#include "support/child_process.hpp"
#include "support/co_test.hpp"
#include "support/scripted_ring.hpp"
#include "support/sockets.hpp"

#include "receive_buffers.hpp"
#include "uring_ring.hpp"

#include <sapwood/unix_socket.hpp>

#include <algorithm>
#include <array>
#include <cstring>
#include <fcntl.h>
#include <optional>
#include <poll.h>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace std::string_view_literals;
using sapwood::received;
using sapwood::task;
using sapwood::tcp_stream;
using sapwood::unix_stream;
using sapwood::test::connected;
using sapwood::test::failure_of;
using sapwood::test::last_words;
using sapwood::test::settle;

int first_free_descriptor() {
    const int fd = ::dup(0);
    ::close(fd);
    return fd;
}

task<std::string> next_text(sapwood::stream& from) {
    const received piece = co_await from.receive();
    co_return std::string(piece.text());
}

task<> write_and_end(sapwood::stream& to, std::string_view text) {
    co_await to.write_all(text);
    co_await to.shutdown_write();
}

task<std::string> receive_to_end(sapwood::stream& from) {
    std::string text;
    while (const received piece = co_await from.receive()) {
        text += piece.text();
    }
    co_return text;
}

std::string numbers(std::size_t bytes) {
    std::string text;
    for (std::size_t i = 0; text.size() < bytes; ++i) {
        text += std::to_string(i) + ' ';
    }
    return text;
}

/// Sends and receives some megabytes.
task<> transfer() {
    auto [client, server] = co_await connected();
    const std::string sent = numbers(4 << 20);
    auto writer = sapwood::spawn(write_and_end(client, sent));
    const std::string got = co_await receive_to_end(server);
    CHECK(got.size() == sent.size());
    CHECK(got == sent);
    co_await writer;
}

/// Written without waiting until the peer has no room.
std::size_t write_until_full(const sapwood::stream& to) {
    const std::string text(4096, 'x');
    std::size_t total = 0;
    for (;;) {
        const auto sent = ::send(to.fd(), text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent <= 0) {
            return total;
        }
        total += static_cast<std::size_t>(sent);
    }
}

} // namespace

TEST_SUITE("receive") {

    CO_TEST_CASE("pieces come in order, and the end comes again and again") {
        auto [client, server] = co_await connected();
        auto waiting = sapwood::spawn(next_text(server));
        co_await settle();
        CHECK_FALSE(waiting.done());
        co_await client.write_all("first"sv);
        CHECK(co_await waiting == "first");
        co_await client.write_all("second"sv);
        CHECK(co_await next_text(server) == "second");
        co_await client.shutdown_write();
        for (int i = 0; i < 3; ++i) {
            const received end = co_await server.receive();
            CHECK_FALSE(end);
            CHECK(end.empty());
            CHECK(end.bytes().empty());
        }
        co_await server.write_all("the other direction goes on"sv);
        CHECK(co_await next_text(client) == "the other direction goes on");
    }

    CO_TEST_CASE("megabytes arrive as they were sent") {
        co_await transfer();
    }

    TEST_CASE("a ring without buffers of its own receives as well") {
        sapwood::event_loop loop(std::make_unique<sapwood::uring_ring>(
            sapwood::uring_ring::options{.withholds_buffer_rings = true}));
        loop.run(transfer());
    }

    TEST_CASE("a ring that has buffers and receives only once is asked again each time") {
        auto made = std::make_unique<sapwood::test::scripted_ring>();
        auto& ring = *made;
        ring.takes_buffers = true;
        sapwood::event_loop loop(std::move(made));
        std::vector<std::string> asked;
        std::size_t left = 3;
        ring.answer = [&](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
            if (sqe.opcode == IORING_OP_POLL_ADD) {
                asked.emplace_back("poll");
                return POLLIN;
            }
            if (sqe.opcode != IORING_OP_RECV) {
                return std::nullopt;
            }
            if (sqe.ioprio != 0) {
                asked.emplace_back("multishot");
                return -EINVAL;
            }
            asked.emplace_back("once");
            if (left == 0) {
                return 0;
            }
            --left;
            std::memcpy(reinterpret_cast<char*>(sqe.addr), "abc", 3);
            return 3;
        };
        auto body = []() -> task<> {
            auto [here, there] = unix_stream::make_pair();
            CHECK(co_await receive_to_end(here) == "abcabcabc");
        };
        loop.run(body());
        CHECK(asked == std::vector<std::string>{"multishot", "poll", "once", "poll", "once", "poll",
                                                "once", "poll", "once"});
    }

    TEST_CASE("a buffer that the kernel took and put nothing into is offered to it again") {
        auto made = std::make_unique<sapwood::test::scripted_ring>();
        auto& ring = *made;
        ring.takes_buffers = true;
        ring.answer_cancel = [](const io_uring_sqe& sqe) {
            return sqe.opcode == IORING_OP_RECV ? std::nullopt : std::optional(-ECANCELED);
        };
        sapwood::event_loop loop(std::move(made));
        constexpr std::uint32_t took = IORING_CQE_F_BUFFER;
        const auto buffer = [](std::uint32_t id) { return id << IORING_CQE_BUFFER_SHIFT; };
        const auto receiving = [&] {
            const auto found = std::ranges::find(ring.in_flight(), IORING_OP_RECV,
                                                 [](const auto& sqe) { return sqe.opcode; });
            REQUIRE(found != ring.in_flight().end());
            return found->user_data;
        };
        auto body = [&]() -> task<> {
            auto& buffers = *sapwood::event_loop::current().receive_buffers();
            const auto offered = [&, first = buffers.entries().tail] {
                return static_cast<std::uint16_t>(buffers.entries().tail - first);
            };
            {
                auto [here, there] = unix_stream::make_pair();
                auto waiting = sapwood::spawn(next_text(here));
                co_await settle();
                ring.complete(receiving(), 0, IORING_CQE_F_MORE | took | buffer(0));
                co_await settle();
                CHECK(offered() == 1);
                ring.complete(receiving(), -EINTR, took | buffer(1));
                co_await settle();
                CHECK(offered() == 2);
                CHECK_FALSE(waiting.done());
                ring.complete(receiving(), 0, took | buffer(2)); // the end
                CHECK(co_await waiting == "");
                CHECK(offered() == 3);
            }
            {
                auto [here, there] = unix_stream::make_pair();
                auto waiting = sapwood::spawn(next_text(here));
                co_await settle();
                waiting.cancel();
                CHECK_THROWS_AS((void)co_await waiting, sapwood::cancelled);
            } // nobody wants it any more
            co_await settle();
            ring.complete(receiving(), -ECANCELED, took | buffer(3));
            co_await settle();
            CHECK(offered() == 4);
            CHECK(buffers.lent() == 0);
        };
        loop.run(body());
    }

    CO_TEST_CASE("a receive that waits can be cancelled, and what comes then is for the next") {
        auto [client, server] = co_await connected();
        for (int i = 0; i < 100; ++i) {
            auto waiting = sapwood::spawn(next_text(server));
            co_await settle();
            const std::string text = std::to_string(i);
            waiting.cancel();
            if (i % 2 == 0) { // the bytes race with the request
                co_await client.write_all(text);
            }
            CHECK_THROWS_AS((void)co_await waiting, sapwood::cancelled);
            if (i % 2 != 0) {
                co_await client.write_all(text);
            }
            CHECK(co_await next_text(server) == text);
        }
    }

    CO_TEST_CASE("what came before the peer reset the connection is there before the error") {
        auto [client, server] = co_await connected();
        co_await client.write_all("first"sv);
        CHECK(co_await next_text(server) == "first");
        co_await client.write_all("last"sv);
        co_await settle();
        sapwood::test::reset_on_close(client);
        co_await client.close();
        co_await settle();
        CHECK(co_await next_text(server) == "last");
        auto receiving = [&server] { return next_text(server); };
        auto [code, text] = co_await failure_of(receiving);
        CHECK(code == std::errc::connection_reset);
        CHECK(doctest::String(text.c_str()) == doctest::Contains("receiving from"));
    }

    CO_TEST_CASE(
        "several that receive from one stream are served in the order in which they came") {
        auto [client, server] = co_await connected();
        auto first = sapwood::spawn(next_text(server));
        auto given_up = sapwood::spawn(next_text(server));
        auto second = sapwood::spawn(next_text(server));
        co_await settle();
        given_up.cancel();
        co_await client.write_all("1"sv);
        CHECK(co_await first == "1");
        CHECK_FALSE(second.done());
        co_await client.write_all("2"sv);
        CHECK(co_await second == "2");
    }

    CO_TEST_CASE("as_result throws nothing") {
        auto [client, server] = co_await connected();
        co_await client.write_all("abc"sv);
        auto outcome = co_await as_result(server.receive());
        REQUIRE(outcome);
        CHECK(outcome->text() == "abc");
        sapwood::test::reset_on_close(client);
        co_await client.close();
        outcome = co_await as_result(server.receive());
        CHECK(outcome.error() == std::errc::connection_reset);
    }

    CO_TEST_CASE("where nobody receives, the peer has to wait, and nothing is lost") {
        auto [client, server] = unix_stream::make_pair();
        co_await client.write_all("x"sv);
        CHECK(co_await next_text(server) == "x");
        std::size_t sent = 0;
        std::size_t more = 0;
        do {
            more = write_until_full(client);
            sent += more;
            co_await settle();
        } while (more > 0 && sent < (64u << 20));
        CHECK(sent < (8u << 20));
        std::size_t got = 0;
        co_await client.shutdown_write();
        while (const received piece = co_await server.receive()) {
            got += piece.bytes().size();
        }
        CHECK(got == sent);
    }

    CO_TEST_CASE("who keeps pieces does not starve the others") {
        std::vector<received> kept;
        std::vector<unix_stream> open;
        for (int i = 0; i < 600; ++i) {
            auto [client, server] = unix_stream::make_pair();
            co_await client.write_all(std::to_string(i));
            kept.push_back(co_await server.receive());
            open.push_back(std::move(client));
            open.push_back(std::move(server));
        }
        for (int i = 0; i < 600; ++i) {
            CHECK(kept[static_cast<std::size_t>(i)].text() == std::to_string(i));
        }
        kept.clear();
        co_await open[0].write_all("again"sv);
        CHECK(co_await next_text(open[1]) == "again");
    }

    CO_TEST_CASE("hundreds of connections that speak at once are all heard") {
        std::vector<unix_stream> clients;
        std::vector<unix_stream> servers;
        std::vector<sapwood::join_handle<std::string>> heard;
        for (int i = 0; i < 500; ++i) {
            auto [client, server] = unix_stream::make_pair();
            clients.push_back(std::move(client));
            servers.push_back(std::move(server));
        }
        for (auto& server : servers) {
            heard.push_back(sapwood::spawn(next_text(server)));
        }
        co_await settle();
        for (std::size_t i = 0; i < clients.size(); ++i) {
            const std::string text = std::to_string(i);
            CHECK(::send(clients[i].fd(), text.data(), text.size(), 0) > 0);
        }
        for (std::size_t i = 0; i < heard.size(); ++i) {
            CHECK(co_await heard[i] == std::to_string(i));
        }
    }

    CO_TEST_CASE("memory that was given back is used again before other memory is") {
        auto [client, server] = co_await connected();
        std::set<const char*> used;
        for (int i = 0; i < 1000; ++i) {
            co_await client.write_all("x"sv);
            const received piece = co_await server.receive();
            used.insert(piece.bytes().data());
        }
        CHECK(used.size() <= 128);
    }

    CO_TEST_CASE("a piece may be changed in place and sent back") {
        auto [client, server] = co_await connected();
        co_await client.write_all("shout"sv);
        const received piece = co_await server.receive();
        for (char& letter : piece.bytes()) {
            letter = static_cast<char>(letter - 'a' + 'A');
        }
        co_await server.write_all(piece.bytes());
        CHECK(co_await next_text(client) == "SHOUT");
    }

    CO_TEST_CASE("a stream that is moved goes on receiving") {
        auto [client, server] = co_await connected();
        co_await client.write_all("here"sv);
        CHECK(co_await next_text(server) == "here");
        tcp_stream there = std::move(server);
        co_await client.write_all("there"sv);
        CHECK(co_await next_text(there) == "there");
        server = std::move(there);
        co_await client.write_all("and back"sv);
        CHECK(co_await next_text(server) == "and back");
    }

    CO_TEST_CASE("a stream that is destroyed while the loop receives for it closes soon") {
        auto [client, server] = co_await connected();
        co_await client.write_all("abc"sv);
        CHECK(co_await next_text(server) == "abc");
        { const tcp_stream gone = std::move(server); }
        CHECK_FALSE(co_await client.receive());
    }

    CO_TEST_CASE("close() waits until the loop does not receive any more") {
        auto [client, server] = co_await connected();
        co_await client.write_all("abc"sv);
        CHECK(co_await next_text(server) == "abc");
        const int fd = server.fd();
        co_await server.close();
        CHECK_FALSE(server.is_open());
        CHECK(::fcntl(fd, F_GETFD) == -1);
        CHECK_FALSE(co_await client.receive());
    }

    CO_TEST_CASE("close() ends the wait of who receives") {
        auto [client, server] = co_await connected();
        auto waiting = sapwood::spawn(next_text(server));
        auto given_up = sapwood::spawn(next_text(server));
        co_await settle();
        auto closing = sapwood::spawn([&stream = server]() -> task<> { co_await stream.close(); });
        co_await sapwood::yield();
        given_up.cancel();
        auto [code, text] = co_await failure_of([&waiting] { return std::move(waiting); });
        CHECK(code == std::errc::operation_canceled);
        CHECK_THROWS((void)co_await given_up);
        co_await closing;
        CHECK_FALSE(server.is_open());
    }

    TEST_CASE("a stream that is destroyed between two runs of a loop ends at once") {
        sapwood::event_loop loop;
        tcp_stream client;
        std::optional<tcp_stream> server;
        auto connect = [&]() -> task<> {
            auto [here, there] = co_await connected();
            co_await here.write_all("abc"sv);
            CHECK(co_await next_text(there) == "abc");
            client = std::move(here);
            server = std::move(there);
        };
        loop.run(connect());
        server.reset();
        char byte = 0;
        CHECK(::recv(client.fd(), &byte, 1, MSG_DONTWAIT) == 0);
    }

    TEST_CASE(
        "streams that are destroyed while their receives still wait for an SQE leave nothing") {
        auto body = []() -> task<> {
            std::vector<std::pair<unix_stream, unix_stream>> pairs;
            std::vector<sapwood::join_handle<std::string>> waiting;
            for (int i = 0; i < 64; ++i) {
                pairs.push_back(unix_stream::make_pair());
            }
            for (auto& [here, there] : pairs) {
                waiting.push_back(sapwood::spawn(next_text(here)));
            }
            co_await sapwood::yield();
            CHECK(sapwood::event_loop::current().stats().operations_waiting > 1);
            for (auto& each : waiting) {
                each.cancel();
            }
            for (auto& each : waiting) {
                CHECK_THROWS_AS(co_await each, sapwood::cancelled);
            }
            pairs.erase(pairs.begin() + 1, pairs.end());
            co_await pairs[0].second.write_all("ab"sv);
            CHECK(co_await next_text(pairs[0].first) == "ab");
        };
        const int before = first_free_descriptor();
        sapwood::run(body(), {.sq_entries = 1});
        CHECK(first_free_descriptor() == before);
    }

    TEST_CASE("bytes that come at the loop's end are for the next loop, without buffer rings too") {
        for (const bool withholds : {false, true}) {
            CAPTURE(withholds);
            std::optional<tcp_stream> survivor;
            {
                sapwood::event_loop loop(std::make_unique<sapwood::uring_ring>(
                    sapwood::uring_ring::options{.withholds_buffer_rings = withholds}));
                auto body = [&]() -> task<> {
                    auto [client, server] = co_await connected();
                    auto waiting = sapwood::spawn(next_text(server));
                    co_await settle();
                    waiting.cancel();
                    CHECK_THROWS_AS((void)co_await waiting, sapwood::cancelled);
                    co_await client.write_all("abc"sv);
                    survivor = std::move(server);
                };
                loop.run(body());
            }
            auto next = [&]() -> task<> { CHECK(co_await receive_to_end(*survivor) == "abc"); };
            sapwood::run(next());
        }
    }

    TEST_CASE("streams and pieces that outlive their loop leave nothing behind") {
        const int before = first_free_descriptor();
        {
            std::vector<received> pieces;
            std::optional<tcp_stream> survivor;
            auto body = [&]() -> task<> {
                auto [client, server] = co_await connected();
                co_await client.write_all("abc"sv);
                pieces.push_back(co_await server.receive());
                survivor = std::move(server);
                co_await client.write_all("def"sv);
            };
            sapwood::run(body());
            CHECK(pieces[0].text() == "abc");
            auto next = [&]() -> task<> { CHECK(co_await receive_to_end(*survivor) == "def"); };
            sapwood::run(next()); // another loop
        }
        CHECK(first_free_descriptor() == before);
    }

    CO_TEST_CASE("bytes sent without being copied arrive as they were") {
        auto [client, server] = co_await connected();
        client.zero_copy_from(1000);
        const std::string sent = numbers(3 << 20);
        auto writer = sapwood::spawn(write_and_end(client, sent));
        CHECK(co_await receive_to_end(server) == sent);
        co_await writer;
    }

    CO_TEST_CASE("what cannot be sent without a copy is copied") {
        auto [client, server] = unix_stream::make_pair();
        client.zero_copy_from(1);
        const std::string sent = numbers(1 << 20);
        auto writer = sapwood::spawn(write_and_end(client, sent));
        CHECK(co_await receive_to_end(server) == sent);
        co_await writer;
    }

    CO_TEST_CASE("a send without copying to a peer that is gone fails and can be cancelled") {
        auto [client, server] = co_await connected();
        client.zero_copy_from(1);
        sapwood::test::reset_on_close(server);
        co_await server.close();
        auto send = [&client]() -> task<> {
            const std::string text(1 << 16, 'x');
            for (;;) {
                co_await client.write_all(text);
            }
        };
        auto [code, text] = co_await failure_of(send);
        CHECK((code == std::errc::connection_reset || code == std::errc::broken_pipe));
        auto [from, to] = co_await connected();
        from.zero_copy_from(1);
        auto endless = [&stream = from]() -> task<> {
            const std::string piece(1 << 20, 'x');
            for (;;) {
                co_await stream.write_all(piece);
            }
        };
        auto sender = sapwood::spawn(endless());
        co_await settle();
        CHECK_FALSE(sender.done());
        sender.cancel();
        // The kernel lets go of the bytes when the peer has them, or is gone.
        co_await to.close();
        CHECK_THROWS(co_await sender);
    }

    TEST_CASE("misuse hits an assertion") {
        const auto misused = [](auto misuse) {
            return last_words([&] {
                auto body = [&]() -> task<> {
                    auto [client, server] = unix_stream::make_pair();
                    co_await client.write_all("abc"sv);
                    (void)co_await server.receive();
                    co_await misuse(server);
                };
                sapwood::run(body());
            });
        };
        CHECK(misused([](unix_stream& stream) -> task<> {
                  std::array<char, 4> bytes{};
                  (void)co_await stream.read_some(bytes);
              }) == doctest::Contains("is read by other means"));
        CHECK(misused([](unix_stream& stream) -> task<> {
                  (void)stream.release();
                  co_return;
              }) == doctest::Contains("receive() was called on"));
    }

    TEST_CASE("a piece may be made by who decodes a stream") {
        auto piece = sapwood::received::with_room(100);
        CHECK(piece.bytes().size() == 100);
        const std::string_view text = "decoded";
        text.copy(piece.bytes().data(), text.size());
        piece.shorten(text.size());
        const sapwood::received moved = std::move(piece);
        CHECK(moved.text() == text);
    }
}
