// console_log_sink: terminals (pseudo-terminals here) and pipes, slow, full, shared and gone.
#include "support/allocations.hpp"
#include "support/child_process.hpp"
#include "support/co_test.hpp"
#include "support/log_lines.hpp"
#include "support/system_calls.hpp"
#include "support/temporary_directory.hpp"

#include <sapwood/console_log_sink.hpp>
#include <sapwood/logger.hpp>
#include <sapwood/memory_log_sink.hpp>
#include <sapwood/pipe.hpp>
#include <sapwood/run.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/when_all.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <liburing.h>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

namespace {

using namespace sapwood;
using namespace std::chrono_literals;

/// Both ends of a pipe, or of a terminal, whose reading end does not block.
struct conduit_ends {
    int reader = -1;
    int writer = -1;

    static conduit_ends of_pipe() {
        int ends[2];
        REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
        REQUIRE(::fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0);
        return {ends[0], ends[1]};
    }

    static conduit_ends of_terminal() {
        const int master = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
        REQUIRE(master >= 0);
        REQUIRE(::grantpt(master) == 0);
        REQUIRE(::unlockpt(master) == 0);
        char name[64];
        REQUIRE(::ptsname_r(master, name, sizeof(name)) == 0);
        const int slave = ::open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
        REQUIRE(slave >= 0);
        return {master, slave};
    }

    conduit_ends(int from, int to) : reader(from), writer(to) {}

    conduit_ends(const conduit_ends&) = delete;
    conduit_ends& operator=(const conduit_ends&) = delete;

    ~conduit_ends() {
        end_reading();
        ::close(writer);
    }

    void end_reading() {
        if (reader >= 0) {
            ::close(std::exchange(reader, -1));
        }
    }

    /// What is there.
    std::string read() const {
        std::string text;
        char piece[65536];
        for (ssize_t got = 0; (got = ::read(reader, piece, sizeof(piece))) > 0;) {
            text.append(piece, static_cast<std::size_t>(got));
        }
        return text;
    }
};

bool is_non_blocking(int fd) {
    return (::fcntl(fd, F_GETFL) & O_NONBLOCK) != 0;
}

std::string numbered_lines(int count) {
    std::string text;
    for (int i = 0; i < count; ++i) {
        text += "line number " + std::to_string(i) + " of them\n";
    }
    return text;
}

task<> write_text(console_log_sink& sink, std::string_view text) {
    return sink.write(std::span(text.data(), text.size()));
}

/// Writes as a log does: what was not taken comes again. Returns how often it had to.
task<int> write_until_done(console_log_sink& sink, std::string_view text) {
    int failures = 0;
    while (!text.empty()) {
        std::size_t kept = text.size();
        try {
            co_await write_text(sink, text);
        } catch (const write_error& error) {
            ++failures;
            kept = error.bytes_kept;
        }
        CHECK((kept == 0 || text[kept - 1] == '\n'));
        text.remove_prefix(kept);
        co_await yield();
    }
    co_return failures;
}

std::string with_environment(std::initializer_list<std::pair<const char*, const char*>> variables,
                             int fd) {
    const auto answer = test::in_child([&] {
        for (const auto* const name : {"NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"}) {
            ::unsetenv(name);
        }
        ::setenv("TERM", "xterm", 1);
        for (const auto& [name, value] : variables) {
            ::setenv(name, value, 1);
        }
        return std::string(shows_colour(fd) ? "colour" : "plain");
    });
    return answer.c_str();
}

} // namespace

TEST_SUITE("console_log_sink") {

    TEST_CASE("levels have colours on a terminal only, and as the environment wants it") {
        const auto terminal = conduit_ends::of_terminal();
        const auto pipe = conduit_ends::of_pipe();
        CHECK(with_environment({}, terminal.writer) == "colour");
        CHECK(with_environment({}, pipe.writer) == "plain");
        CHECK(with_environment({{"NO_COLOR", "1"}}, terminal.writer) == "plain");
        CHECK(with_environment({{"NO_COLOR", ""}}, terminal.writer) == "colour");
        CHECK(with_environment({{"TERM", "dumb"}}, terminal.writer) == "plain");
        CHECK(with_environment({{"CLICOLOR", "0"}}, terminal.writer) == "plain");
        CHECK(with_environment({{"CLICOLOR_FORCE", "1"}}, pipe.writer) == "colour");
        CHECK(with_environment({{"CLICOLOR_FORCE", "0"}}, pipe.writer) == "plain");
        CHECK(with_environment({{"CLICOLOR_FORCE", "1"}, {"NO_COLOR", "1"}}, pipe.writer) ==
              "plain");
        CHECK(shows_colour(pipe.writer, log_colour::always));
        CHECK_FALSE(shows_colour(terminal.writer, log_colour::never));
    }

    TEST_CASE("a log on a terminal shows levels in colour, and one on a pipe does not") {
        for (const auto colour : {log_colour::always, log_colour::never}) {
            const auto pipe = conduit_ends::of_pipe();
            {
                logger_options options;
                options.outputs.push_back(
                    {.sink = std::make_unique<console_log_sink>(console_log_sink_options{
                         .fd = pipe.writer, .colour = colour, .pattern = "%^%l%$ %v"})});
                const logger log(std::move(options));
                log.warn("careful");
            }
            CHECK(pipe.read() == (colour == log_colour::always
                                      ? "\x1b[33m\x1b[1mwarning\x1b[0m careful\n"
                                      : "warning careful\n"));
        }
    }

    CO_TEST_CASE("a pipe that is full holds up nobody, and gets every line once") {
        const auto pipe = conduit_ends::of_pipe();
        console_log_sink sink({.fd = pipe.writer, .give_up_after = 10ms});
        co_await sink.open();
        const std::string text = numbered_lines(10'000); // more than a pipe takes
        std::string read;
        int turns = 0;
        int failures = 0;
        bool is_done = false;
        const auto write_all = [&]() -> task<> {
            failures = co_await write_until_done(sink, text);
            is_done = true;
        };
        const auto read_slowly = [&]() -> task<> {
            while (!is_done) {
                co_await sleep_for(25ms); // virtual: longer than the sink waits
                ++turns;
                read += pipe.read();
            }
        };
        co_await when_all(write_all(), read_slowly());
        co_await sink.close();
        CHECK(read + pipe.read() == text);
        CHECK(failures > 0);
        CHECK(turns > 1);
    }

    TEST_CASE("without memory to tell how far it has come, every line is there once") {
        for (const unsigned written : {2u, 4u, 10u}) {
            CAPTURE(written);
            const test::temporary_directory directory;
            const std::string path = directory / "out";
            const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
            REQUIRE(fd >= 0);
            std::optional<test::failing_allocations> none;
            int writes = 0;
            test::loop_with_writes loop([&](const io_uring_sqe& sqe) {
                ++writes;
                if (writes == 2) {
                    none.emplace(1); // for the failure's text, and for anything behind it
                    return std::optional(-ENOSPC);
                }
                return writes == 1 ? test::perform_some(sqe, written) : test::perform(sqe);
            });
            loop.run([](int to, unsigned bytes, auto& failure) -> task<> {
                console_log_sink sink({.fd = to});
                co_await sink.open();
                std::string_view text = "one\ntwo\nthree\n";
                std::size_t kept = 0;
                try {
                    co_await write_text(sink, text);
                } catch (const write_error& error) {
                    kept = error.bytes_kept;
                } catch (const std::bad_alloc&) { // nothing was kept
                }
                CHECK((failure && failure->struck()));
                failure.reset();
                CHECK(kept == bytes / 4 * 4);
                text.remove_prefix(kept);
                co_await write_text(sink, text);
                co_await sink.close();
            }(fd, written, none));
            ::close(fd);
            CHECK(test::contents_of(path) == "one\ntwo\nthree\n");
        }
    }

    CO_TEST_CASE("a terminal that is stopped holds up nobody, and gets every line once") {
        const auto terminal = conduit_ends::of_terminal();
        console_log_sink sink({.fd = terminal.writer, .give_up_after = 10ms});
        co_await sink.open();
        const std::string text = numbered_lines(5'000);
        std::string read;
        bool is_done = false;
        int failures = 0;
        const auto write_all = [&]() -> task<> {
            failures = co_await write_until_done(sink, text);
            is_done = true;
        };
        const auto read_slowly = [&]() -> task<> {
            while (!is_done) {
                co_await sleep_for(25ms);
                read += terminal.read();
            }
        };
        co_await when_all(write_all(), read_slowly());
        co_await sink.close();
        read += terminal.read();
        std::erase(read, '\r'); // the terminal's
        CHECK(read == text);
        CHECK(failures > 0);
    }

    CO_TEST_CASE("a shared terminal or pipe is not made non-blocking for the others") {
        for (const bool is_terminal : {false, true}) {
            const auto ends = is_terminal ? conduit_ends::of_terminal() : conduit_ends::of_pipe();
            console_log_sink sink({.fd = ends.writer});
            co_await sink.open();
            co_await write_text(sink, "line\n");
            CHECK_FALSE(is_non_blocking(ends.writer));
            co_await sink.close();
            CHECK_FALSE(is_non_blocking(ends.writer));
        }
    }

    CO_TEST_CASE("a descriptor that is non-blocking already is waited for all the same") {
        const auto pipe = conduit_ends::of_pipe();
        REQUIRE(::fcntl(pipe.writer, F_SETFL, O_NONBLOCK) == 0);
        console_log_sink sink({.fd = pipe.writer});
        co_await sink.open();
        const std::string text = numbered_lines(5'000);
        std::string read;
        bool is_done = false;
        const auto write_all = [&]() -> task<> {
            co_await write_text(sink, text);
            is_done = true;
        };
        const auto read_all = [&]() -> task<> {
            while (!is_done) {
                read += pipe.read();
                co_await yield();
            }
        };
        co_await when_all(write_all(), read_all());
        co_await sink.close();
        CHECK(read + pipe.read() == text);
    }

    CO_TEST_CASE("a line that was begun is ended before its sink closes") {
        const auto pipe = conduit_ends::of_pipe();
        console_log_sink sink({.fd = pipe.writer, .give_up_after = 10ms});
        co_await sink.open();
        const std::string line(100'000, 'x');
        std::size_t kept = 1;
        try {
            co_await write_text(sink, line + "\n");
        } catch (const write_error& stuck) {
            kept = stuck.bytes_kept;
        }
        CHECK(kept == 0);
        std::string read = pipe.read();
        CHECK(read.size() > 1);
        co_await sink.close();
        read += pipe.read();
        CHECK(read.back() == '\n');
    }

    CO_TEST_CASE("a console may be a socket or a file") {
        int ends[2];
        REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
        {
            console_log_sink sink({.fd = ends[0]});
            co_await sink.open();
            co_await write_text(sink, "one\ntwo\n");
            co_await sink.close();
        }
        char text[16] = {};
        CHECK(::read(ends[1], text, sizeof(text)) == 8);
        CHECK(std::string_view(text) == "one\ntwo\n");
        ::close(ends[0]);
        ::close(ends[1]);

        const int fd = ::memfd_create("console", MFD_CLOEXEC);
        REQUIRE(::write(fd, "before\n", 7) == 7);
        console_log_sink sink({.fd = fd});
        co_await sink.open();
        co_await write_text(sink, "line\n");
        co_await sink.close();
        CHECK(::pread(fd, text, sizeof(text), 0) == 12);
        CHECK(std::string_view(text) == "before\nline\n");
        ::close(fd);
    }

    CO_TEST_CASE("where nobody reads any more the sink is gone") {
        auto pipe = conduit_ends::of_pipe();
        console_log_sink sink({.fd = pipe.writer});
        co_await sink.open();
        pipe.end_reading();
        CHECK_THROWS_AS(co_await write_text(sink, "line\n"), sink_gone);
        co_await sink.close();
    }

    CO_TEST_CASE("a descriptor that is closed cannot be opened, and is named") {
        console_log_sink sink({.fd = 999});
        CHECK_THROWS_WITH_AS(co_await sink.open(), doctest::Contains("descriptor 999"),
                             std::system_error);
    }

    // TSan knows the number of a thread of the parent's, and takes the child's for it.
    TEST_CASE(
        "a standard output that is closed is named, also where something else has its number" *
        doctest::skip(test::has_tsan)) {
        for (const bool before : {false, true}) {
            CHECK(test::in_child([before]() -> std::string {
                      ::close(STDOUT_FILENO);
                      std::optional<event_loop> other;
                      if (before) { // the ring of another loop's
                          other.emplace();
                      }
                      logger_options options;
                      options.outputs.push_back({.sink = std::make_unique<console_log_sink>()});
                      try {
                          const logger log(std::move(options));
                      } catch (const std::system_error& error) {
                          return error.what();
                      }
                      return "it was opened";
                  }) ==
                  doctest::Contains("cannot log to standard output: it is not open for writing"));
        }
    }

    TEST_CASE("a console without a reader, the only output, holds up no thread") {
        auto pipe = conduit_ends::of_pipe();
        logger_options options;
        options.outputs.push_back({.sink = std::make_unique<console_log_sink>(
                                       console_log_sink_options{.fd = pipe.writer}),
                                   .batch_bytes = 1'000});
        options.ring_bytes = 4096;
        const logger log(std::move(options));
        pipe.end_reading();
        for (int i = 0; i < 10'000; ++i) { // many rings full
            log.info("number {}", i);
        }
        CHECK_THROWS_AS(log.flush_blocking(), std::system_error);
    }

    TEST_CASE("a console that is full does not stop another output") {
        const auto pipe = conduit_ends::of_pipe();
        int seen = 0;
        {
            logger_options options;
            options.outputs.push_back(
                {.sink = std::make_unique<console_log_sink>(
                     console_log_sink_options{.fd = pipe.writer, .give_up_after = 10ms}),
                 .batch_bytes = 1'000,
                 .stuck_after = 10ms});
            options.outputs.push_back(
                {.sink = std::make_unique<callback_log_sink>([&](std::string_view lines) {
                     seen += static_cast<int>(std::count(lines.begin(), lines.end(), '\n'));
                 })});
            const logger log(std::move(options));
            for (int i = 0; i < 5'000; ++i) {
                log.info("number {} of records that are longer than a pipe together", i);
            }
        }
        CHECK(seen == 5'000);
    }

    CO_TEST_CASE("last words of a process that dies go to the console") {
        const auto pipe = conduit_ends::of_pipe();
        console_log_sink sink({.fd = pipe.writer});
        const std::string_view last = "last words\n";
        CHECK(sink.write_in_crash(std::span(last.data(), last.size()))); // before it was opened
        co_await sink.open();
        CHECK(sink.write_in_crash(std::span(last.data(), last.size())));
        co_await sink.close();
        CHECK(pipe.read() == "last words\nlast words\n");
    }
}
