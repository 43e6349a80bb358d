// sapwood stats, from outside: what it counts in a log and its segments.
#include "support/numbered_lines.hpp"
#include "support/program.hpp"
#include "support/temporary_directory.hpp"

#include <cstdint>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <string>
#include <string_view>
#include <unistd.h>
#include <vector>

namespace {

using sapwood::test::fill;
using sapwood::test::program;
using sapwood::test::run_program;
using sapwood::test::temporary_directory;

bool has(std::string_view text, std::string_view what) {
    return text.find(what) != text.npos;
}

std::string line(int second, int thread, std::string_view importance) {
    return fmt::format("2026-11-21 {:02}:00:{:02}.000 {} {} a message\n", 22 + second / 3600,
                       second % 3600, thread, importance);
}

std::string numbered(int number, std::string text) {
    text.pop_back();
    return sapwood::test::numbered(static_cast<std::uint64_t>(number), text);
}

program::outcome stats(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "stats");
    return run_program("sapwood", std::move(arguments));
}

} // namespace

TEST_SUITE("stats") {
    TEST_CASE("records are counted by level, thread and time, over all files of a log") {
        const temporary_directory at;
        fill(at / "app.log.20261126T141236.123Z", line(0, 17, "info") + line(1, 17, "error"));
        fill(at / "app.log", line(1, 18, "info") + "no record\n" + line(10, 17, "info"));
        const auto done = stats({at / "app.log"});
        CHECK(done.status == 0);
        CHECK(has(done.out, "app.log: 4 records in 179 bytes, 2 files\n"));
        CHECK(has(done.out, "from 2026-11-21 22:00:00.000 to 2026-11-21 22:00:10.000, 10.000 s, "
                            "0.4 records/s\n"));
        CHECK(has(done.out, "1 line is no record\n"));
        CHECK(has(done.out, "             3  75.0%  info\n"));
        CHECK(has(done.out, "             1  25.0%  error\n"));
        CHECK(has(done.out, "by level:\n"));
        CHECK(has(done.out, "by thread:\n             3  75.0%  17\n             1  25.0%  18\n"));
        CHECK(has(done.out, "by time, 1 s each:\n"));
        CHECK(has(done.out, "  2026-11-21 22:00:01          2 ########################"));
        CHECK(has(done.out, "  2026-11-21 22:00:02          0 \n"));
        CHECK(stats({"--one-file", at / "app.log"})
                  .out.starts_with((at / "app.log") + ": 2 records"));
    }

    TEST_CASE("the same as JSON") {
        const temporary_directory at;
        fill(at / "app.log", line(0, 17, "info") + line(3600, 17, "error") + "\x1b\n");
        CHECK(stats({"--json", at / "app.log"}).out ==
              fmt::format(R"({{"log":"{}","files":1,"bytes":87,"records":2,"other_lines":1,)"
                          R"("repeated_lines":0,"first":"2026-11-21T22:00:00.000000000Z",)"
                          R"("last":"2026-11-21T23:00:00.000000000Z","seconds":3600.000000000,)"
                          R"("records_per_second":0.001,"levels":{{"trace":0,"debug":0,"info":1,)"
                          R"("warning":0,"error":1,"critical":0,"none":0}},"threads":{{"17":2}},)"
                          R"("loggers":{{}},"senders":{{}},"tags":{{}},"step_seconds":120,)"
                          R"("times":[{{"from":"2026-11-21T22:00:00Z","records":1}},)"
                          R"({{"from":"2026-11-21T23:00:00Z","records":1}}]}})"
                          "\n",
                          at / "app.log"));
    }

    TEST_CASE("gaps are counted as verify counts them, and repetitions are no records") {
        const temporary_directory at;
        std::string damaged = numbered(7, line(7, 1, "info"));
        damaged[50] ^= 1;
        fill(at / "app.log.0000000000000003", numbered(1, line(1, 1, "info")) +
                                                  numbered(2, line(2, 1, "info")) +
                                                  numbered(3, line(3, 1, "info")));
        fill(at / "app.log", numbered(3, line(3, 1, "info")) + numbered(6, line(6, 1, "info")) +
                                 damaged + numbered(8, line(8, 1, "info")));
        const auto done = stats({at / "app.log"});
        CHECK(has(done.out, "6 records in"));
        CHECK(has(done.out, "1 line is a repetition\n"));
        CHECK(has(done.out, "3 records are missing, 1 piece is damaged\n"));
        CHECK(has(run_program("sapwood", {"verify", at / "app.log"}).out,
                  "3 records missing, 1 piece damaged"));
        CHECK(has(stats({"--json", at / "app.log"}).out,
                  R"("missing":3,"missing_told":0,"damaged":1)"));
    }

    TEST_CASE("where gaps are not looked for it is said why, and what looks for them") {
        const temporary_directory at;
        fill(at / "app.log", numbered(1, line(1, 1, "info")));
        const int in = ::open((at / "app.log").c_str(), O_RDONLY | O_CLOEXEC);
        const auto done = program("sapwood", {"stats", "-"}, {.in = in}).wait();
        ::close(in);
        CHECK(done.status == 0);
        CHECK(has(done.out, "gaps are not looked for: 'sapwood verify -' looks for them"));
    }

    TEST_CASE("the collector's senders and tags are counted, ports are not told apart") {
        const temporary_directory at;
        fill(at / "app.log",
             "2026-11-21 22:00:00.000 0 info [http 127.0.0.1:1] {\"tag\":\"billing\"}\n"
             "2026-11-21 22:00:00.000 0 info [http 127.0.0.1:2] {\"tag\":\"billing\"}\n"
             "2026-11-21 22:00:00.000 9 info [unix pid=9 uid=0 facility=user app=shop] paid\n");
        const auto done = stats({at / "app.log"});
        CHECK(has(done.out, "by sender:\n             2  66.7%  http 127.0.0.1\n"
                            "             1  33.3%  unix pid=9 uid=0\n"));
        CHECK(has(done.out, "%  shop\n"));
        CHECK(!has(done.out, "by thread"));
        fill(at / "app.log", "2026-11-21 22:00:00.000 0 info [udp fe80::1.514 app=a:b] x\n"
                             "2026-11-21 22:00:00.000 0 info [udp fe80::2.514] x\n"
                             "2026-11-21 22:00:00.000 0 info [udp 10.0.0.1:7 app=a:b] x\n");
        const auto of_ipv6 = stats({at / "app.log"});
        for (const char* const sender :
             {"  udp fe80::1\n", "  udp fe80::2\n", "  udp 10.0.0.1\n"}) {
            CHECK(has(of_ipv6.out, sender));
        }
    }

    TEST_CASE("a sender is what the collector knows of it: a user, a certificate, a queue") {
        const temporary_directory at;
        const auto line = [](std::string_view from) {
            return fmt::format("2026-11-21 22:00:00.000 0 info [{}] x\n", from);
        };
        fill(at / "app.log", line("http pid=17 uid=1000 gid=1000") + line("unix cut=true") +
                                 line("unix pid=9 uid=0 gid=0 cut=true") +
                                 line("tcp fe80::1.514 cert=mail:a@b cut=true") +
                                 line("tcp 10.0.0.1:7 cert=shop") +
                                 line("amqp logs:eu message_id=a app=shop") + line("sapwood"));
        const auto done = stats({at / "app.log"});
        for (const char* const sender :
             {"http pid=17 uid=1000 gid=1000", "unix", "unix pid=9 uid=0 gid=0",
              "tcp fe80::1 cert=mail:a@b", "tcp 10.0.0.1 cert=shop", "amqp logs:eu", "sapwood"}) {
            CHECK(has(done.out, fmt::format("  {}\n", sender)));
        }
        CHECK(has(done.out, "by tag:\n             1  14.3%  shop\n"));
        CHECK(!has(done.out, "by thread"));
    }

    TEST_CASE("in logfmt what a sender calls a time does not take the line's own away") {
        const temporary_directory at;
        fill(at / "app.log",
             "time=2026-11-21T22:00:00.000000000Z level=info from=\"http 127.0.0.1:1\" "
             "ts=1700000000.5 msg=x\n"
             "time=2026-11-21T22:00:01.000000000Z level=info from=\"http 127.0.0.1:1\" "
             "ts=2020-01-01T00:00:00Z msg=x\n");
        CHECK(has(stats({at / "app.log"}).out,
                  "from 2026-11-21 22:00:00.000 to 2026-11-21 22:00:01.000, "));
    }

    TEST_CASE("names and times that somebody makes up do not take more than so much memory") {
        const temporary_directory at;
        std::string text;
        for (int i = 0; i < 120'000; ++i) {
            text += fmt::format("{}-{:02}-{:02} 22:00:00.000 {} info x\n", 1970 + i % 290,
                                1 + i % 12, 1 + i / 290 % 28, i);
        }
        fill(at / "app.log", text);
        const auto done = stats({at / "app.log"});
        CHECK(done.status == 0);
        CHECK(has(done.out, ": 120000 records"));
        CHECK(has(done.out, "and 99980 more; --all lists them\n"));
        CHECK(has(done.out, "20000 records of names that came when there were too many\n"));
        CHECK(has(done.out, "by time, 3640 d each:\n"));
    }

    TEST_CASE("what cannot be read is an error, and an empty log is none") {
        const temporary_directory at;
        const auto missing = stats({at / "missing"});
        CHECK(missing.status == 2);
        CHECK(has(missing.err, "cannot open " + (at / "missing")));
        for (const char* const command : {"stats", "tail", "verify"}) {
            CAPTURE(command);
            const auto hostile = run_program("sapwood", {command, at / "a\x1b]0;b\x07"});
            CHECK(hostile.status == 2);
            CHECK(has(hostile.err, R"(a\x1b]0;b\x07)"));
        }
        fill(at / "empty", "");
        CHECK(stats({at / "empty"}).out == (at / "empty") + ": 0 records in 0 bytes, 1 file\n");
    }
}
