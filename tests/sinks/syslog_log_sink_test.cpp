// syslog_log_sink: a daemon of the test's own, on datagrams and on a stream, that goes and comes.
#include "support/allocations.hpp"
#include "support/co_test.hpp"
#include "support/log_records.hpp"
#include "support/no_frames.hpp"
#include "support/sockets.hpp"
#include "support/temporary_directory.hpp"

#include <sapwood/datagram.hpp>
#include <sapwood/logger.hpp>
#include <sapwood/run.hpp>
#include <sapwood/spawn.hpp>
#include <sapwood/syslog_log_sink.hpp>
#include <sapwood/unix_socket.hpp>
#include <sapwood/when_all.hpp>

#include <algorithm>
#include <cerrno>
#include <doctest/doctest.h>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

namespace {

using namespace sapwood;
using namespace std::chrono_literals;
using test::temporary_directory;
using test::write_text;

/// A daemon that takes datagrams.
struct log_daemon {
    explicit log_daemon(std::string at) : path(std::move(at)), socket(endpoint::unix_path(path)) {}

    log_daemon(const log_daemon&) = delete;
    log_daemon& operator=(const log_daemon&) = delete;

    ~log_daemon() { ::unlink(path.c_str()); }

    /// What is there.
    std::vector<std::string> take() const {
        std::vector<std::string> all;
        std::string one(300'000, '\0');
        for (ssize_t got = 0;
             (got = ::recv(socket.fd(), one.data(), one.size(), MSG_DONTWAIT)) >= 0;) {
            all.push_back(one.substr(0, static_cast<std::size_t>(got)));
        }
        return all;
    }

    std::string path;
    unix_datagram socket;
};

syslog_log_sink_options at(const std::string& path) {
    return {.form = {.ident = "app", .pid = false}, .path = path};
}

task<std::error_code> code_of_write(log_sink& sink, std::string_view text) {
    const auto [code, message] = co_await test::failure_of([&] { return write_text(sink, text); });
    co_return code;
}

using strings = std::vector<std::string>;

} // namespace

TEST_SUITE("syslog_log_sink") {

    TEST_CASE("a record is a datagram to the daemon, in its form") {
        const temporary_directory directory;
        const log_daemon syslogd(directory / "log");
        {
            logger_options options;
            options.outputs.push_back(
                {.sink = std::make_unique<syslog_log_sink>(at(directory / "log"))});
            const logger log(std::move(options));
            log.info("one");
            log.error("two\nlines");
        }
        const auto got = syslogd.take();
        REQUIRE(got.size() == 2);
        CHECK(got[0].starts_with("<14>"));
        CHECK(got[0].ends_with(" app: one"));
        CHECK(got[1].starts_with("<11>"));
        CHECK(got[1].ends_with(" app: two\\nlines"));
    }

    CO_TEST_CASE("a daemon that is restarted is connected to again") {
        const temporary_directory directory;
        const std::string path = directory / "log";
        std::optional<log_daemon> syslogd(path);
        syslog_log_sink sink(at(path));
        co_await sink.open();
        co_await write_text(sink, "one\n");
        CHECK(syslogd->take() == strings{"one"});
        syslogd.reset();
        CHECK(co_await code_of_write(sink, "two\n") == std::errc::no_such_file_or_directory);
        syslogd.emplace(path);
        co_await write_text(sink, "two\nthree\n");
        CHECK(syslogd->take() == strings{"two", "three"});
        syslogd.reset();
        syslogd.emplace(path); // between two writes: nobody notices
        co_await write_text(sink, "four\n");
        CHECK(syslogd->take() == strings{"four"});
        co_await sink.close();
    }

    CO_TEST_CASE("a daemon whose queue is full is waited for, and gets every record once") {
        const temporary_directory directory;
        const log_daemon syslogd(directory / "log");
        syslog_log_sink sink(at(directory / "log"));
        co_await sink.open();
        strings expected;
        std::string text;
        for (int i = 0; i < 5'000; ++i) { // more than a queue takes
            expected.push_back("record " + std::to_string(i));
            text += expected.back() + "\n";
        }
        strings got;
        bool is_done = false;
        const auto write = [&]() -> task<> {
            co_await write_text(sink, text);
            is_done = true;
        };
        const auto read = [&]() -> task<> {
            while (!is_done) {
                co_await sleep_for(1ms);
                for (auto& each : syslogd.take()) {
                    got.push_back(std::move(each));
                }
            }
        };
        co_await when_all(write(), read());
        for (auto& each : syslogd.take()) {
            got.push_back(std::move(each));
        }
        CHECK(got == expected);
        co_await sink.close();
    }

    CO_TEST_CASE("a daemon that takes nothing is an error, and what it took is known") {
        const temporary_directory directory;
        const log_daemon syslogd(directory / "log");
        syslog_log_sink sink(at(directory / "log"));
        co_await sink.open();
        std::string text;
        for (int i = 0; i < 5'000; ++i) {
            text += "record " + std::to_string(i) + "\n";
        }
        std::size_t kept = 0;
        try {
            co_await write_text(sink, text);
        } catch (const write_error& error) {
            kept = error.bytes_kept;
        }
        CHECK(kept > 0);
        std::string taken;
        for (const auto& each : syslogd.take()) {
            taken += each + "\n";
        }
        CHECK(taken == text.substr(0, kept));
        co_await sink.close();
    }

    TEST_CASE("a daemon that takes a stream has records ended by NULs") {
        // On a real clock: poll_ring connects Unix sockets on a thread.
        sapwood::run([]() -> task<> {
            const temporary_directory directory;
            const std::string path = directory / "log";
            unix_listener listener(endpoint::unix_path(path));
            syslog_log_sink sink(at(path));
            co_await sink.open();
            std::string got;
            const auto read = [&]() -> task<> {
                auto peer = co_await listener.accept();
                got = co_await test::read_to_end(peer);
            };
            const auto write = [&]() -> task<> {
                co_await write_text(sink, "one\ntwo\n");
                co_await sink.close();
            };
            co_await when_all(read(), write());
            CHECK(got == std::string("one\0two\0", 8));
        });
    }

    TEST_CASE("a daemon that comes back with the other kind of socket is found") {
        // On a real clock: poll_ring connects Unix sockets on a thread.
        sapwood::run([]() -> task<> {
            const temporary_directory directory;
            const std::string path = directory / "log";
            syslog_log_sink sink(at(path));
            co_await sink.open();
            {
                unix_listener listener(endpoint::unix_path(path));
                co_await write_text(sink, "stream\n");
                auto peer = co_await listener.accept();
                std::string piece(64, '\0');
                CHECK(co_await peer.read_some(piece) == 7);
            }
            ::unlink(path.c_str());
            const log_daemon syslogd(path);
            co_await write_text(sink, "datagram\n");
            CHECK(syslogd.take() == strings{"datagram"});
            co_await sink.close();
        });
    }

    TEST_CASE(
        "of a daemon that changes its kind of socket it is known what it has, without memory, "
        "too") {
        std::string text;
        for (int i = 0; i < 60'000; ++i) {
            text += "record " + std::to_string(i) + "\n";
        }
        int told = 0;
        for (std::size_t nth = 1; nth <= 8; ++nth) {
            CAPTURE(nth);
            sapwood::run([&]() -> task<> {
                const temporary_directory directory;
                const std::string path = directory / "log";
                auto listener = std::make_unique<unix_listener>(endpoint::unix_path(path));
                std::optional<log_daemon> syslogd;
                std::optional<test::no_frames> frames;
                std::optional<test::failing_allocations> none;
                syslog_log_sink sink(at(path));
                co_await sink.open();
                co_await write_text(sink, "first\n");
                std::string got(1'000, '\0');
                const auto change = [&]() -> task<> {
                    auto peer = co_await listener->accept();
                    for (std::size_t have = 0; have < got.size();) {
                        have += co_await peer.read_some(std::span(got).subspan(have));
                    }
                    ::unlink(path.c_str());
                    syslogd.emplace(path);
                    co_await peer.close();
                    frames.emplace();
                    none.emplace(nth);
                };
                std::size_t kept = 0;
                const auto write = [&]() -> task<> {
                    try {
                        co_await write_text(sink, text);
                    } catch (const write_error& error) {
                        kept = error.bytes_kept;
                        told += none && none->struck() ? 1 : 0;
                    } catch (const std::bad_alloc&) {
                    }
                    none.reset();
                    frames.reset();
                };
                co_await when_all(change(), write());
                CHECK(kept + std::string_view("first\n").size() >= got.rfind('\0') + 1);
                co_await sink.close();
            });
        }
        CHECK(told > 0);
    }

    CO_TEST_CASE("a record that is too long is cut at a character, and says so") {
        const temporary_directory directory;
        const log_daemon syslogd(directory / "log");
        auto options = at(directory / "log");
        options.limits.bytes_max = 65; // an umlaut's second byte would be the sixtieth
        syslog_log_sink sink(options);
        co_await sink.open();
        std::string line = "x";
        while (line.size() < 100) {
            line += "\xc3\xa4";
        }
        co_await write_text(sink, line + "\nshort\n");
        CHECK(syslogd.take() == strings{line.substr(0, 59) + "\\(cut)", "short"});
        co_await sink.close();
    }

    CO_TEST_CASE("a record longer than the socket takes is cut, too") {
        const temporary_directory directory;
        const log_daemon syslogd(directory / "log");
        auto options = at(directory / "log");
        options.limits.bytes_max = 16u << 20;
        syslog_log_sink sink(options);
        co_await sink.open();
        co_await write_text(sink, std::string(2'000'000, 'x') + "\nshort\n");
        const auto got = syslogd.take();
        REQUIRE(got.size() == 2);
        CHECK(got[0].ends_with("x\\(cut)"));
        CHECK(got[0].size() > 50'000);
        CHECK(got[1] == "short");
        co_await sink.close();
    }

    TEST_CASE("a log starts without a daemon, unless it must be there") {
        const temporary_directory directory;
        const std::string path = directory / "log";
        logger_options options;
        options.outputs.push_back({.sink = std::make_unique<syslog_log_sink>(at(path))});
        {
            const logger log(std::move(options));
            log.info("lost");
        }
        auto must = at(path);
        must.limits.must_connect = true;
        logger_options strict;
        strict.outputs.push_back({.sink = std::make_unique<syslog_log_sink>(must)});
        CHECK_THROWS_WITH_AS(logger(std::move(strict)), doctest::Contains(path.c_str()),
                             std::system_error);
    }

    CO_TEST_CASE("last words of a process that dies go to the daemon") {
        const temporary_directory directory;
        const log_daemon syslogd(directory / "log");
        syslog_log_sink sink(at(directory / "log"));
        const std::string_view last = "last\nwords\n";
        CHECK_FALSE(sink.write_in_crash(std::span(last.data(), last.size()))); // not connected
        co_await sink.open();
        co_await write_text(sink, "one\n");
        CHECK(sink.write_in_crash(std::span(last.data(), last.size())));
        const auto got = syslogd.take();
        CHECK(got == strings{"one", "<10>app: last", "<10>app: words"});
        co_await sink.close();
    }

    CO_TEST_CASE("lines of a batch that go out in a crash keep their priority") {
        const temporary_directory directory;
        const log_daemon syslogd(directory / "log");
        syslog_log_sink sink(at(directory / "log"));
        co_await sink.open();
        co_await write_text(sink, "<14>one\n");
        CHECK(sink.write_in_crash(std::string_view("<12>two\nthree\n")));
        CHECK(syslogd.take() == strings{"<14>one", "<12>two", "<10>app: three"});
        co_await sink.close();
    }

    CO_TEST_CASE("in a crash what the daemon has of a write is not sent again") {
        const temporary_directory directory;
        const log_daemon syslogd(directory / "log");
        syslog_log_sink sink(at(directory / "log"));
        co_await sink.open();
        std::string text;
        strings expected;
        for (int i = 0; i < 400; ++i) { // of which its queue does not take all
            expected.push_back("<14>record " + std::to_string(i));
            text += expected.back() + "\n";
        }
        auto writing = spawn(write_text(sink, text));
        strings got;
        while (!sink.write_in_crash(std::string_view(text).substr(0, 0))) { // until it is connected
            co_await yield();
        }
        co_await test::settle();
        got = syslogd.take();
        CHECK(got.size() < expected.size());
        const std::size_t before = got.size();
        CHECK_FALSE(writing.done());
        (void)sink.write_in_crash(text);
        for (auto& each : syslogd.take()) {
            got.push_back(std::move(each));
        }
        CHECK(got.size() > before);
        CHECK(std::equal(got.begin(), got.end(), expected.begin()));
        writing.cancel();
        while (!writing.done()) {
            (void)syslogd.take();
            co_await yield();
        }
        co_await writing;
        co_await sink.close();
    }

    TEST_CASE("last words go to a daemon that takes a stream, ended by NULs") {
        sapwood::run([]() -> task<> {
            const temporary_directory directory;
            const std::string path = directory / "log";
            unix_listener listener(endpoint::unix_path(path));
            syslog_log_sink sink(at(path));
            co_await sink.open();
            co_await write_text(sink, "<14>one\n");
            CHECK(sink.write_in_crash(std::string_view("<12>two\nthree\n")));
            auto peer = co_await listener.accept();
            std::string piece(64, '\0');
            const std::string_view expected("<14>one\0<12>two\0<10>app: three\0", 31);
            CHECK(co_await peer.read_exactly(std::span(piece).first(expected.size())));
            CHECK(piece.substr(0, expected.size()) == expected);
            co_await peer.close();
            co_await sink.close();
        });
    }
}
