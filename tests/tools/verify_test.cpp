// sapwood verify, from outside: what it prints, and how it ends. What is found in a log is the
// suite log_verifier.
#include "support/co_test.hpp"
#include "support/program.hpp"
#include "support/temporary_directory.hpp"

#include <sapwood/logger.hpp>
#include <sapwood/numbered_line.hpp>
#include <sapwood/pipeline.hpp>
#include <sapwood/rotating_log_sink.hpp>
#include <sapwood/run.hpp>

#include <array>
#include <cstdlib>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <string>
#include <string_view>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

namespace {

using sapwood::line_head;
using sapwood::lsn;
using sapwood::numbered_line;
using sapwood::test::program;
using sapwood::test::run_program;
using sapwood::test::temporary_directory;

/// A whole line with its newline.
std::string line_of(std::uint64_t place, std::string_view rest, bool is_marked = false) {
    std::string line(numbered_line::head_bytes, ' ');
    line += rest;
    line_head(lsn{place}).put(line.data(), line.size());
    if (is_marked) {
        line[numbered_line::mark_at] = numbered_line::mark;
    }
    return line + "\n";
}

std::string record_of(std::uint64_t place, unsigned producer, std::uint64_t sequence) {
    return line_of(place, fmt::format("2026-11-21 22:39:56.123 {}#{} info record {}", producer,
                                      sequence, sequence));
}

/// Records of one producer, numbered alike.
std::string records(std::uint64_t first, std::uint64_t last) {
    std::string lines;
    for (std::uint64_t place = first; place <= last; ++place) {
        lines += record_of(place, 17, place);
    }
    return lines;
}

struct log_directory {
    temporary_directory directory;
    std::string log = directory / "app.log";

    void write(std::string_view text, const std::string& suffix = "") const {
        std::ofstream(log + suffix, std::ios::binary) << text;
    }

    [[nodiscard]] program::outcome verify() const {
        return run_program("sapwood", {"verify", log});
    }
};

bool has(std::string_view text, std::string_view what) {
    return text.find(what) != text.npos;
}

} // namespace

TEST_SUITE("verify") {
    TEST_CASE("a whole log has its numbers and its producers told") {
        const log_directory at;
        at.write(line_of(1, "2026-11-21 22:39:56.123 4#1 info a", true) + record_of(2, 17, 1) +
                 record_of(3, 4, 2) + record_of(4, 17, 2));
        const auto done = at.verify();
        CHECK(done.status == 0);
        CHECK(has(done.out, "app.log: whole, 4 records\n"));
        CHECK(has(done.out, " 4 records, numbers 1 to 4\n"));
        CHECK(has(done.out, "producer 4: 2 records, numbers 1 to 3; its own 1 to 2\n"));
        CHECK(has(done.out, "producer 17: 2 records, numbers 2 to 4; its own 1 to 2\n"));
        CHECK(done.err.empty()); // no progress where there is no terminal
    }

    TEST_CASE("what a durable pipeline has written is whole") {
        const log_directory at;
        sapwood::run([](std::string path) -> sapwood::task<> {
            auto log = co_await sapwood::pipeline::open({.path = path, .numbered = true},
                                                        {.durable = sapwood::durability::batch()});
            lsn last = lsn::none;
            for (unsigned i = 0; i < 100; ++i) {
                last =
                    co_await log.append(sapwood::record(sapwood::level::info, i % 3, "a message"));
            }
            co_await log.durable(last);
            co_await log.close();
        }(at.log));
        const auto done = at.verify();
        CHECK(done.status == 0);
        CHECK(has(done.out, "app.log: whole, 100 records\n"));
    }

    TEST_CASE("what is missing is named with the line behind it, what is damaged with its place") {
        const log_directory at;
        std::string wrong = record_of(8, 17, 8);
        wrong[40] ^= 1;
        const std::string before = records(1, 3) + record_of(7, 17, 7);
        at.write(before + wrong + records(9, 9));
        const auto done = at.verify();
        CHECK(done.status == 1);
        CHECK(has(done.out, "app.log:4: missing before this line: 4 to 6\n"));
        CHECK(has(done.out, fmt::format("app.log:5: damaged ({} bytes from byte {} on)\n",
                                        wrong.size(), before.size())));
        CHECK(has(done.out, "NOT WHOLE, 4 records missing, 1 piece damaged"));
    }

    TEST_CASE("a torn end is damage, but not while a writer holds the log") {
        const log_directory at;
        at.write(records(1, 3) + record_of(4, 17, 4).substr(0, 40));
        const auto torn = at.verify();
        CHECK(torn.status == 1);
        CHECK(has(torn.out, "app.log:4: torn"));

        const int held = ::open(at.log.c_str(), O_RDONLY | O_CLOEXEC);
        REQUIRE(::flock(held, LOCK_EX | LOCK_NB) == 0);
        const auto busy = at.verify();
        ::close(held);
        CHECK(busy.status == 0);
        CHECK(has(busy.out, "40 bytes of a line that is being written now"));
    }

    TEST_CASE("files that a log was rotated into belong to it, in the order of their lines") {
        const log_directory at;
        at.write(records(1, 4), ".20261126T141236.123Z");
        at.write(records(5, 8), ".0000000000000007"); // its sync failed: 7 and 8 come again
        at.write(records(7, 9), ".20261126T141236.124Z");
        at.write("", ".20261126T151236.000Z");
        at.write(records(10, 12));
        const auto done = at.verify();
        CHECK(done.status == 0);
        CHECK(has(done.out, "app.log: whole, 12 records\n"));

        at.write("some other file\n", ".20261131T141236.123Z"); // there is no such day
        CHECK(at.verify().status == 0);
        at.write(records(7, 8), ".20261126T141236.124Z");
        const auto missing = at.verify();
        CHECK(missing.status == 1);
        CHECK(has(missing.out, "app.log:1: missing before this line: 9\n"));
    }

    TEST_CASE("what a durable log that rotates has written is whole") {
        const log_directory at;
        {
            sapwood::rotating_log_sink_options options{.path = at.log};
            options.bytes_max = 500;
            options.durable = sapwood::durability::batch();
            sapwood::logger_options outputs;
            outputs.outputs.push_back(
                {.sink = std::make_unique<sapwood::rotating_log_sink>(options)});
            const sapwood::logger log(std::move(outputs));
            for (int i = 0; i < 40; ++i) {
                log.info("record {}", i);
                log.durable_blocking();
            }
        }
        const auto done = at.verify();
        CHECK(done.status == 0);
        CHECK(has(done.out, "app.log: whole, 40 records\n"));
    }

    TEST_CASE("- is standard input") {
        const log_directory at;
        at.write(records(1, 3));
        const int in = ::open(at.log.c_str(), O_RDONLY | O_CLOEXEC);
        const auto done = run_program("sapwood", {"verify", "-"}, {.in = in});
        ::close(in);
        CHECK(done.status == 0);
        CHECK(has(done.out, "-: whole, 3 records"));
    }

    TEST_CASE("of several logs each is told, and one that is damaged tells in the exit status") {
        const log_directory good;
        const log_directory bad;
        good.write(records(1, 3));
        bad.write(records(1, 3) + records(5, 6));
        const auto done = run_program("sapwood", {"verify", bad.log, good.log});
        CHECK(done.status == 1);
        CHECK(has(done.out, bad.log + ": NOT WHOLE"));
        CHECK(has(done.out, good.log + ": whole"));
    }

    TEST_CASE("quiet prints nothing") {
        const log_directory at;
        at.write(records(2, 3) + records(5, 6));
        const auto done = run_program("sapwood", {"verify", "--quiet", at.log});
        CHECK(done.status == 1);
        CHECK(done.out.empty());
        CHECK(done.err.empty());
    }

    TEST_CASE("on a terminal it shows how far it is, and takes that away before it says the rest") {
        const int terminal = ::posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
        REQUIRE(terminal >= 0);
        REQUIRE(::grantpt(terminal) == 0);
        REQUIRE(::unlockpt(terminal) == 0);
        const int shows = ::open(::ptsname(terminal), O_RDWR | O_NOCTTY | O_CLOEXEC);
        REQUIRE(shows >= 0);
        std::array<int, 2> ends{};
        REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
        std::string shown;
        const auto look = [&shown, terminal] {
            std::array<char, 4096> some{};
            for (ssize_t got = 0; (got = ::read(terminal, some.data(), some.size())) > 0;) {
                shown.append(some.data(), static_cast<std::size_t>(got));
            }
        };
        program verify("sapwood", {"verify", "-"}, {.in = ends[0], .err = shows});
        ::close(ends[0]);
        std::uint64_t place = 0;
        while (shown.find("GB/s") == shown.npos) { // as long as it takes until it shows something
            const std::string more = records(place + 1, place + 1000);
            place += 1000;
            REQUIRE(::write(ends[1], more.data(), more.size()) ==
                    static_cast<ssize_t>(more.size()));
            look();
        }
        ::close(ends[1]);
        const auto done = verify.wait();
        look();
        ::close(shows);
        ::close(terminal);
        CHECK(done.status == 0);
        CHECK(has(done.out, fmt::format("{} records", place)));
        CHECK(shown.starts_with("\r0."));
        CHECK(shown.ends_with("\r\x1b[K"));
        CHECK(run_program("sapwood", {"verify", "/dev/null"}).err.find('\r') == std::string::npos);
    }

    TEST_CASE("of many findings the first are shown, and the others counted") {
        const log_directory at;
        std::string text;
        for (std::uint64_t place = 1; place < 100; place += 2) {
            text += line_of(place, "2026-11-21 22:39:56.123 17 info every other one");
        }
        at.write(text);
        const auto done = at.verify();
        CHECK(done.status == 1);
        CHECK(has(done.out, "  and 29 more\n"));
    }

    TEST_CASE("what others have renamed or compressed of a log is named, and not looked at") {
        const log_directory at;
        at.write(records(7, 9));
        at.write(records(5, 6), ".0000000000000007");
        at.write(records(3, 4), ".1");
        at.write("not looked at", ".2.zst");
        at.write("not looked at", "-20261126.gz");
        at.write("another log's", ".txt");
        const auto done = at.verify();
        CHECK(done.status == 0);
        CHECK(has(done.err, at.log + ".1 belongs to " + at.log + ", and is not looked at: others"));
        CHECK(has(done.err, at.log + ".2.zst belongs to " + at.log));
        CHECK(has(done.err, at.log + "-20261126.gz belongs to " + at.log));
        CHECK(!has(done.err, ".0000000000000007 "));
        CHECK(!has(done.err, ".txt"));
        CHECK(has(done.out, at.log + ": begins at number 5: those before it stand elsewhere"));
        CHECK(has(done.out, at.log + ": whole, 5 records\n"));
        CHECK(run_program("sapwood", {"verify", "-q", at.log}).err.empty());
        CHECK(!has(run_program("sapwood", {"verify", at.log + ".1"}).err, "belongs to"));
        const log_directory whole;
        whole.write(records(1, 2));
        CHECK(!has(whole.verify().out, "begins at"));
    }

    TEST_CASE("a log whose lines have no numbers is said to be such a one") {
        const log_directory at;
        at.write("{\"msg\":\"one\"}\n{\"msg\":\"two\"}\n");
        const auto done = at.verify();
        CHECK(done.status == 2);
        CHECK(done.out == at.log + ": no line has a number: JSON, logfmt, and logs that are never "
                                   "synced have none, and cannot be verified\n");
        const log_directory bad;
        bad.write(records(1, 3) + records(5, 6));
        const auto both = run_program("sapwood", {"verify", bad.log, at.log});
        CHECK(both.status == 2);
        CHECK(has(both.out, bad.log + ": NOT WHOLE"));
        at.write(records(1, 2) + "{\"msg\":\"one\"}\n");
        CHECK(!has(at.verify().out, "no line has a number"));
        CHECK(has(at.verify().out, "NOT WHOLE, 0 records missing, 1 piece damaged"));
    }

    TEST_CASE("a log in the present folder is named as it was said, and its segments are") {
        const log_directory at;
        at.write(records(1, 2), ".0000000000000003");
        at.write(records(4, 5));
        const std::string here = std::filesystem::current_path();
        const std::string name = std::filesystem::path(at.log).filename();
        std::filesystem::current_path(at.directory / "");
        const auto done = run_program("sapwood", {"verify", name});
        const auto dotted = run_program("sapwood", {"verify", "./" + name});
        std::filesystem::current_path(here);
        CHECK(done.out.starts_with(name + ".0000000000000003: "));
        CHECK(has(done.out, "\n" + name + ":1: missing before this line: 3\n"));
        CHECK(!has(done.out, "./"));
        CHECK(dotted.out.starts_with("./" + name + ".0000000000000003: "));
    }

    TEST_CASE("what cannot be read is named, with the reason") {
        const log_directory at;
        const auto missing = at.verify();
        CHECK(missing.status == 2);
        CHECK(has(missing.err, at.log + ": No such file or directory"));

        REQUIRE(::mkfifo(at.log.c_str(), 0600) == 0);
        const auto fifo = at.verify();
        CHECK(fifo.status == 2);
        CHECK(has(fifo.err, at.log + " is not a file; standard input is -\n"));
        const auto folder = run_program("sapwood", {"verify", at.directory / ""});
        CHECK(folder.status == 2);
        CHECK(has(folder.err, " is not a file; standard input is -\n"));
    }

    TEST_CASE("a mistake in the command line is status 2, help is none") {
        const auto nothing = run_program("sapwood", {});
        CHECK(nothing.status == 2);
        CHECK(nothing.err == "sapwood: say what to do: sapwood --help lists the commands\n");
        const auto unknown = run_program("sapwood", {"verfy", "app.log"});
        CHECK(unknown.status == 2);
        CHECK(unknown.err ==
              "sapwood: there is no command 'verfy'; sapwood --help lists those that there are\n");
        const auto no_log = run_program("sapwood", {"verify"});
        CHECK(no_log.status == 2);
        CHECK(no_log.err ==
              "sapwood verify: LOG is required; sapwood verify --help says what there is\n");
        const log_directory at;
        for (const std::string command : {"verify", "tail", "stats", "grep"}) {
            std::vector<std::string> words{command, at.log};
            words.insert(words.begin() + 1, command == "grep" ? 1u : 0u, "x");
            CHECK(run_program("sapwood", words).err.starts_with("sapwood " + command + ": "));
        }
        const auto level = run_program(
            "sapwood", {"send", "--http", "127.0.0.1:1", "--ack", "sometimes", "-m", "x"});
        CHECK(has(level.err, "sapwood send: --ack: say accepted, written or durable, not "
                             "'sometimes'; sapwood send --help"));
        CHECK(run_program("sapwood", {"verify", "--colour", "x"}).status == 2);
        const auto help = run_program("sapwood", {"verify", "--help"});
        CHECK(help.status == 0);
        CHECK(has(help.out, "Exit code: 0 where nothing is missing"));
    }
}
