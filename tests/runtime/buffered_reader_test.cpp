// buffered_reader: pieces out of a source that cuts them as it likes.
#include "support/child_process.hpp"
#include "support/co_test.hpp"
#include "support/sockets.hpp"

#include <sapwood/buffered_reader.hpp>
#include <sapwood/pipe.hpp>
#include <sapwood/unix_socket.hpp>

#include <array>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace std::string_view_literals;
using sapwood::buffered_reader;
using sapwood::task;
using sapwood::unix_stream;
using sapwood::test::failure_of;
using sapwood::test::settle;

} // namespace

TEST_SUITE("buffered_reader") {

    CO_TEST_CASE("read_until gives one piece after the other, with its delimiter") {
        auto [client, server] = unix_stream::make_pair();
        co_await client.write_all("one\r\ntwo\r\n\r\nrest"sv);
        co_await client.shutdown_write();
        buffered_reader reader(server);
        CHECK(co_await reader.read_until("\r\n") == "one\r\n");
        CHECK(co_await reader.read_until("\r\n\r\n") == "two\r\n\r\n");
        CHECK(co_await reader.read_until("\r\n") == "rest");
        CHECK((co_await reader.read_until("\r\n")).empty());
        CHECK((co_await reader.read_until("\r\n")).empty());
    }

    CO_TEST_CASE("a delimiter that comes in two parts is found") {
        auto [client, server] = unix_stream::make_pair();
        buffered_reader reader(server);
        auto reading = sapwood::spawn(reader.read_until("\r\n"));
        for (const auto part : {"a\r"sv, "b"sv, "\r"sv, "\nc"sv}) {
            co_await settle();
            CHECK_FALSE(reading.done());
            co_await client.write_all(part);
        }
        CHECK(co_await reading == "a\rb\r\n");
    }

    CO_TEST_CASE("a piece as long as the maximum is taken, a longer one is an error") {
        auto [client, server] = unix_stream::make_pair();
        buffered_reader reader(server, {.piece_bytes_max = 8});
        co_await client.write_all("1234567\n123456789\n"sv);
        CHECK(co_await reader.read_until("\n") == "1234567\n");
        const auto [code, text] = co_await failure_of([&] { return reader.read_until("\n"); });
        CHECK(code == make_error_code(sapwood::errc::piece_too_long));
        CHECK(text.find("did not come") != std::string::npos);
        std::array<char, 64> bytes{};
        CHECK(co_await reader.read_some(bytes) == 8); // nothing was lost
        CHECK(co_await reader.read_until("\n") == "9\n");
    }

    CO_TEST_CASE("lines of any length come out as they went in, however they are cut") {
        const auto seed = std::random_device()();
        CAPTURE(seed);
        std::mt19937 random(seed);
        std::vector<std::string> lines;
        std::string all;
        for (int i = 0; i < 500; ++i) {
            lines.emplace_back(random() % 200, static_cast<char>('a' + i % 26));
            all += lines.back() + (i % 3 == 0 ? "\r\n" : "\n");
        }
        auto pipe = sapwood::pipe::make();
        auto write = [&]() -> task<> {
            std::string_view left = all;
            while (!left.empty()) {
                const auto piece = left.substr(0, 1 + random() % 300);
                co_await pipe.writer.write_all(piece);
                left.remove_prefix(piece.size());
                co_await sapwood::yield();
            }
            co_await pipe.writer.close();
        };
        auto writer = sapwood::spawn(write());
        buffered_reader reader(pipe.reader, {.piece_bytes_max = 256});
        std::vector<std::string> found;
        std::string_view line;
        while (co_await reader.read_line(line)) {
            found.emplace_back(line);
        }
        co_await writer;
        CHECK((found == lines));
    }

    CO_TEST_CASE("a cancelled read_until has taken nothing") {
        auto [client, server] = unix_stream::make_pair();
        buffered_reader reader(server);
        co_await client.write_all("begun "sv);
        auto reading = sapwood::spawn(reader.read_until("\n"));
        co_await settle();
        reading.cancel();
        CHECK_THROWS_AS((void)co_await reading, sapwood::cancelled);
        co_await client.write_all("and done\n"sv);
        CHECK(co_await reader.read_until("\n") == "begun and done\n");
    }

    CO_TEST_CASE("a length and its body can follow a line") {
        auto [client, server] = unix_stream::make_pair();
        co_await client.write_all("5\nhelloand"sv);
        co_await client.close();
        buffered_reader reader(server);
        std::string_view line;
        CHECK(co_await reader.read_line(line));
        CHECK(line == "5");
        std::array<char, 5> body{};
        CHECK(co_await reader.read_exactly(body));
        CHECK(std::string_view(body.data(), 5) == "hello");
        const auto [code, text] = co_await failure_of([&] { return reader.read_exactly(body); });
        CHECK(code == make_error_code(sapwood::errc::end_of_stream));
        CHECK_FALSE(co_await reader.read_exactly(body));
    }

    TEST_CASE("two tasks that read, and a reader destroyed meanwhile, hit the assertion") {
        using reader_type = buffered_reader<unix_stream>;
        const auto read = [](reader_type& by) -> task<> { (void)co_await by.read_until("\n"); };
        const auto misuse = [&read](bool destroys) -> task<> {
            auto [client, server] = unix_stream::make_pair();
            auto reader = std::make_unique<reader_type>(server);
            auto reading = sapwood::spawn(read(*reader));
            co_await sapwood::yield();
            if (destroys) {
                reader.reset();
            } else {
                co_await read(*reader);
            }
        };
        using sapwood::test::last_words;
        CHECK(last_words([&] { sapwood::test::run_virtual(misuse(false)); }) ==
              doctest::Contains("two tasks read by one buffered_reader"));
        CHECK(last_words([&] { sapwood::test::run_virtual(misuse(true)); }) ==
              doctest::Contains("a buffered_reader was destroyed while"));
    }
}
