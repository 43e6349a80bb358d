// sapwood tail, from outside: the last lines of a log, and each line to come once, whatever becomes
// of its file.
#include "support/hostile_strings.hpp"
#include "support/numbered_lines.hpp"
#include "support/program.hpp"
#include "support/temporary_directory.hpp"

#include <sapwood/logger.hpp>
#include <sapwood/numbered_line.hpp>
#include <sapwood/rotating_log_sink.hpp>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

namespace {

using namespace std::string_literals;
using sapwood::test::contents_of;
using sapwood::test::eventually;
using sapwood::test::fill;
using sapwood::test::program;
using sapwood::test::run_program;
using sapwood::test::temporary_directory;

bool has(std::string_view text, std::string_view what) {
    return text.find(what) != text.npos;
}

std::string line(int number, std::string_view importance = "info") {
    return fmt::format("2026-11-21 22:39:56.{:03} 17 {} number {}\n", number % 1000, importance,
                       number);
}

std::string lines(int first, int last) {
    std::string text;
    for (int i = first; i <= last; ++i) {
        text += line(i);
    }
    return text;
}

/// A line of a durable log.
std::string numbered(int number) {
    std::string text = line(number);
    text.pop_back();
    return sapwood::test::numbered(static_cast<std::uint64_t>(number), text);
}

void append(const std::string& path, std::string_view text) {
    std::ofstream(path, std::ios::binary | std::ios::app) << text;
}

/// `tail -f` of a log that has one line, which it has shown.
class following {
  public:
    explicit following(std::vector<std::string> options = {}) {
        if (::access(log.c_str(), F_OK) != 0) {
            fill(log, line(0));
        }
        options.insert(options.begin(), {"tail", "-f"});
        options.push_back(log);
        tail_ = std::make_unique<program>("sapwood", std::move(options));
        eventually([this] { return !tail_->out_so_far().empty(); });
    }

    [[nodiscard]] std::string out() const { return tail_->out_so_far(); }

    [[nodiscard]] pid_t pid() const noexcept { return tail_->pid(); }

    /// Waits until it has shown this at its end.
    void expect(std::string_view last) {
        eventually([&] { return tail_->out_so_far().ends_with(last); });
    }

    program::outcome stop() {
        tail_->signal(SIGTERM);
        return tail_->wait();
    }

    temporary_directory directory;
    std::string log = directory / "app.log";

  private:
    std::unique_ptr<program> tail_;
};

/// The numbers in lines that end in `number N`, in order.
std::vector<int> numbers_in(std::string_view text) {
    std::vector<int> found;
    constexpr std::string_view word = " number ";
    for (auto at = text.find(word); at != text.npos; at = text.find(word, at + 1)) {
        found.push_back(std::atoi(text.data() + at + word.size()));
    }
    return found;
}

std::vector<int> count_to(int last) {
    std::vector<int> all;
    for (int i = 0; i <= last; ++i) {
        all.push_back(i);
    }
    return all;
}

/// What a logger writes whose file is rotated all the time, and what tail shows of it.
void follow_rotation(bool compress) {
    following tail;
    sapwood::rotating_log_sink_options file{.path = tail.log};
    file.bytes_max = 4'000;
    file.compress = compress;
    sapwood::logger_options options;
    try {
        options.outputs.push_back({.sink = std::make_unique<sapwood::rotating_log_sink>(file)});
    } catch (const std::invalid_argument& error) {
        MESSAGE("skipped: " << std::string(error.what()));
        return;
    }
    constexpr int last = 3000;
    {
        const sapwood::logger log(std::move(options));
        for (int i = 1; i <= last; ++i) {
            log.info("number {}", i);
            if (i % 20 == 0) {
                log.flush_blocking();
            }
        }
    }
    tail.expect(fmt::format(" number {}\n", last));
    const auto done = tail.stop();
    CHECK(numbers_in(done.out) == count_to(last));
    CHECK(!has(done.err, "was cut"));
}

} // namespace

TEST_SUITE("tail") {
    TEST_CASE(
        "the last lines are shown, ten where nothing is said, and all where there are fewer") {
        const temporary_directory at;
        fill(at / "app.log", lines(1, 5000));
        CHECK(run_program("sapwood", {"tail", at / "app.log"}).out == lines(4991, 5000));
        CHECK(run_program("sapwood", {"tail", "-n", "4000", at / "app.log"}).out ==
              lines(1001, 5000));
        CHECK(run_program("sapwood", {"tail", "-n", "9999", at / "app.log"}).out == lines(1, 5000));
        CHECK(run_program("sapwood", {"tail", "-n", "0", at / "app.log"}).out.empty());
        fill(at / "empty", "");
        CHECK(run_program("sapwood", {"tail", at / "empty"}).out.empty());
        fill(at / "torn", lines(1, 2) + "2026-11-21 22:39:56.000 17 info torn");
        CHECK(run_program("sapwood", {"tail", "-n", "1", at / "torn"}).out ==
              "2026-11-21 22:39:56.000 17 info torn\n");
        const auto missing = run_program("sapwood", {"tail", at / "missing"});
        CHECK(missing.status == 2);
        CHECK(has(missing.err, "cannot open " + (at / "missing")));
    }

    TEST_CASE("where the log has too few lines, those that were set aside have the rest") {
        const temporary_directory at;
        fill(at / "app.log.20261126T141236.123Z", lines(1, 100));
        fill(at / "app.log.20261126T141237.000Z", lines(101, 103));
        fill(at / "app.log.20261126T141237.000Z.tmp", "no segment\n");
        fill(at / "app.log.backup", "none either\n");
        fill(at / "app.log", lines(104, 105));
        CHECK(run_program("sapwood", {"tail", at / "app.log"}).out == lines(96, 105));
        CHECK(run_program("sapwood", {"tail", "-n", "3", at / "app.log"}).out == lines(103, 105));
    }

    TEST_CASE("only what is asked for counts: level, field, time") {
        const temporary_directory at;
        fill(at / "app.log", line(1, "error") + lines(2, 20) + line(21, "warning") +
                                 "2026-11-21 22:40:00.000 18 info paid user=7 name=\"a b\"\n" +
                                 "no record\n" + lines(22, 30));
        const auto tail = [&](std::vector<std::string> options) {
            options.insert(options.begin(), "tail");
            options.push_back(at / "app.log");
            return run_program("sapwood", std::move(options)).out;
        };
        CHECK(tail({"--level", "warn"}) == line(1, "error") + line(21, "warning"));
        CHECK(tail({"--level", "warning", "-n", "1"}) == line(21, "warning"));
        const std::string paid = "2026-11-21 22:40:00.000 18 info paid user=7 name=\"a b\"\n";
        CHECK(tail({"--where", "user=7"}) == paid);
        CHECK(tail({"--where", "name=a b", "--where", "thread=18"}) == paid);
        CHECK(tail({"--where", "user=8"}).empty());
        CHECK(tail({"-n", "1", "--where", "user!=7"}) == line(30));
        CHECK(tail({"--since", "2026-11-21T22:40:00"}) == paid);
        CHECK(tail({"--since", "2026-11-21T23:40:00+01:00"}) == paid);
        const auto wrong = run_program("sapwood", {"tail", "--since", "yesterday", at / "app.log"});
        CHECK(wrong.status == 2);
        CHECK(has(wrong.err, "--since: 'yesterday' is no time: give 2026-11-21"));
        const auto no_pair = run_program("sapwood", {"tail", "--where", "user", at / "app.log"});
        CHECK(no_pair.status == 2);
        CHECK(has(no_pair.err, "--where is key=value"));
    }

    TEST_CASE("numbered lines are shown without number and checksum, unless they are asked for") {
        const temporary_directory at;
        fill(at / "app.log", numbered(1) + numbered(2));
        CHECK(run_program("sapwood", {"tail", at / "app.log"}).out == lines(1, 2));
        CHECK(run_program("sapwood", {"tail", "--raw", at / "app.log"}).out ==
              numbered(1) + numbered(2));
        CHECK(run_program("sapwood", {"tail", "--json", "-n", "1", at / "app.log"}).out ==
              R"({"number":2,"time":"2026-11-21T22:39:56.002000000Z","level":"info",)"
              R"("thread":"17","message":"number 2"})"
              "\n");
    }

    TEST_CASE(
        "a record of the collector's is one in JSON, or it is said that this build reads none") {
        const temporary_directory at;
        fill(at / "app.log", "2026-11-21 22:39:58.000 0 error [http 127.0.0.1:7] {\"user\":7}\n");
        for (const std::string command : {"tail", "grep"}) {
            CAPTURE(command);
            std::vector<std::string> arguments{command, "--json", at / "app.log"};
            if (command == "grep") {
                arguments.insert(arguments.begin() + 1, "user");
            }
            const auto done = run_program("sapwood", arguments);
            CHECK(done.status == 0);
            const bool is_record = has(done.out, R"("record":{"user":7})");
            CHECK(has(done.err, "built without simdjson") == !is_record);
            CHECK(has(done.out, R"("message":"{\"user\":7}")") == !is_record);
        }
    }

    TEST_CASE("JSON, logfmt and the collector's lines are shown as text") {
        const temporary_directory at;
        fill(
            at / "app.log",
            R"({"time":"2026-11-21T22:39:56.123456789Z","level":"warning","thread":12,)"
            R"("logger":"db","message":"cache \"miss\"","fields":{"key":"a b","age":12.5,"x":{"y":[1]}}})"
            "\n"
            R"(time=2026-11-21T22:39:57.000000000Z level=info thread=12 message="it is" user=7)"
            "\n"
            R"(2026-11-21 22:39:58.000 0 error [http 127.0.0.1:7] {"level":"error","msg":"paid","user":7})"
            "\n");
        const auto done = run_program("sapwood", {"tail", at / "app.log"});
        if (!has(done.out, "12 warning db")) {
            MESSAGE("skipped: built without simdjson");
            return;
        }
        CHECK(done.out ==
              "2026-11-21 22:39:56.123 12 warning db cache \"miss\" key=\"a b\" age=12.5 "
              "x={\"y\":[1]}\n"
              "2026-11-21 22:39:57.000 12 info it is user=7\n"
              "2026-11-21 22:39:58.000 0 error [http 127.0.0.1:7] paid user=7\n");
        const auto where = [&](const std::string& what) {
            const auto found =
                run_program("sapwood", {"tail", "--where", what, at / "app.log"}).out;
            return std::ranges::count(found, '\n');
        };
        CHECK(where("user=7") == 2);
        CHECK(where("key=a b") == 1);
        CHECK(where("age=12.5") == 1);
        CHECK(where("x.y=[1]") == 1);
        CHECK(where("message=paid") == 1);
        CHECK(where("logger=db") == 1);
        fill(at / "app.log", R"(time=2026-11-21T22:39:57.000000000Z level=info message=it )"
                             R"(a\x20b=1 c\x3dd=2)"
                             "\n");
        CHECK(has(run_program("sapwood", {"tail", at / "app.log"}).out,
                  R"(it a\x20b=1 c\x3dd=2)")); // escaped once, as it stands there
        fill(at / "app.log",
             "2026-11-21 22:39:58.000 0 info [http 127.0.0.1:7] {no JSON user=8 }\n");
        CHECK(where("user=8") == 1);
        CHECK(where("user=7") == 0);
    }

    TEST_CASE("hostile bytes never reach the output as text, nor a terminal in any form") {
        const temporary_directory at;
        std::string text;
        for (std::string each : sapwood::test::hostile_strings()) {
            std::erase(each, '\n');
            text += "2026-11-21 22:39:56.000 17 info " + each + "\n";
            text += each + "\n";
        }
        text += "2026-11-21 22:39:56.000 17 info \x1b]0;title\x07 \xc2\x9b\n";
        fill(at / "app.log", text);
        const auto is_safe = [](std::string_view shown) {
            return std::ranges::none_of(shown,
                                        [](char c) {
                                            const auto byte = static_cast<unsigned char>(c);
                                            return (byte < 0x20 && c != '\n') || byte == 0x7f;
                                        }) &&
                   !has(shown, "\xc2\x9b") && !has(shown, "\xe2\x80\xae");
        };
        for (const char* const command : {"tail", "grep"}) {
            std::vector<std::string> arguments{command, at / "app.log"};
            if (command == "grep"s) {
                arguments.insert(arguments.begin() + 1, ""); // it is in each
            } else {
                arguments.insert(arguments.end(), {"-n", "100000"});
            }
            const auto done = run_program("sapwood", arguments);
            CHECK(has(done.out, R"(\x1b]0;title\x07 \xc2\x9b)"));
            CHECK(is_safe(done.out));
            // The same on a terminal, where they are asked for as they are.
            const int master = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
            REQUIRE(master >= 0);
            REQUIRE(::grantpt(master) == 0);
            REQUIRE(::unlockpt(master) == 0);
            const int terminal = ::open(::ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
            arguments.emplace_back("--raw");
            program on_terminal("sapwood", arguments,
                                {.prepare = [terminal] { ::dup2(terminal, STDOUT_FILENO); }});
            std::string shown;
            eventually([&] {
                char piece[4096];
                const auto got = ::read(master, piece, sizeof(piece));
                shown.append(piece, got > 0 ? static_cast<std::size_t>(got) : 0);
                return has(shown, R"(\xc2\x9b)"
                                  "\r\n");
            });
            std::erase(shown, '\r'); // the terminal's own
            CHECK(is_safe(shown));
            CHECK(on_terminal.wait().status == 0);
            ::close(master);
            ::close(terminal);
        }
    }

    TEST_CASE("levels are coloured on a terminal only, or where it is asked for") {
        const temporary_directory at;
        fill(at / "app.log", line(1, "error"));
        CHECK(!has(run_program("sapwood", {"tail", at / "app.log"}).out, "\x1b"));
        CHECK(run_program("sapwood", {"tail", "--color", "always", at / "app.log"}).out ==
              "2026-11-21 22:39:56.001 17 \x1b[31merror\x1b[0m number 1\n");
    }

    TEST_CASE("lines to come are shown when they are whole") {
        following tail;
        append(tail.log, line(1) + "2026-11-21 22:39:56.002 17 info nu");
        tail.expect(line(1));
        append(tail.log, "mber 2\n");
        tail.expect(line(2));
        CHECK(tail.out() == lines(0, 2));
    }

    TEST_CASE("every line is shown once while its writer rotates the file") {
        follow_rotation(false);
    }

    TEST_CASE("every line is shown once while what is rotated is compressed at once") {
        follow_rotation(true);
    }

    TEST_CASE("who has renamed it and who still writes to the old file are both followed") {
        following tail;
        std::ofstream writer(tail.log, std::ios::binary | std::ios::app);
        for (int round = 0; round < 3; ++round) {
            if (round > 0) {
                std::filesystem::rename(tail.log + ".1", tail.log + ".2");
            }
            std::filesystem::rename(tail.log, tail.log + ".1");
            fill(tail.log, ""); // as logrotate's `create` does
            writer << line(2 * round + 1) << std::flush;
            tail.expect(line(2 * round + 1));
            writer = std::ofstream(tail.log, std::ios::binary | std::ios::app);
            writer << line(2 * round + 2) << std::flush;
            tail.expect(line(2 * round + 2));
        }
        CHECK(tail.out() == lines(0, 6));
    }

    TEST_CASE("a file that was set aside is watched no longer than it is followed") {
        following tail;
        const auto watches = [&] {
            const std::string process = fmt::format("/proc/{}/", tail.pid());
            std::ptrdiff_t count = 0;
            for (const auto& each : std::filesystem::directory_iterator(process + "fd")) {
                const std::string about =
                    contents_of(process + "fdinfo/" + each.path().filename().string());
                for (auto at = about.find("inotify wd:"); at != about.npos;
                     at = about.find("inotify wd:", at + 1)) {
                    ++count;
                }
            }
            return count;
        };
        eventually([&] { return watches() == 2; }); // the directory, and the log
        constexpr int last = 3;
        for (int i = 1; i <= last; ++i) {
            std::filesystem::rename(tail.log, fmt::format("{}.{}", tail.log, last + 1 - i));
            fill(tail.log, line(i));
            tail.expect(line(i));
        }
        CHECK(watches() > 2);
        eventually([&] { return watches() == 2; }); // five seconds behind
        append(tail.log, line(last + 1));
        tail.expect(line(last + 1));
        CHECK(tail.out() == lines(0, last + 1));
    }

    TEST_CASE("a log that is removed, or not there yet, is waited for") {
        following tail;
        std::filesystem::remove(tail.log);
        fill(tail.log, lines(1, 2));
        tail.expect(line(2));
        CHECK(tail.out() == lines(0, 2));

        const temporary_directory at;
        program early("sapwood", {"tail", "-f", at / "app.log"});
        fill(at / "app.log", lines(0, 1));
        eventually([&] { return early.out_so_far() == lines(0, 1); });
        early.signal(SIGTERM);
        early.wait();
    }

    TEST_CASE("what is told of a log reaches no terminal as it stands in its name") {
        const temporary_directory at;
        const std::string log = at / "a\x1bpp.log";
        const std::string shown = R"(/a\x1bpp.log)";
        program tail("sapwood", {"tail", "-f", log});
        eventually([&] { return has(tail.err_so_far(), "is not there; waits for it\n"); });
        fill(log, lines(1, 3));
        eventually([&] { return tail.out_so_far() == lines(1, 3); });
        fill(log, line(4));
        eventually([&] { return tail.out_so_far() == lines(1, 4); });
        std::filesystem::remove(log);
        eventually([&] { return has(tail.err_so_far(), "is gone; waits for it\n"); });
        tail.signal(SIGTERM);
        const std::string err = tail.wait().err;
        CHECK(has(err, shown + " is not there; waits for it\n"));
        CHECK(has(err, shown + " was cut; goes on at its begin\n"));
        CHECK(has(err, shown + " is gone; waits for it\n"));
        CHECK(!has(err, "\x1b"));
        fill(log, line(5));
        fill(log + ".1.gz", "?");
        const std::string left_out = run_program("sapwood", {"stats", log}).err;
        CHECK(has(left_out, shown + ".1.gz is left out"));
        CHECK(!has(left_out, "\x1b"));
    }

    TEST_CASE("a log that is cut is begun anew, and that is told") {
        following tail;
        append(tail.log, lines(1, 5));
        tail.expect(line(5));
        fill(tail.log, line(6));
        tail.expect(line(6));
        const auto done = tail.stop();
        CHECK(done.out == lines(0, 6));
        CHECK(has(done.err, "app.log was cut; goes on at its begin"));
    }

    TEST_CASE("what a new segment of a durable log has once more is shown once") {
        following tail({"-n", "1"});
        append(tail.log, numbered(1) + numbered(2) + numbered(3));
        tail.expect(line(3));
        // A sync of 2 and 3 has failed.
        std::filesystem::rename(tail.log, tail.log + ".0000000000000002");
        fill(tail.log + ".next", numbered(2) + numbered(3));
        std::filesystem::rename(tail.log + ".next", tail.log);
        append(tail.log, numbered(4));
        tail.expect(line(4));
        CHECK(tail.out() == lines(0, 4));
    }

    TEST_CASE("space for lines to come is none, and a torn line that is taken away is not shown") {
        following tail;
        const std::string zeros(8192, '\0');
        append(tail.log, line(1) + "torn" + zeros);
        tail.expect(line(1));
        // The writer was killed; recovery cuts, and goes on.
        std::filesystem::resize_file(tail.log, lines(0, 1).size());
        append(tail.log, line(2) + zeros);
        tail.expect(line(2));
        CHECK(tail.out() == lines(0, 2));
        std::fstream(tail.log, std::ios::binary | std::ios::in | std::ios::out)
                .seekp(static_cast<std::streamoff>(lines(0, 2).size()))
            << line(3);
        tail.expect(line(3));
        const auto done = tail.stop();
        CHECK(done.out == lines(0, 3));
        CHECK(!has(done.err, "was cut"));
    }

    TEST_CASE("a NUL in a line makes no two of it, neither late nor forged") {
        following tail;
        const std::string forged = "2026-11-21 22:39:56.000 17 info a" + "\0"s +
                                   "2026-11-21 22:39:57.000 17 error forged\n";
        std::string many;
        for (int i = 0; i < 50; ++i) {
            many += forged;
        }
        const auto began = std::chrono::steady_clock::now();
        append(tail.log, many + line(1));
        tail.expect(line(1));
        CHECK(std::chrono::steady_clock::now() - began < std::chrono::seconds(20));
        CHECK(std::ranges::count(tail.out(), '\n') == 52);
        CHECK(!has(tail.out(), "\n2026-11-21 22:39:57"));
    }

    TEST_CASE("what logrotate compresses under a number is not shown again") {
        if (std::system("zstd --version > /dev/null 2>&1") != 0) {
            MESSAGE("skipped: zstd is not installed");
            return;
        }
        following tail;
        const auto run = [](const std::string& command) {
            REQUIRE(std::system(command.c_str()) == 0);
        };
        append(tail.log, line(1));
        tail.expect(line(1));
        // Once, so that it has seen a packed file of that number.
        run(fmt::format("zstd -q --rm {0} -o {0}.1.zst", tail.log));
        fill(tail.log, line(2));
        tail.expect(line(2));
        append(tail.log, line(3));
        tail.expect(line(3));
        run(fmt::format("mv {0}.1.zst {0}.2.zst; zstd -q --rm {0} -o {0}.1.zst", tail.log));
        fill(tail.log, line(4));
        tail.expect(line(4));
        CHECK(tail.out() == lines(0, 4));
    }

    TEST_CASE("a new file that cannot be opened is told, once") {
        const temporary_directory at;
        const std::string log = at / "app.log";
        fill(log, line(0));
        const int err = ::open((at / "err").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        program tail("sapwood", {"tail", "-f", log}, {.err = err});
        ::close(err);
        eventually([&] { return tail.out_so_far() == line(0); });
        std::filesystem::rename(log, log + ".1");
        REQUIRE(::mknod(log.c_str(), S_IFSOCK | 0600, 0) == 0);
        eventually([&] { return has(contents_of(at / "err"), "cannot open " + log); });
        std::filesystem::remove(log);
        fill(log, line(1));
        eventually([&] { return tail.out_so_far() == lines(0, 1); });
        const std::string said = contents_of(at / "err");
        CHECK(said.find("cannot open") == said.rfind("cannot open"));
        tail.signal(SIGTERM);
        tail.wait();
    }

    TEST_CASE("an older file that cannot be read is told, and costs no other") {
        const temporary_directory at;
        fill(at / "app.log.4", lines(1, 2));
        fill(at / "app.log.3.zst", "no zstd");
        std::filesystem::create_directory(at / "app.log.2");
        std::filesystem::create_symlink(at / "nowhere", at / "app.log.1");
        fill(at / "app.log", lines(3, 4));
        const auto done = run_program("sapwood", {"tail", at / "app.log"});
        CHECK(done.status == 0);
        CHECK(done.out.ends_with(lines(3, 4)));
        for (const char* const name : {"app.log.1", "app.log.2", "app.log.3.zst"}) {
            CHECK(has(done.err, name));
        }
    }

    TEST_CASE("a line without an end, and zeros before one, take no more time than reading them") {
        const temporary_directory at;
        const std::string zeros(8u << 20, '\0');
        const std::string filler(8u << 20, 'x');
        fill(at / "zeros", zeros + line(1) + zeros + line(2));
        CHECK(run_program("sapwood", {"tail", at / "zeros"}).out == lines(1, 2));
        CHECK(run_program("sapwood", {"tail", "-n", "1", at / "zeros"}).out == line(2));
        fill(at / "long", line(1) + filler + "\n" + line(2));
        CHECK(run_program("sapwood", {"tail", at / "long"}).out ==
              line(1) + filler + "\n" + line(2));
    }

    TEST_CASE("who reads the begin of many lines and goes is no failure") {
        const temporary_directory at;
        fill(at / "app.log", lines(1, 50000));
        int ends[2];
        REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
        program tail("sapwood", {"tail", "-n", "50000", at / "app.log"}, {.prepare = [&] {
                         ::dup2(ends[1], STDOUT_FILENO);
                         ::signal(SIGPIPE, SIG_DFL);
                     }});
        ::close(ends[1]);
        char byte = 0;
        CHECK(::read(ends[0], &byte, 1) == 1);
        ::close(ends[0]);
        CHECK(tail.wait().status == 0);
    }

    TEST_CASE("what is no number of lines, and what is no file, is refused in plain words") {
        const temporary_directory at;
        fill(at / "app.log", lines(1, 3));
        for (const std::string count : {"-1", "x", "1.5", ""}) {
            const auto done = run_program("sapwood", {"tail", "-n", count, at / "app.log"});
            CHECK(done.status == 2);
            CHECK(done.out == "");
            CHECK(has(done.err, "--lines: say a whole number, not '" + count + "'"));
        }
        const auto folder = run_program("sapwood", {"tail", at / ""});
        CHECK(folder.status == 2);
        CHECK(has(folder.err, " is not a file, but a directory\n"));
    }

    TEST_CASE("when nobody reads the output any more it ends, with nothing to say") {
        const temporary_directory at;
        fill(at / "app.log", lines(1, 3));
        int ends[2];
        REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
        program tail("sapwood", {"tail", "-f", at / "app.log"},
                     {.prepare = [&] { ::dup2(ends[1], STDOUT_FILENO); }});
        ::close(ends[1]);
        std::string shown(lines(1, 3).size(), ' ');
        CHECK(::read(ends[0], shown.data(), shown.size()) == static_cast<ssize_t>(shown.size()));
        CHECK(shown == lines(1, 3));
        ::close(ends[0]);
        const auto done = tail.wait();
        CHECK(done.status == 0);
        CHECK(done.err == "");
    }
}
