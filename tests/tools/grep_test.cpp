// sapwood grep, from outside: a log and what was set aside of it, as one text.
#include "support/numbered_lines.hpp"
#include "support/program.hpp"
#include "support/temporary_directory.hpp"

#include <sapwood/numbered_line.hpp>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

namespace {

using sapwood::numbered_line;
using sapwood::test::eventually;
using sapwood::test::fill;
using sapwood::test::program;
using sapwood::test::run_program;
using sapwood::test::temporary_directory;

bool has(std::string_view text, std::string_view what) {
    return text.find(what) != text.npos;
}

std::string line(int number, std::string_view importance = "info") {
    return fmt::format("2026-11-21 22:39:56.{:03} 17 {} number {}\n", number, importance, number);
}

std::string numbered(int number) {
    std::string text = line(number);
    text.pop_back();
    return sapwood::test::numbered(static_cast<std::uint64_t>(number), text);
}

std::filesystem::file_time_type written_to(int minutes) {
    return std::filesystem::file_time_type::clock::now() - std::chrono::hours(1) +
           std::chrono::minutes(minutes);
}

program::outcome grep(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "grep");
    return run_program("sapwood", std::move(arguments));
}

/// Whether this build knows regular expressions.
bool has_expressions() {
    if (has(grep({"a.b", "/dev/null", "--one-file"}).err, "built without PCRE2")) {
        MESSAGE("skipped: built without PCRE2");
        return false;
    }
    return true;
}

/// Whether this build reads lines of JSON.
bool has_json() {
    const temporary_directory at;
    fill(at / "app.log", "{\"level\":\"info\"}\n");
    return grep({"--level", "info", at / "app.log"}).status == 0;
}

} // namespace

TEST_SUITE("grep") {
    TEST_CASE("the exit code is grep's: 0 found, 1 not found, 2 unreadable") {
        const temporary_directory at;
        fill(at / "app.log", line(1) + line(2) + line(3, "error"));
        const auto found = grep({"number 2", at / "app.log"});
        CHECK(found.status == 0);
        CHECK(found.out == line(2));
        const auto none = grep({"number 4", at / "app.log"});
        CHECK(none.status == 1);
        CHECK(none.out.empty());
        const auto missing = grep({"number 2", at / "app.log", at / "missing"});
        CHECK(missing.status == 2);
        CHECK(missing.out == (at / "app.log") + ":" + line(2)); // what can be read is
        CHECK(has(missing.err, "cannot open " + (at / "missing")));
        CHECK(grep({}).status == 2);
        CHECK(grep({"two\nlines", at / "app.log"}).status == 2);
        const auto quiet = grep({"-q", "number 2", at / "app.log"});
        CHECK(quiet.status == 0);
        CHECK(quiet.out.empty());
    }

    TEST_CASE("files that were set aside come first, in the order in which they were written") {
        const temporary_directory at;
        const std::string log = at / "app.log";
        fill(log + ".2", line(1));
        fill(log + ".1", line(2));
        fill(log + ".20261126T141236.123Z", line(3));
        fill(log + ".20261126T141236.124Z", line(4));
        fill(log, line(5));
        fill(log + ".torn", line(6));
        fill(log + ".20261126T141236.124Z.zst.tmp", line(6));
        fill(log + "2", line(6));
        CHECK(grep({"number", log}).out == line(1) + line(2) + line(3) + line(4) + line(5));
        CHECK(grep({"-c", "number", log}).out == "5\n");
        CHECK(grep({"--one-file", "number", log}).out == line(5));
        fill(log + ".3.gz", "?");
        CHECK(has(grep({"number", log}).err, "app.log.3.gz is left out"));
    }

    TEST_CASE("segments are read in the order in which they were written, also over a restart") {
        const std::string plain[] = {"number 1\n", "number 2\n", "number 3\n", "number 4\n"};
        const std::string timed[] = {line(1), line(2), line(3), line(4)};
        for (const bool has_times : {true, false}) { // and without them, when they were written to
            CAPTURE(has_times);
            const temporary_directory at;
            const std::string log = at / "app.log";
            const std::string* text = has_times ? timed : plain;
            int minutes = 0;
            for (const char* ending :
                 {".0000000000001000", ".0000000000000500-2", ".0000000000000500-10", ""}) {
                fill(log + ending, text[minutes]);
                std::filesystem::last_write_time(log + ending, written_to(++minutes));
            }
            CHECK(grep({"number", log}).out == text[0] + text[1] + text[2] + text[3]);
            if (has_times) { // copies
                std::filesystem::last_write_time(log + ".0000000000001000", written_to(5));
                CHECK(grep({"number", log}).out == text[0] + text[1] + text[2] + text[3]);
            }
        }
    }

    TEST_CASE(
        "a durable log that began anew comes behind what it had before, however far that went") {
        const temporary_directory at;
        const std::string log = at / "app.log";
        const auto timed = [](int number, int minute) {
            return sapwood::test::numbered(
                static_cast<std::uint64_t>(number),
                fmt::format("2026-11-21 22:{:02}:56.123 17 info {}", minute, number));
        };
        const std::string before[] = {timed(4000, 1), timed(5000, 2)};
        const std::string now[] = {timed(1, 3), timed(300, 4), timed(700, 5)};
        fill(log + ".0000000000005000", before[0]);
        fill(log + ".0000000000006000", before[1]);
        fill(log + ".0000000000000300", now[0]);
        fill(log + ".0000000000000700", now[1]);
        fill(log, now[2]);
        CHECK(grep({"--raw", "17", log}).out == before[0] + before[1] + now[0] + now[1] + now[2]);
    }

    TEST_CASE("of a durable log the numbers tell the order, however the clock was set") {
        const temporary_directory at;
        const std::string log = at / "app.log";
        const std::string later = sapwood::test::numbered(1, "2027-11-21 22:39:56.123 17 info 1");
        fill(log + ".0000000000000002", later);
        fill(log + ".0000000000000003", numbered(2));
        std::filesystem::last_write_time(log + ".0000000000000002", written_to(2));
        std::filesystem::last_write_time(log + ".0000000000000003", written_to(1));
        fill(log, numbered(3));
        CHECK(grep({"--raw", "17", log}).out == later + numbered(2) + numbered(3));
    }

    TEST_CASE("numbers tell the order also behind a gap, where times do not say otherwise") {
        const auto earlier = [](const std::string& text) {
            return "2026-11-21 22:00:56.123 17 info " + text;
        };
        const std::string told =
            earlier("7 records are missing here, numbers 3 to 9: no room \\(log)");
        // The second has no time that could be read; or is older, and tells of what is missing.
        for (const std::string& second : {std::string("a line of 17"), told}) {
            CAPTURE(second);
            const temporary_directory at;
            const std::string log = at / "app.log";
            const std::string texts[] = {numbered(2), sapwood::test::numbered(9, second),
                                         sapwood::test::numbered(10, earlier("17 at the end"))};
            fill(log + ".0000000000000003", texts[0]);
            fill(log + ".0000000000000010", texts[1]);
            fill(log, texts[2]);
            std::filesystem::last_write_time(log + ".0000000000000010", written_to(-100'000));
            CHECK(grep({"--raw", "17", log}).out == texts[0] + texts[1] + texts[2]);
        }
    }

    TEST_CASE(
        "what is compressed is read as well; of a file that is being compressed, one of two") {
        const temporary_directory at;
        const std::string log = at / "app.log";
        fill(log + ".20261126T141236.123Z", line(1) + line(2));
        fill(log, line(3));
        const std::string command = fmt::format("zstd -q {0}.20261126T141236.123Z", log);
        if (std::system(command.c_str()) != 0) {
            MESSAGE("skipped: zstd is not installed");
            return;
        }
        CHECK(grep({"number", log}).out == line(1) + line(2) + line(3));
        std::filesystem::remove(log + ".20261126T141236.123Z");
        const auto done = grep({"number", log});
        if (has(done.err, "built without zstd")) {
            MESSAGE("skipped: built without zstd");
            return;
        }
        CHECK(done.out == line(1) + line(2) + line(3));
        CHECK(run_program("sapwood", {"tail", "-n", "2", log}).out == line(2) + line(3));
        CHECK(run_program("sapwood", {"tail", "--since", "2026-11-21", log}).out == done.out);
        std::filesystem::resize_file(log + ".20261126T141236.123Z.zst", 20);
        const auto cut = grep({"number", log});
        CHECK(cut.status == 2);
        CHECK(cut.out == line(3));
        CHECK(has(cut.err, "cannot decompress"));
    }

    TEST_CASE("of a durable log what a failed sync has left behind is there once") {
        const temporary_directory at;
        const std::string log = at / "app.log";
        fill(log + ".0000000000000002", numbered(1) + numbered(2));
        fill(log, numbered(2) + numbered(3));
        CHECK(grep({"number", log}).out == line(1) + line(2) + line(3));
        CHECK(grep({"--raw", "number 3", log}).out == numbered(3));
    }

    TEST_CASE("the number and the checksum of a line are not searched") {
        const temporary_directory at;
        fill(at / "app.log", numbered(1));
        const std::string checksum =
            numbered(1).substr(numbered_line::crc_at, numbered_line::crc_digits);
        CHECK(grep({checksum, at / "app.log"}).status == 1);
        CHECK(grep({"-v", checksum, at / "app.log"}).out == line(1));
        CHECK(grep({"0000000000", at / "app.log"}).status == 1);
    }

    TEST_CASE("expressions look at one line at a time, whatever they could reach") {
        if (!has_expressions()) {
            return;
        }
        const temporary_directory at;
        fill(at / "app.log", line(1) + line(2, "error") +
                                 "Stra\xc3\x9f"
                                 "E\n\xff broken\n");
        const auto found = [&](const std::string& pattern, std::vector<std::string> options = {}) {
            options.insert(options.end(), {"-e", pattern, at / "app.log"});
            return grep(std::move(options)).out;
        };
        CHECK(found("^2026.*number [12]$") == line(1) + line(2, "error"));
        CHECK(found("info[^x]*error").empty());
        CHECK(found("\\A2026.*2\\z") == line(2, "error"));
        CHECK(found("(?s)info.*error").empty());
        CHECK(found("ERROR|nothing", {"-i"}) == line(2, "error"));
        CHECK(found("STRA\xc3\x9f"
                    "e",
                    {"-i"}) == "Stra\xc3\x9f"
                               "E\n");
        CHECK(found("broken$") == "\\xff broken\n");
        CHECK(found("a.b", {"-F"}).empty());
        CHECK(found("E", {"-F", "-i", "--level", "error"}) == line(2, "error"));
        CHECK(found("N.MBER", {"-F", "-i"}).empty());
        CHECK(has(grep({"-F", "-i", "\xff", at / "app.log"}).err, "without -i any bytes can"));
        CHECK(found("[12]$", {"-v"}) == "Stra\xc3\x9f"
                                        "E\n\\xff broken\n");
        CHECK(found("", {"-c"}) == "4\n");
        const auto wrong = grep({"a(b", at / "app.log"});
        CHECK(wrong.status == 2);
        CHECK(has(wrong.err, "no regular expression"));
        CHECK(has(wrong.err, "-F takes it as a text"));
    }

    TEST_CASE("an expression that takes for ever on a line is given up, and that is told") {
        if (!has_expressions()) {
            return;
        }
        const temporary_directory at;
        fill(at / "app.log", "aa\n" + std::string(60, 'a') + "!\naaa\n");
        const auto done = grep({"^(a+a+)+$", at / "app.log"});
        CHECK(done.status == 2);
        CHECK(done.out == "aa\naaa\n"); // the others are found
        CHECK(has(done.err, "the pattern takes too much of a line"));
    }

    TEST_CASE("level, fields and times can be all that is asked for") {
        const temporary_directory at;
        fill(at / "app.log", line(1) + line(2, "error") + line(3, "critical") + "no record\n");
        CHECK(grep({"--level", "error", at / "app.log"}).out ==
              line(2, "error") + line(3, "critical"));
        CHECK(grep({"number 3", "--level", "error", at / "app.log"}).out == line(3, "critical"));
        CHECK(grep({"--since", "2026-11-21T22:39:56.002", "--until", "2026-11-21T22:39:56.003",
                    at / "app.log"})
                  .out == line(2, "error"));
        CHECK(grep({"--where", "thread=18", at / "app.log"}).status == 1);
        CHECK(grep({"--where", "thread!=18", "--level", "error", at / "app.log"}).out ==
              line(2, "error") + line(3, "critical"));
        CHECK(!has(grep({"--where", "thread!=18", at / "app.log"}).out, "no record"));
    }

    TEST_CASE("an option whose value is empty is wrong, and does not ask for everything") {
        for (const char* const option : {"--since", "--until", "--level"}) {
            CAPTURE(option);
            const auto done = grep({option, "", "/dev/null"});
            CHECK(done.status == 2);
            CHECK(has(done.err, std::string(option) + ": is given without a value"));
        }
    }

    TEST_CASE("a field of nothing but quotes is looked at in one go, however long it is") {
        const temporary_directory at;
        std::string quotes;
        for (int i = 0; i < 4 << 20; ++i) {
            quotes += "\\\"";
        }
        fill(at / "app.log", "time=2026-11-21T22:39:56.000000001Z level=info said=\"" + quotes +
                                 "\" other=\"a \\\"b\\\"\"\n");
        CHECK(grep({"--where", "said=x", at / "app.log"}).status == 1);
        CHECK(grep({"--where", "other=a \"b\"", "--where", "said!=x", at / "app.log"}).status == 0);
    }

    TEST_CASE("standard input is a log, too") {
        const temporary_directory at;
        fill(at / "in", line(1) + line(2));
        for (const std::vector<std::string>& arguments :
             {std::vector<std::string>{"grep", "number 2"},
              std::vector<std::string>{"grep", "number 2", "-"}}) {
            const int in = ::open((at / "in").c_str(), O_RDONLY | O_CLOEXEC);
            CHECK(run_program("sapwood", arguments, {.in = in}).out == line(2));
            ::close(in);
        }
    }

    TEST_CASE("what is found in a pipe is shown at once") {
        int ends[2];
        REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
        program live("sapwood", {"grep", "number", "-"}, {.in = ends[0]});
        ::close(ends[0]);
        CHECK(::write(ends[1], line(1).data(), line(1).size()) ==
              static_cast<ssize_t>(line(1).size()));
        eventually([&] { return live.out_so_far() == line(1); });
        ::close(ends[1]);
        CHECK(live.wait().status == 0);
    }

    TEST_CASE("a pipe is read to its end, by whichever name, also where reading it does not wait") {
        for (const bool has_name : {false, true}) {
            CAPTURE(has_name);
            int ends[2];
            REQUIRE(::pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
            program::streams with{.in = ends[0]};
            constexpr int number = 100;
            with.prepare = [end = ends[0]] { ::dup2(end, number); };
            program live("sapwood",
                         {"grep", "number", has_name ? fmt::format("/dev/fd/{}", number) : "-"},
                         with);
            ::close(ends[0]);
            std::string expected;
            for (int i = 1; i <= 3; ++i) { // it has seen that there is no more before the next
                REQUIRE(::write(ends[1], line(i).data(), line(i).size()) ==
                        static_cast<ssize_t>(line(i).size()));
                expected += line(i);
                eventually([&] { return live.out_so_far() == expected; });
            }
            ::close(ends[1]);
            const auto done = live.wait();
            CHECK(done.status == 0);
            CHECK(done.out == expected);
            CHECK(done.err == "");
        }
    }

    TEST_CASE("a FIFO is waited for until somebody has written to it; one that was set aside is no "
              "log") {
        const temporary_directory at;
        REQUIRE(::mkfifo((at / "app.log").c_str(), 0600) == 0);
        REQUIRE(::mkfifo((at / "app.log.1").c_str(), 0600) == 0);
        program waits("sapwood", {"grep", "number", at / "app.log"});
        int writes = -1;
        eventually([&] { // once it is opened to be read
            writes = ::open((at / "app.log").c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC);
            return writes >= 0;
        });
        CHECK(::write(writes, line(1).data(), line(1).size()) ==
              static_cast<ssize_t>(line(1).size()));
        ::close(writes);
        const auto done = waits.wait();
        CHECK(done.status == 0);
        CHECK(done.out == line(1));
    }

    TEST_CASE("what the collector knows of a sender is not what the sender says") {
        const temporary_directory at;
        fill(at / "app.log",
             "2026-11-21 22:39:56.000 0 info [unix pid=17 uid=1000] uid=0 rm user=7\n"
             "2026-11-21 22:39:56.000 0 info [unix pid=17 uid=1000] {\"uid\":0}\n");
        CHECK(grep({"--where", "uid=0", at / "app.log"}).status == 1);
        CHECK(grep({"--where", "uid=1000", at / "app.log"}).status == 0);
        CHECK(grep({"--where", "user=7", at / "app.log"}).status == 0);
        const std::string head = "2026-11-21T22:39:56.000000000Z";
        const std::string from = "unix pid=17 uid=1000 gid=1000";
        fill(at / "logfmt.log", fmt::format("time={} level=info from=\"{}\" uid=0\n", head, from));
        fill(at / "json.log",
             fmt::format(R"({{"time":"{}","level":"info","from":"{}","record":{{"uid":"0"}}}})"
                         "\n",
                         head, from));
        // To a program that has a member `from` of its own, this is no collector's word.
        fill(at / "mail.log", fmt::format(R"({{"time":"{}","level":"info","from":"a uid=0"}})"
                                          "\n",
                                          head));
        for (const char* const log : {"logfmt.log", "json.log"}) {
            if (log == std::string_view("json.log") && !has_json()) {
                continue;
            }
            CAPTURE(log);
            CHECK(grep({"--where", "uid=0", at / log}).status == 1);
            CHECK(grep({"--where", "uid=1000", at / log}).status == 0);
            CHECK(grep({"--where", "from=" + from, at / log}).status == 0);
        }
        CHECK(grep({"--where", "uid=0", at / "mail.log"}).status == 1);
        // The kernel said nothing, or not all; and of TCP there is nothing that it could say.
        for (const char* const known :
             {"unix", "unix cut=true", "http uid=1000", "tcp 10.0.0.1:7"}) {
            CAPTURE(known);
            fill(at / "app.log", fmt::format("2026-11-21 22:39:56.000 0 info [{}] pid=1 user=7\n"
                                             "2026-11-21 22:39:56.000 0 info [{}] {{\"pid\":1}}\n",
                                             known, known));
            const bool is_tcp = std::string_view(known).starts_with("tcp");
            CHECK((grep({"--where", "pid=1", at / "app.log"}).status == 0) == is_tcp);
            CHECK(grep({"--where", "user=7", at / "app.log"}).status == 0);
        }
    }

    TEST_CASE("lines of the collector are known by whichever way their records came") {
        const temporary_directory at;
        const std::string_view sources[] = {"http 10.0.0.1:7",
                                            "http pid=1 uid=0 gid=0",
                                            "unix pid=1 uid=0 gid=0",
                                            "unix",
                                            "tcp 10.0.0.1:7",
                                            "udp fe80::1.514 app=shop",
                                            "sapwood",
                                            "amqp logs message_id=Ab3-1 app=a"};
        for (const std::string_view source : sources) {
            CAPTURE(source);
            fill(at / "app.log",
                 fmt::format("2026-11-21 22:39:56.000 0 info [{}] msg=paid user=7\n", source));
            CHECK(grep({"--where", fmt::format("from={}", source), at / "app.log"}).status == 0);
            CHECK(grep({"--where", "user=7", at / "app.log"}).status == 0);
            fill(
                at / "app.log",
                fmt::format("2026-11-21 22:39:56.000 0 info [{}] {{\"msg\":\"paid\",\"user\":7}}\n",
                            source));
            CHECK((grep({"--where", "user=7", at / "app.log"}).status == 0) == has_json());
        }
        const std::string_view words[] = {"[unix] x",          "[amqp] x",
                                          "[sapwood x",        "[httpd 1] x",
                                          "[unixes a] x",      "[amqp consumer] lost",
                                          "[sapwood worker] x"};
        for (const std::string_view message : words) {
            CAPTURE(message);
            fill(at / "app.log", fmt::format("2026-11-21 22:39:56.000 17 info {}\n", message));
            CHECK(grep({"--where", fmt::format("message={}", message), at / "app.log"}).status ==
                  0);
        }
    }

    TEST_CASE("a message in logfmt is found as it was sent, a record's own as well") {
        const temporary_directory at;
        const std::string head =
            "time=2026-11-21T22:39:56.000000000Z level=info from=\"http 10.0.0.1:7\" ";
        fill(at / "app.log", head + R"(message="say \"hi\" \\x")" + "\n" + head +
                                 R"(tag=shop fields.message="paid \"all\"" said="a \"b\"")" + "\n");
        CHECK(grep({"--where", R"(message=say "hi" \x)", at / "app.log"}).status == 0);
        CHECK(grep({"--where", R"(message=paid "all")", at / "app.log"}).status == 0);
        CHECK(grep({"", at / "app.log"}).out ==
              R"(2026-11-21 22:39:56.000 info [http 10.0.0.1:7] say "hi" \\x)"
              "\n"
              R"(2026-11-21 22:39:56.000 info [http 10.0.0.1:7] paid "all" tag=shop said="a \"b\"")"
              "\n");
        CHECK(has(grep({"--json", "paid", at / "app.log"}).out,
                  R"("message":"paid \"all\"","fields":{"tag":"shop","said":"a \"b\""}})"));
    }

    TEST_CASE("a text that only looks like an object is no record, and forges no member") {
        const temporary_directory at;
        const std::string head = "2026-11-21 22:39:56.000 0 info [http 10.0.0.1:7] ";
        const auto shown = [&](const std::string& message) {
            fill(at / "app.log", head + message + "\n");
            return grep({"--json", "", at / "app.log"}).out;
        };
        const std::string known = R"({"time":"2026-11-21T22:39:56.000000000Z","level":"info",)"
                                  R"("thread":"0","from":"http 10.0.0.1:7",)";
        CHECK(shown(R"({"a":1},"from":"unix pid=1 uid=0 gid=0","level":"critical","x":{"b":1})") ==
              known + R"("message":"{\"a\":1},\"from\":\"unix pid=1 uid=0 gid=0\",)"
                      R"(\"level\":\"critical\",\"x\":{\"b\":1}"})"
                      "\n");
        CHECK(shown("{no JSON user=8 }") == known + "\"message\":\"{no JSON user=8 }\"}\n");
        if (has_json()) {
            CHECK(shown(R"({"a":{"b":1}})") == known + R"("record":{"a":{"b":1}}})" + "\n");
        }
    }

    TEST_CASE("a field that is empty is one in --json, too") {
        const temporary_directory at;
        fill(at / "app.log", "time=2026-11-21T22:39:56Z level=info msg=x a=\"\" b= c=1\n");
        CHECK(has(grep({"--json", "", at / "app.log"}).out,
                  R"("message":"x","fields":{"a":"","b":"","c":"1"}})"));
    }

    TEST_CASE("a key that had to be escaped is found as it was said") {
        const temporary_directory at;
        const std::string time = "2026-11-21T22:39:56.000000000Z";
        const auto found = [&](const std::string& line, const std::string& wanted) {
            fill(at / "app.log", line + "\n");
            return grep({"--where", wanted, at / "app.log"}).status == 0;
        };
        for (const std::string& head :
             {"time=" + time + " level=info from=\"http 10.0.0.1:7\" ", time + " 17 info "}) {
            CAPTURE(head);
            CHECK(found(head + R"(a\x20b=1)", "a b=1"));
            CHECK(found(head + R"(a\x20b=1)", R"(a\x20b=1)")); // as it stands there
            CHECK(!found(head + R"(a\x20b=1)", "a b!=1"));
            CHECK(found(head + R"(a\x20b=1)", "a b!=2"));
            CHECK(found(head + R"(fields.a\x20\x22\nb=1)", "a \"\nb=1"));
            CHECK(found(head + R"(a\q=1)", R"(a\q=1)")); // as others may have it
            CHECK(!found(head + R"(a\q=1)", "aq=1"));
        }
    }

    TEST_CASE("in logfmt the line's own time is the first, and a number may be one") {
        const temporary_directory at;
        const auto is_of_1970 = [&](const std::string& line) {
            fill(at / "app.log", line + "\n");
            return grep({"--until", "1971-01-01", at / "app.log"}).status == 0;
        };
        const auto is_of_2026 = [&](const std::string& line) {
            fill(at / "app.log", line + "\n");
            return grep({"--since", "2026-11-21", "--until", "2026-11-22", at / "app.log"})
                       .status == 0;
        };
        const std::string head = "time=2026-11-21T22:39:56.000000000Z level=info from=\"unix\"";
        CHECK(is_of_2026(head + " ts=1970-01-02T00:00:00Z msg=x"));
        CHECK(is_of_2026(head + " ts=12.5 msg=x"));
        CHECK(is_of_2026(head + " time=1970-01-02T00:00:00Z level=error msg=x"));
        CHECK(!is_of_1970(head + " ts=1970-01-02T00:00:00Z msg=x"));
        CHECK(grep({"--level", "warning", at / "app.log"}).status == 1);
        CHECK(grep({"--where", "ts=1970-01-02T00:00:00Z", at / "app.log"}).status == 0);
        CHECK(is_of_2026("ts=1795300796.5 level=info msg=x"));
        CHECK(is_of_2026("ts=1795300796500 level=info msg=x"));
        CHECK(is_of_2026("ts=1.7953007965e9 level=info msg=x"));
        CHECK(is_of_2026("level=info time=0.035 ts=1795300796.5"));
        for (const std::string small : {"12.5", "0.035", "99999999", "1.5e3"}) {
            CAPTURE(small);
            CHECK(!is_of_1970("level=info method=GET time=" + small));
            CHECK(grep({"--where", "time=" + small, at / "app.log"}).status == 0);
        }
        CHECK(!is_of_2026("ts=1795300796x level=info msg=x"));
    }

    TEST_CASE("an older file that cannot be read costs no other, and names are shown escaped") {
        const temporary_directory at;
        const std::string log = at / "a\x1bpp.log";
        std::filesystem::create_symlink(at / "nowhere", log + ".1");
        fill(log + ".20261126T141236.123Z", line(1));
        fill(log, line(2));
        const auto done = grep({"number", log, log});
        CHECK(done.status == 2);
        CHECK(has(done.out, line(1)));
        CHECK(has(done.out, line(2)));
        CHECK(!has(done.out + done.err, "\x1b"));
        CHECK(has(done.out, R"(a\x1bpp.log:)"));
    }

    TEST_CASE("lines of any length are found, and space for lines to come is no line") {
        const temporary_directory at;
        const std::string filler(3 << 20, 'x');
        fill(at / "app.log",
             line(1) + filler + "needle" + filler + "\n" + line(2) + std::string(4096, '\0'));
        CHECK(grep({"needle", at / "app.log"}).out == filler + "needle" + filler + "\n");
        CHECK(grep({"-c", "", at / "app.log"}).out == "3\n");
    }
}
