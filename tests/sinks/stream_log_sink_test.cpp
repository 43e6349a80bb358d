// stream_log_sink: lines over TCP, to peers that go, reset, do not read, or are not there yet.
#include "support/allocations.hpp"
#include "support/child_process.hpp"
#include "support/co_test.hpp"
#include "support/log_records.hpp"
#include "support/sockets.hpp"

#include <sapwood/logger.hpp>
#include <sapwood/resolve.hpp>
#include <sapwood/run.hpp>
#include <sapwood/run_blocking.hpp>
#include <sapwood/spawn.hpp>
#include <sapwood/stream_log_sink.hpp>
#include <sapwood/when_all.hpp>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <doctest/doctest.h>
#include <fstream>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

using namespace sapwood;
using namespace std::chrono_literals;
using test::failure_of;
using test::write_text;

tcp_log_sink_options to(const endpoint& server, stream_log_options stream = {}) {
    return {.host = "127.0.0.1", .port = std::to_string(server.port()), .stream = stream};
}

std::string numbered_lines(int count) {
    std::string text;
    for (int i = 0; i < count; ++i) {
        text += "line number " + std::to_string(i) + " of them\n";
    }
    return text;
}

/// What a server gets of `lines`.
task<std::string> sent_as(log_framing framing, std::string_view lines) {
    tcp_listener listener(test::loopback());
    tcp_log_sink sink(to(listener.local_endpoint(), {.framing = framing, .record_bytes_max = 64}));
    co_await sink.open();
    std::string got;
    const auto read = [&]() -> task<> {
        auto peer = co_await listener.accept();
        got = co_await test::read_to_end(peer);
    };
    const auto write = [&]() -> task<> {
        co_await write_text(sink, lines);
        co_await sink.close();
    };
    co_await when_all(read(), write());
    co_return got;
}

/// Everything that comes on a connection, in calls that block.
std::string read_and_close(int fd) {
    std::string text;
    std::string piece(1u << 16, '\0');
    for (ssize_t got = 0; (got = ::recv(fd, piece.data(), piece.size(), 0)) > 0;) {
        text.append(piece, 0, static_cast<std::size_t>(got));
    }
    ::close(fd);
    return text;
}

/// How long this thread has run, or been ready to and kept from it by others, since it began: the
/// first two numbers of /proc/thread-self/schedstat. Where the kernel does not count it, it is 0.
std::chrono::nanoseconds time_at_work() {
    std::int64_t ran = 0;
    std::int64_t was_kept_from_it = 0;
    std::ifstream("/proc/thread-self/schedstat") >> ran >> was_kept_from_it;
    return std::chrono::nanoseconds(ran + was_kept_from_it);
}

/// A server outside of all loops.
class plain_listener {
  public:
    plain_listener() : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        const endpoint any = test::loopback();
        REQUIRE(::bind(fd_, any.data(), any.size()) == 0);
        REQUIRE(::listen(fd_, 8) == 0);
    }

    plain_listener(const plain_listener&) = delete;
    plain_listener& operator=(const plain_listener&) = delete;

    ~plain_listener() { ::close(fd_); }

    [[nodiscard]] endpoint place() const {
        sockaddr_storage name{};
        socklen_t size = sizeof(name);
        ::getsockname(fd_, reinterpret_cast<sockaddr*>(&name), &size);
        return {reinterpret_cast<const sockaddr*>(&name), size};
    }

    [[nodiscard]] int accept() const { return ::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC); }

    [[nodiscard]] std::string accept_and_read() const { return read_and_close(accept()); }

  private:
    int fd_;
};

/// A connection that breaks behind the first line, when there is no memory left either.
class breaking_sink final : public socket_log_sink {
  public:
    task<> open() override { co_return; }

    task<> close() override { co_return; }

    std::string describe() const override { return "a server that is longer than a short string"; }

    bool write_in_crash(std::span<const char>) noexcept override { return false; }

    std::optional<test::failing_allocations> none;

  protected:
    task<> send(std::string_view lines) override {
        keep(lines.find('\n') + 1);
        const auto why = std::make_error_code(std::errc::broken_pipe);
        const std::system_error failure(why, "of the test");
        none.emplace(1);
        throw failure;
        co_return;
    }
};

} // namespace

TEST_SUITE("stream_log_sink") {

    CO_TEST_CASE("records are framed as their receiver wants it") {
        CHECK(co_await sent_as(log_framing::newline, "one\nthree\n") == "one\nthree\n");
        CHECK(co_await sent_as(log_framing::octet_counted, "one\nthree\n") == "3 one5 three");
        CHECK(co_await sent_as(log_framing::nul_ended, "one\ntwo\n") ==
              std::string("one\0two\0", 8));
        CHECK(co_await sent_as(log_framing::length_prefixed, "one\nthree\n") ==
              std::string("\0\0\0\3one\0\0\0\5three", 16));
        CHECK(co_await sent_as(log_framing::octet_counted, std::string(65, 'x') + "\n") ==
              "64 " + std::string(58, 'x') + "\\(cut)");
    }

    CO_TEST_CASE("many lines arrive whole and in order") {
        const std::string text = numbered_lines(50'000);
        CHECK(co_await sent_as(log_framing::newline, text) == text);
    }

    CO_TEST_CASE("a peer that has ended the connection gets nothing that would be lost") {
        tcp_listener listener(test::loopback());
        tcp_log_sink sink(to(listener.local_endpoint()));
        co_await sink.open();
        std::string piece(64, '\0');
        co_await write_text(sink, "one\n");
        {
            auto peer = co_await listener.accept();
            CHECK(co_await peer.read_some(piece) == 4);
            co_await peer.close();
        }
        co_await write_text(sink, "two\n");
        auto peer = co_await listener.accept();
        CHECK(co_await peer.read_some(piece) == 4);
        CHECK(piece.starts_with("two\n"));
        co_await peer.close();
        co_await sink.close();
    }

    CO_TEST_CASE("a line that was sent in part is sent again, whole, on the next connection") {
        tcp_listener listener(test::loopback());
        tcp_log_sink sink(to(listener.local_endpoint(), {.retry_first = 0ms}));
        co_await sink.open();
        const std::string text = numbered_lines(200'000); // more than two sockets hold
        std::string first;
        std::string second;
        bool is_done = false;
        const auto serve = [&]() -> task<> {
            auto peer = co_await listener.accept();
            std::string piece(100'000, '\0');
            first = piece.substr(0, co_await peer.read_some(piece));
            test::reset_on_close(peer);
            co_await peer.close();
            peer = co_await listener.accept();
            second = co_await test::read_to_end(peer);
        };
        const auto write = [&]() -> task<> {
            std::string_view rest = text;
            while (!rest.empty()) {
                std::size_t kept = rest.size();
                try {
                    co_await write_text(sink, rest);
                } catch (const write_error& error) {
                    kept = error.bytes_kept;
                }
                CHECK((kept == 0 || rest[kept - 1] == '\n'));
                rest.remove_prefix(kept);
            }
            co_await sink.close();
            is_done = true;
        };
        co_await when_all(serve(), write());
        CHECK(is_done);
        CHECK(text.starts_with(first));
        CHECK(second.starts_with("line number "));
        CHECK(text.ends_with(second));
        CHECK(first.size() + second.size() < text.size()); // what the kernels held is lost
    }

    CO_TEST_CASE("a peer that does not read is given up, and whole lines are accounted for") {
        tcp_listener listener(test::loopback());
        tcp_log_sink sink(to(listener.local_endpoint(), {.give_up_after = 50ms}));
        co_await sink.open();
        const std::string text = numbered_lines(400'000);
        std::size_t kept = 0;
        std::error_code code;
        try {
            co_await write_text(sink, text);
        } catch (const write_error& error) {
            kept = error.bytes_kept;
            code = error.code();
        }
        CHECK(code == std::errc::timed_out);
        CHECK(kept > 0);
        CHECK(kept < text.size());
        CHECK(text[kept - 1] == '\n');
        auto peer = co_await listener.accept();
        const std::string got = co_await test::read_to_end(peer);
        CHECK(text.starts_with(got));
        CHECK(got.size() >= kept); // and of the line that comes again the beginning
        CHECK(got.size() - kept < 64);
        co_await sink.close();
    }

    CO_TEST_CASE("without memory a write tells how far it has come all the same") {
        breaking_sink sink;
        std::size_t kept = 0;
        try {
            co_await write_text(sink, "one\ntwo\n");
        } catch (const write_error& error) {
            kept = error.bytes_kept;
        } catch (const std::bad_alloc&) { // nothing was kept
        }
        CHECK((sink.none && sink.none->struck()));
        sink.none.reset();
        CHECK(kept == 4);
    }

    CO_TEST_CASE("who is not there is tried again later, and not before") {
        endpoint place;
        {
            const tcp_listener gone(test::loopback());
            place = gone.local_endpoint();
        }
        tcp_log_sink sink(to(place, {.retry_first = 1h, .retry_max = 1h}));
        co_await sink.open();
        const auto refused = co_await failure_of([&] { return write_text(sink, "one\n"); });
        CHECK(refused.first == std::errc::connection_refused);
        tcp_listener listener(place);
        const auto too_early = co_await failure_of([&] { return write_text(sink, "one\n"); });
        CHECK(too_early.first == std::errc::connection_refused);
        co_await sleep_for(1h);
        co_await write_text(sink, "one\n");
        auto peer = co_await listener.accept();
        std::string piece(64, '\0');
        CHECK(co_await peer.read_some(piece) == 4);
        co_await peer.close();
        co_await sink.close();
    }

    TEST_CASE("the time to the next attempt is random, up to a bound that doubles to a maximum") {
        detail::random_backoff backoff(100ms, 1s);
        clock::duration longest{};
        for (int round = 0; round < 100; ++round) {
            backoff.succeeded();
            for (const auto bound : {100ms, 200ms, 400ms, 800ms, 1000ms, 1000ms}) {
                const auto wait = backoff.failed();
                CHECK(wait >= 0ms);
                CHECK(wait <= bound);
                longest = std::max(longest, wait);
            }
        }
        CHECK(longest > 800ms); // one of two hundred
    }

    TEST_CASE("a log starts without its server, and delivers when that comes") {
        endpoint place;
        {
            const tcp_listener gone(test::loopback());
            place = gone.local_endpoint();
        }
        test::run_virtual([](endpoint at) -> task<> {
            logger_options options;
            options.outputs.push_back({.sink = std::make_unique<tcp_log_sink>(to(at))});
            const logger log = co_await logger::on_this_loop(options);
            log.info("before it is there");
            CHECK((co_await failure_of([&] { return log.flush(); })).first);
            tcp_listener listener(at);
            auto peer = co_await listener.accept();
            std::string piece(256, '\0');
            const auto got = co_await peer.read_some(piece);
            CHECK(piece.substr(0, got).ends_with("before it is there\n"));
            co_await log.close();
        }(place));
    }

    CO_TEST_CASE("a log that must have its server does not start without, and says why") {
        endpoint place;
        {
            const tcp_listener gone(test::loopback());
            place = gone.local_endpoint();
        }
        tcp_log_sink sink(to(place, {.must_connect = true}));
        CHECK((co_await failure_of([&] { return sink.open(); })).first ==
              std::errc::connection_refused);
    }

    TEST_CASE("a name that is not found is an error of the write's") {
        sapwood::run([]() -> task<> { // on a real clock: the name is looked up by a thread
            tcp_log_sink sink({.host = "127.0.0.1", .port = "no-such-service", .stream = {}});
            co_await sink.open();
            CHECK((co_await failure_of([&] { return write_text(sink, "one\n"); })).first ==
                  resolve_errc::unknown_service);
        });
    }

    TEST_CASE("all addresses of a host are tried, and it is looked up for each connection") {
        sapwood::run([]() -> task<> { // on a real clock: the name is looked up by a thread
            endpoint nobody;
            {
                const tcp_listener gone(test::loopback());
                nobody = gone.local_endpoint();
            }
            tcp_listener first(test::loopback());
            tcp_listener second(test::loopback());
            std::atomic<int> lookups{0};
            auto names = std::make_shared<resolver>(2, [&](const name_query&) {
                const auto& present = ++lookups == 1 ? first : second;
                return std::vector{nobody, present.local_endpoint()};
            });
            tcp_log_sink sink({.host = "log.example", .port = "514", .names = names});
            co_await sink.open();
            std::string piece(64, '\0');
            co_await write_text(sink, "one\n");
            {
                auto peer = co_await first.accept();
                CHECK(co_await peer.read_some(piece) == 4);
                co_await peer.close();
            }
            co_await write_text(sink, "two\n");
            auto peer = co_await second.accept();
            CHECK(co_await peer.read_some(piece) == 4);
            CHECK(lookups == 2);
            co_await peer.close();
            co_await sink.close();
        });
    }

    TEST_CASE("what was logged before a crash of the log's loop goes out") {
        const plain_listener listener;
        const auto how = test::in_child([&]() -> std::string {
            sapwood::run([&]() -> task<> {
                logger_options options;
                options.outputs.push_back(
                    {.sink = std::make_unique<tcp_log_sink>(to(listener.place())),
                     .form = std::make_unique<text_layout>(
                         text_layout_options{.pattern = "number %v"})});
                const logger log = co_await logger::on_this_loop(options);
                log.info("0");
                co_await log.flush(); // it is connected
                for (int i = 1; i < 1000; ++i) {
                    log.info("{}", i);
                }
                std::raise(SIGSEGV);
            });
            return "lived on";
        });
        CHECK(how == "the child was killed by Segmentation fault");
        const auto lines = test::lines_of(listener.accept_and_read());
        REQUIRE(lines.size() == 1001);
        CHECK(lines[0] == "number 0");
        CHECK(lines[1].find("critical sapwood SIGSEGV") != std::string::npos);
        CHECK(lines[1000].ends_with(" info 999"));
    }

    TEST_CASE("in a crash a record that was sent in part is ended, and none is sent twice") {
        for (const auto framing : {log_framing::newline, log_framing::octet_counted}) {
            std::string expected;
            const std::string text = numbered_lines(200'000); // more than two sockets hold
            sapwood::run([](log_framing as, std::string_view lines, std::string& framed) -> task<> {
                framed = co_await sent_as(as, lines);
            }(framing, text, expected));
            const plain_listener listener;
            std::string got;
            std::string again;
            sapwood::run([&]() -> task<> {
                tcp_log_sink sink(to(listener.place(), {.framing = framing}));
                co_await sink.open();
                const std::string_view first(text.data(), text.find('\n') + 1);
                co_await write_text(sink, first); // connects
                const std::string_view rest = std::string_view(text).substr(first.size());
                auto writing = spawn(write_text(sink, rest));
                const int peer = co_await run_blocking([&] { return listener.accept(); });
                for (int turn = 0; turn < 1000; ++turn) { // more than there are pieces of 64 KiB
                    co_await yield();
                }
                CHECK_FALSE(writing.done());
                std::thread reader([&] { got = read_and_close(peer); });
                // The handler, on this thread: the loop does not go on meanwhile.
                CHECK(sink.write_in_crash(rest));
                // Where the process lives on, it connects again, for what it does not know of.
                std::thread other([&] { again = listener.accept_and_read(); });
                co_await writing;
                co_await sink.close();
                co_await run_blocking([&] {
                    reader.join();
                    other.join();
                });
            });
            CHECK(got.size() == expected.size());
            CHECK((got == expected)); // not megabytes of it
            CHECK(expected.ends_with(again));
        }
    }

    CO_TEST_CASE("in a crash records are framed as always") {
        for (const auto framing : {log_framing::newline, log_framing::octet_counted,
                                   log_framing::length_prefixed, log_framing::nul_ended}) {
            const std::string expected = co_await sent_as(framing, "one\ntwo\nthree\n");
            tcp_listener listener(test::loopback());
            tcp_log_sink sink(to(listener.local_endpoint(), {.framing = framing}));
            co_await sink.open();
            CHECK_FALSE(sink.write_in_crash(std::string_view("two\n"))); // not connected
            co_await write_text(sink, "one\n");
            CHECK(sink.write_in_crash(std::string_view("two\nthree\n")));
            std::string got(expected.size(), '\0');
            auto peer = co_await listener.accept();
            CHECK(co_await peer.read_exactly(got));
            CHECK(got == expected);
            co_await peer.close();
            co_await sink.close();
        }
    }

    CO_TEST_CASE("in a crash a peer that does not read is not waited for for long") {
        const plain_listener listener;
        tcp_log_sink sink(to(listener.place(), {.crash_patience = 20ms}));
        co_await sink.open();
        co_await write_text(sink, "one\n");
        const std::string text = numbered_lines(400'000);
        const auto before = std::chrono::steady_clock::now();
        const auto at_work_before = time_at_work();
        CHECK_FALSE(sink.write_in_crash(text));
        CHECK_FALSE(sink.write_in_crash(text)); // and not twice
        const auto at_work = time_at_work() - at_work_before;
        CHECK(std::chrono::steady_clock::now() - before - at_work < 1s);
        co_await sink.close();
        const std::string got = listener.accept_and_read();
        CHECK(("one\n" + text).starts_with(got));
    }

    TEST_CASE("an option that makes no sense is named") {
        CHECK_THROWS_WITH_AS(
            tcp_log_sink({.host = "h", .port = "1", .stream = {.record_bytes_max = 3}}),
            doctest::Contains("record_bytes_max"), std::invalid_argument);
    }
}
