// stream: reading, writing, half a close and what cancelling leaves.
#include "support/child_process.hpp"
#include "support/co_test.hpp"
#include "support/signal_storm.hpp"
#include "support/sockets.hpp"
#include "support/temporary_directory.hpp"

#include <sapwood/pipe.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/task_group.hpp>
#include <sapwood/unix_socket.hpp>
#include <sapwood/when_all.hpp>

#include <array>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace std::string_view_literals;
using sapwood::task;
using sapwood::tcp_stream;
using sapwood::unix_stream;
using sapwood::test::connected;
using sapwood::test::failure_of;
using sapwood::test::read_to_end;
using sapwood::test::reset_on_close;
using sapwood::test::settle;
using sapwood::test::shrink_send_buffer;

task<std::size_t> read_once(sapwood::stream& from) {
    std::array<char, 16> bytes{};
    co_return co_await from.read_some(bytes);
}

task<> write_text(sapwood::stream& to, std::string_view text) {
    co_await to.write_all(text);
}

/// Writes until it has to wait.
task<> fill(sapwood::stream& to) {
    const std::string text(64 << 10, 'x');
    while (::send(to.fd(), text.data(), text.size(), MSG_DONTWAIT) > 0) {
    }
    co_return;
}

/// Puts `bytes` in at one end and takes them out at the other, in small pieces; whether all came.
template <class In, class Out>
task<bool> carry(In& in, Out& out, std::size_t bytes) {
    const std::string sent(bytes, 'c');
    auto write = [&]() -> task<> { co_await in.write_all(sent); };
    auto writer = sapwood::spawn(write());
    std::array<char, 1000> piece{};
    std::size_t received = 0;
    while (received < bytes) {
        received += co_await out.read_some(piece);
    }
    co_await writer;
    co_return received == bytes;
}

/// A connection and a conversation on it.
task<> converse(sapwood::tcp_listener& listener, int& answered) {
    auto client = co_await tcp_stream::connect(listener.local_endpoint());
    reset_on_close(client); // no port lingers
    std::array<char, 8> answer{};
    for (int i = 0; i < 3; ++i) {
        co_await client.write_all("question"sv);
        answered += co_await client.read_exactly(answer) ? 1 : 0;
    }
}

task<> echo(tcp_stream client) {
    std::array<char, 8> bytes{};
    try {
        while (co_await client.read_exactly(bytes)) {
            co_await client.write_all(bytes);
        }
    } catch (const std::system_error&) {
        // the reset at the end
    }
}

} // namespace

TEST_SUITE("stream") {

    TEST_CASE("a storm of signals breaks nothing off: sockets, pipes and files carry every byte") {
        const sapwood::test::temporary_directory directory;
        auto body = [&]() -> task<> {
            auto [client, server] = co_await connected();
            auto [left, right] = unix_stream::make_pair();
            sapwood::pipe ends = sapwood::pipe::make();
            shrink_send_buffer(client);
            shrink_send_buffer(left);
            const auto [tcp, local, piped] = co_await sapwood::when_all(
                carry(client, server, 300'000), carry(left, right, 300'000),
                carry(ends.writer, ends.reader, 300'000));
            CHECK(tcp);
            CHECK(local);
            CHECK(piped);
            auto log = co_await sapwood::file::open(directory / "log", {.flags = O_RDWR | O_CREAT});
            const std::string text(1000, 'f');
            for (std::uint64_t i = 0; i < 50; ++i) {
                co_await log.write_all(text, {i * text.size()});
            }
            co_await log.datasync();
            CHECK((co_await log.stat()).size == 50 * text.size());
            co_await log.close();
        };
        const sapwood::test::signal_storm storm;
        sapwood::run(body());
        CHECK(storm.alarms() > 0);
    }

    TEST_CASE("a ring of 4 entries carries three hundred connections") {
        int answered = 0;
        auto body = [&]() -> task<> {
            sapwood::tcp_listener listener(sapwood::test::loopback());
            sapwood::task_group servers;
            auto accept = [&]() -> task<> {
                for (int i = 0; i < 300; ++i) {
                    servers.spawn(echo(co_await listener.accept()));
                }
            };
            auto accepting = sapwood::spawn(accept());
            co_await sapwood::with_task_group([&](sapwood::task_group& clients) -> task<> {
                for (int i = 0; i < 300; ++i) {
                    clients.spawn(converse(listener, answered));
                }
                co_return;
            });
            co_await accepting;
            co_await servers.join();
        };
        sapwood::loop_options options;
        options.sq_entries = 4;
        options.cq_entries = 4;
        sapwood::run(body(), options);
        CHECK(answered == 900);
    }

    CO_TEST_CASE("a peer's reset ends a write that waits for room, of one part or many") {
        const std::string part(1 << 20, 'x');
        const std::vector<std::span<const char>> parts(20, part);
        for (const bool is_vectored : {false, true}) {
            auto [client, server] = co_await connected();
            auto write = [&]() -> task<> {
                if (is_vectored) {
                    co_await client.write_all(parts);
                } else {
                    for (const auto each : parts) {
                        co_await client.write_all(each);
                    }
                }
            };
            auto writing = sapwood::spawn(write());
            co_await settle();
            CHECK_FALSE(writing.done());
            reset_on_close(server);
            co_await server.close();
            std::error_code code;
            try {
                co_await writing;
            } catch (const std::system_error& failure) {
                code = failure.code();
            }
            CHECK((code == std::errc::connection_reset || code == std::errc::broken_pipe));
        }
    }

    CO_TEST_CASE("a read gives what is there and waits for the first byte") {
        auto [client, server] = co_await connected();
        auto reader = sapwood::spawn(read_once(server));
        co_await settle();
        CHECK_FALSE(reader.done());
        co_await client.write_all("abc"sv);
        CHECK(co_await reader == 3);
    }

    CO_TEST_CASE("short reads and short writes lose nothing and mix nothing") {
        auto [client, server] = co_await connected();
        shrink_send_buffer(client);
        std::string sent(1 << 20, ' ');
        for (std::size_t i = 0; i < sent.size(); ++i) {
            sent[i] = static_cast<char>('a' + i % 23);
        }
        auto write = [&]() -> task<> {
            co_await client.write_all(sent);
            co_await client.shutdown_write();
        };
        auto writer = sapwood::spawn(write());
        std::string received;
        std::array<char, 777> piece{};
        while (const auto got = co_await server.read_some(piece)) {
            received.append(piece.data(), got);
        }
        co_await writer;
        CHECK((received == sent));
    }

    CO_TEST_CASE("a vectored write sends all parts in order, empty ones and hundreds of them") {
        auto [client, server] = unix_stream::make_pair();
        shrink_send_buffer(client);
        std::vector<std::string> texts;
        std::string all;
        for (std::size_t i = 0; i < 300; ++i) {
            texts.emplace_back(i % 7 == 0 ? 0 : i * 5, static_cast<char>('a' + i % 26));
            all += texts.back();
        }
        const std::vector<std::span<const char>> parts(texts.begin(), texts.end());
        auto write = [&]() -> task<> {
            co_await client.write_all(parts);
            co_await client.write_all(std::span<const std::span<const char>>());
            co_await client.close();
        };
        auto writer = sapwood::spawn(write());
        CHECK((co_await read_to_end(server) == all));
        co_await writer;
    }

    CO_TEST_CASE("read_exactly fills all, tells a clean end from one in the middle") {
        auto [client, server] = co_await connected();
        std::array<char, 4> bytes{};
        auto reader = sapwood::spawn(server.read_exactly(bytes));
        co_await client.write_all("ab"sv);
        co_await settle();
        co_await client.write_all("cdef"sv);
        CHECK(co_await reader);
        CHECK(std::string_view(bytes.data(), 4) == "abcd");
        co_await client.close();
        const auto [code, text] = co_await failure_of([&] { return server.read_exactly(bytes); });
        CHECK(code == make_error_code(sapwood::errc::end_of_stream));
        CHECK_FALSE(co_await server.read_exactly(bytes));
    }

    CO_TEST_CASE("half a close ends what the peer reads, and the other direction goes on") {
        auto [client, server] = co_await connected();
        co_await client.write_all("question"sv);
        co_await client.shutdown_write();
        CHECK(co_await read_to_end(server) == "question");
        co_await server.write_all("answer"sv);
        co_await server.close();
        CHECK(co_await read_to_end(client) == "answer");
        const auto [code, text] = co_await failure_of([&] { return client.write_some("x"sv); });
        CHECK(code == std::errc::broken_pipe);
    }

    CO_TEST_CASE("a peer's reset in the middle is an error of the read and of the write") {
        auto [client, server] = co_await connected();
        auto reader = sapwood::spawn(read_once(client));
        co_await settle();
        reset_on_close(server);
        co_await server.close();
        std::error_code code;
        try {
            (void)co_await reader;
        } catch (const std::system_error& failure) {
            code = failure.code();
            CHECK(std::string(failure.what()).find("receiving from ") == 0);
        }
        CHECK(code == std::errc::connection_reset);
        CHECK((co_await failure_of([&] { return client.write_some("x"sv); })).first ==
              std::errc::broken_pipe);
    }

    CO_TEST_CASE("a write to a peer that has closed fails and raises no signal") {
        auto [client, server] = unix_stream::make_pair();
        co_await server.close();
        CHECK((co_await failure_of([&] { return client.write_all("x"sv); })).first ==
              std::errc::broken_pipe);
        const std::array<std::span<const char>, 1> parts{"x"sv};
        CHECK((co_await failure_of([&] { return client.write_all(parts); })).first ==
              std::errc::broken_pipe);
    }

    CO_TEST_CASE("a read that waits can be cancelled, and the stream goes on") {
        auto [client, server] = co_await connected();
        auto reader = sapwood::spawn(read_once(server));
        co_await settle();
        reader.cancel();
        CHECK_THROWS_AS((void)co_await reader, sapwood::cancelled);
        co_await client.write_all("abc"sv);
        CHECK(co_await read_once(server) == 3);
    }

    CO_TEST_CASE("a write that waits for room can be cancelled, of one part or many") {
        auto [client, server] = unix_stream::make_pair();
        co_await fill(client);
        auto writer = sapwood::spawn(write_text(client, "more"));
        co_await settle();
        CHECK_FALSE(writer.done());
        writer.cancel();
        CHECK_THROWS_AS(co_await writer, sapwood::cancelled);
        const std::array<std::span<const char>, 2> parts{"a"sv, "b"sv};
        writer = sapwood::spawn(client.write_all(parts));
        co_await settle();
        CHECK_FALSE(writer.done());
        writer.cancel();
        CHECK_THROWS_AS(co_await writer, sapwood::cancelled);
    }

    CO_TEST_CASE("bytes are not lost when a read is cancelled while they come") {
        auto [client, server] = unix_stream::make_pair();
        for (int i = 0; i < 200; ++i) {
            auto reader = sapwood::spawn(read_once(server));
            co_await settle();
            if (i % 2 == 0) {
                reader.cancel();
            }
            REQUIRE(::send(client.fd(), "abc", 3, 0) == 3);
            if (i % 2 == 1) {
                reader.cancel();
            }
            std::optional<std::size_t> got;
            try {
                got = co_await reader;
            } catch (const sapwood::cancelled&) {
            }
            // Either the reader has them or they are still in the socket.
            REQUIRE((got ? *got : co_await read_once(server)) == 3);
        }
    }

    CO_TEST_CASE("one task reads while another writes") {
        auto [client, server] = unix_stream::make_pair();
        auto reader = sapwood::spawn(read_once(client));
        co_await client.write_all("question"sv);
        CHECK(co_await read_once(server) == 8);
        co_await server.write_all("answer"sv);
        CHECK(co_await reader == 6);
    }

    CO_TEST_CASE("close waits for a read in flight") {
        auto [client, server] = unix_stream::make_pair();
        auto reader = sapwood::spawn(read_once(client));
        co_await settle();
        auto close = [&]() -> task<> { co_await client.close(); };
        auto closer = sapwood::spawn(close());
        co_await settle();
        CHECK_FALSE(closer.done());
        co_await server.write_all("x"sv);
        CHECK(co_await reader == 1);
        co_await closer;
        CHECK_FALSE(client.is_open());
    }

    CO_TEST_CASE("a socket that is non-blocking waits all the same") {
        std::array<int, 2> ends{};
        REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()) ==
                0);
        unix_stream left(ends[0]);
        unix_stream right(ends[1]);
        auto reader = sapwood::spawn(read_once(left));
        co_await settle();
        CHECK_FALSE(reader.done());
        co_await right.write_all("abc"sv);
        CHECK(co_await reader == 3);
    }

    TEST_CASE("a ring of one entry carries a conversation both ways") {
        auto body = []() -> task<> {
            auto [left, right] = unix_stream::make_pair();
            const std::string text(300'000, 'x');
            auto send = [&](unix_stream& to) -> task<> {
                co_await to.write_all(text);
                co_await to.shutdown_write();
            };
            auto receive = [&](unix_stream& from) -> task<> {
                CHECK((co_await read_to_end(from) == text));
            };
            co_await sapwood::when_all(send(left), send(right), receive(left), receive(right));
        };
        sapwood::run(body(), {.sq_entries = 1, .cq_entries = 1});
    }

    TEST_CASE("a read of a stream that is not open hits the assertion") {
        CHECK(sapwood::test::last_words([] {
                  auto body = []() -> task<> {
                      unix_stream none;
                      (void)co_await read_once(none);
                  };
                  sapwood::run(body());
              }) == doctest::Contains("on a file or socket that is not open"));
    }
}
