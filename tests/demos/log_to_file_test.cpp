// demos/log_to_file, from outside: every line once, and a word for everything that goes wrong.
#include "support/program.hpp"
#include "support/temporary_directory.hpp"

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdlib>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <sys/resource.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

using namespace std::string_view_literals;
using sapwood::test::contents_of;
using sapwood::test::eventually;
using sapwood::test::fill;
using sapwood::test::program;
using sapwood::test::run_program;
using sapwood::test::temporary_directory;

class pipe_ends {
  public:
    pipe_ends() { REQUIRE(::pipe2(fds_.data(), O_CLOEXEC) == 0); }

    pipe_ends(const pipe_ends&) = delete;
    pipe_ends& operator=(const pipe_ends&) = delete;

    ~pipe_ends() {
        close_end(0);
        close_end(1);
    }

    [[nodiscard]] int reader() const { return fds_[0]; }

    [[nodiscard]] int writer() const { return fds_[1]; }

    void close_writer() { close_end(1); }

  private:
    void close_end(std::size_t which) {
        if (fds_[which] >= 0) {
            ::close(std::exchange(fds_[which], -1));
        }
    }

    std::array<int, 2> fds_{};
};

void put(int fd, std::string_view text) {
    while (!text.empty()) {
        const ssize_t written = ::write(fd, text.data(), text.size());
        REQUIRE(written > 0);
        text.remove_prefix(static_cast<std::size_t>(written));
    }
}

std::string make_fifo(const temporary_directory& directory, std::string_view name) {
    const auto path = directory / name;
    REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
    return path;
}

std::vector<std::string> lines_of(const std::string& text) {
    std::istringstream stream(text);
    std::vector<std::string> lines;
    for (std::string line; std::getline(stream, line);) {
        lines.push_back(line);
    }
    return lines;
}

std::string numbered(std::string_view name, int count) {
    std::string text;
    for (int i = 1; i <= count; ++i) {
        text += fmt::format("{} line {} {}\n", name, i,
                            std::string(static_cast<std::size_t>(i % 90), '.'));
    }
    return text;
}

bool says(const program::outcome& ran, std::string_view what) {
    return ran.err.find(what) != std::string::npos;
}

} // namespace

TEST_SUITE("log_to_file") {

    // --- lines ---

    TEST_CASE("bytes stay as they are, and a last line gets its newline") {
        const temporary_directory directory;
        const auto log = directory / "log";
        const auto text = "one\r\n\n\ntwo\0\x1b[31m\xff\xfe\\n\n\0\n last"sv;
        pipe_ends pipe;
        put(pipe.writer(), text);
        pipe.close_writer();
        const auto ran = run_program("log_to_file", {"--out", log}, {.in = pipe.reader()});
        CHECK(ran.status == 0);
        CHECK(ran.out.empty());
        CHECK(says(ran, "6 lines"));
        CHECK(contents_of(log) == std::string(text) + "\n");
    }

    TEST_CASE("files, FIFOs and standard input are merged: each line once, each input in order") {
        const temporary_directory directory;
        const auto log = directory / "log";
        std::vector<std::string> arguments{"--out", log};
        std::vector<std::string> texts;
        for (int i = 0; i < 3; ++i) {
            const auto name = fmt::format("file{}", i);
            texts.push_back(numbered(name, 20'000));
            fill(directory / name, texts.back());
            arguments.push_back(directory / name);
        }
        fill(directory / "empty", "");
        arguments.push_back(directory / "empty");
        std::vector<std::jthread> writers;
        for (int i = 0; i < 3; ++i) {
            const auto name = fmt::format("fifo{}", i);
            const auto path = make_fifo(directory, name);
            texts.push_back(numbered(name, 5'000));
            arguments.push_back(path);
            writers.emplace_back([path, text = texts.back()] { std::ofstream(path) << text; });
        }
        pipe_ends pipe;
        texts.push_back(numbered("stdin", 5'000));
        arguments.emplace_back("-");
        program merging("log_to_file", arguments, {.in = pipe.reader()});
        put(pipe.writer(), texts.back());
        pipe.close_writer();
        const auto ran = merging.wait();
        CHECK(ran.status == 0);
        CHECK(says(ran, "80000 lines"));
        CHECK(says(ran, "from 8 inputs"));

        // A line begins with its input's name: what is left of the others is that input.
        const auto lines = lines_of(contents_of(log));
        CHECK(lines.size() == 80'000);
        for (const auto& text : texts) {
            const auto name = text.substr(0, text.find(' ') + 1);
            std::string found;
            for (const auto& line : lines) {
                if (line.starts_with(name)) {
                    found += line + "\n";
                }
            }
            CHECK(found == text);
        }
    }

    TEST_CASE("a line longer than any read is kept whole, one past the maximum is cut and told") {
        const temporary_directory directory;
        const auto log = directory / "log";
        const std::string long_line(1'000'000, 'x');
        constexpr std::size_t line_bytes_max = 16u << 20;
        fill(directory / "in", "before\n" + long_line + "\nafter\n" +
                                   std::string(line_bytes_max + 5, 'y') + "\nend\n");
        const auto ran = run_program("log_to_file", {"--out", log, directory / "in"});
        CHECK(ran.status == 0);
        CHECK(contents_of(log) == "before\n" + long_line + "\nafter\n" +
                                      std::string(line_bytes_max, 'y') + "\nyyyyy\nend\n");
        CHECK(says(ran, "lines longer than 16 MiB were cut 1 time"));
    }

    TEST_CASE("lines are appended to the log") {
        const temporary_directory directory;
        const auto log = directory / "log";
        fill(log, "before\n");
        fill(directory / "in", "after\n");
        CHECK(run_program("log_to_file", {"--out", log, directory / "in"}).status == 0);
        CHECK(contents_of(log) == "before\nafter\n");
    }

    TEST_CASE("a file may be given twice and is then merged twice") {
        const temporary_directory directory;
        fill(directory / "in", "a\nb\n");
        const auto in = directory / "in";
        CHECK(run_program("log_to_file", {"--out", directory / "log", in, in}).status == 0);
        CHECK(lines_of(contents_of(directory / "log")).size() == 4);
    }

    TEST_CASE("a torn last line of the log is moved aside and told") {
        const temporary_directory directory;
        const auto log = directory / "log";
        fill(log, "whole\ntorn");
        fill(directory / "in", "new\n");
        const auto ran = run_program("log_to_file", {"--out", log, directory / "in"});
        CHECK(ran.status == 0);
        CHECK(contents_of(log) == "whole\nnew\n");
        CHECK(contents_of(log + ".torn") == "torn\n");
        CHECK(says(ran, "torn line of 4 bytes"));
    }

    // --- inputs that keep one waiting ---

    TEST_CASE("a FIFO without a writer holds nobody up, and Ctrl-C ends the wait") {
        const temporary_directory directory;
        const auto log = directory / "log";
        const auto fifo = make_fifo(directory, "fifo");
        fill(directory / "in", "a line\n");
        program merging("log_to_file", {"--out", log, fifo, directory / "in"});
        eventually([&] { return contents_of(log) == "a line\n"; });
        merging.signal(SIGINT);
        const auto ran = merging.wait();
        CHECK(ran.status == 130);
        CHECK(says(ran, "not read to the end: 1 input"));
    }

    TEST_CASE("a FIFO that is opened and closed without a word ends") {
        const temporary_directory directory;
        const auto fifo = make_fifo(directory, "fifo");
        std::jthread writer([fifo] { ::close(::open(fifo.c_str(), O_WRONLY)); });
        const auto ran = run_program("log_to_file", {"--out", directory / "log", fifo});
        CHECK(ran.status == 0);
        CHECK(contents_of(directory / "log").empty());
    }

    TEST_CASE("a FIFO ends with the last of its writers") {
        const temporary_directory directory;
        const auto log = directory / "log";
        const auto fifo = make_fifo(directory, "fifo");
        program merging("log_to_file", {"--out", log, fifo});
        const int one = ::open(fifo.c_str(), O_WRONLY | O_CLOEXEC);
        const int other = ::open(fifo.c_str(), O_WRONLY | O_CLOEXEC);
        put(one, "one\n");
        ::close(one);
        eventually([&] { return contents_of(log) == "one\n"; });
        put(other, "other\n");
        ::close(other);
        CHECK(merging.wait().status == 0);
        CHECK(contents_of(log) == "one\nother\n");
    }

    TEST_CASE("a non-blocking standard input is read to its end and stays non-blocking") {
        const temporary_directory directory;
        for (const bool is_fifo : {false, true}) {
            CAPTURE(is_fifo);
            const auto log = directory / (is_fifo ? "log1" : "log2");
            pipe_ends pipe;
            int reader = pipe.reader();
            int writer = pipe.writer();
            if (is_fifo) {
                const auto path = make_fifo(directory, "fifo");
                reader = ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
                writer = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
            }
            ::fcntl(reader, F_SETFL, O_NONBLOCK);
            program merging("log_to_file", {"--out", log}, {.in = reader});
            for (const auto text : {"first\n"sv, "second\n"sv}) {
                put(writer, text);
                eventually([&] { return contents_of(log).ends_with(text); });
            }
            CHECK((::fcntl(reader, F_GETFL) & O_NONBLOCK) != 0);
            if (is_fifo) {
                ::close(writer);
            } else {
                pipe.close_writer();
            }
            CHECK(merging.wait().status == 0);
            CHECK(contents_of(log) == "first\nsecond\n");
            if (is_fifo) {
                ::close(reader);
            }
        }
    }

    TEST_CASE("lines are in the log as soon as there are no more") {
        const temporary_directory directory;
        const auto log = directory / "log";
        pipe_ends pipe;
        program merging("log_to_file", {"--out", log}, {.in = pipe.reader()});
        for (int i = 1; i <= 20; ++i) {
            put(pipe.writer(), fmt::format("{}\n", i));
            eventually([&] { return contents_of(log).ends_with(fmt::format("{}\n", i)); });
        }
        pipe.close_writer();
        CHECK(merging.wait().status == 0);
    }

    // --- signals ---

    TEST_CASE("on SIGINT and SIGTERM all whole lines that were read are written") {
        const temporary_directory directory;
        for (const int number : {SIGINT, SIGTERM}) {
            CAPTURE(number);
            const auto log = directory / std::to_string(number);
            pipe_ends pipe;
            program merging("log_to_file", {"--out", log}, {.in = pipe.reader()});
            const auto text = numbered("stdin", 100);
            put(pipe.writer(), text + "begun");
            eventually([&] { return contents_of(log) == text; });
            merging.signal(number);
            const auto ran = merging.wait();
            CHECK(ran.status == 128 + number);
            CHECK(contents_of(log) == text);
            CHECK(says(ran, "100 lines"));
            CHECK(says(ran, "of lines that had only begun: 5 bytes"));
        }
    }

    TEST_CASE("a signal in the middle of much input leaves whole lines, as many as are told") {
        const temporary_directory directory;
        const auto log = directory / "log";
        const auto text = numbered("file", 2'000'000);
        fill(directory / "in", text);
        program merging("log_to_file", {"--out", log, directory / "in"});
        eventually(
            [&] { return std::filesystem::exists(log) && std::filesystem::file_size(log) > 0; });
        merging.signal(SIGTERM);
        const auto ran = merging.wait();
        // It may have been faster.
        CHECK((ran.status == 143 || ran.status == 0));
        const auto contents = contents_of(log);
        CHECK(text.starts_with(contents));
        CHECK(contents.ends_with('\n'));
        CHECK(says(ran, fmt::format("log_to_file: {} lines",
                                    std::count(contents.begin(), contents.end(), '\n'))));
    }

    // --- what goes wrong ---

    TEST_CASE("inputs that cannot be opened are all named, and the log is not touched") {
        const temporary_directory directory;
        const auto log = directory / "log";
        fill(directory / "good", "line\n");
        const auto ran = run_program("log_to_file", {"--out", log, directory / "missing",
                                                     directory / "good", directory / ""});
        CHECK(ran.status == 1);
        CHECK(says(ran, (directory / "missing") + " for reading: No such file or directory"));
        CHECK(says(ran, "cannot read " + (directory / "") + ": Is a directory"));
        CHECK(!std::filesystem::exists(log));
    }

    TEST_CASE("a log that cannot be opened is named with the reason") {
        const temporary_directory directory;
        fill(directory / "in", "line\n");
        const auto log = directory / "missing/log";
        const auto ran = run_program("log_to_file", {"--out", log, directory / "in"});
        CHECK(ran.status == 1);
        CHECK(says(ran, log));
        CHECK(says(ran, "No such file or directory"));
    }

    TEST_CASE("a second writer is refused and the first is named") {
        const temporary_directory directory;
        const auto log = directory / "log";
        pipe_ends pipe;
        program first("log_to_file", {"--out", log}, {.in = pipe.reader()});
        put(pipe.writer(), "first\n");
        eventually([&] { return contents_of(log) == "first\n"; });

        fill(directory / "in", "second\n");
        const auto second = run_program("log_to_file", {"--out", log, directory / "in"});
        CHECK(second.status == 1);
        CHECK(says(second, fmt::format("process {} (log_to_file)", first.pid())));
        pipe.close_writer();
        CHECK(first.wait().status == 0);
        CHECK(contents_of(log) == "first\n");
    }

    TEST_CASE("the log cannot be its own input, under whatever name") {
        const temporary_directory directory;
        const auto log = directory / "log";
        fill(log, "line\n");
        std::filesystem::create_hard_link(log, directory / "hard");
        std::filesystem::create_symlink(log, directory / "soft");
        for (const auto& input : {log, directory / "hard", directory / "soft"}) {
            const auto ran = run_program("log_to_file", {"--out", log, input});
            CHECK(ran.status == 1);
            CHECK(says(ran, "input " + input + " is the log itself"));
        }
        const int in = ::open(log.c_str(), O_RDONLY | O_CLOEXEC);
        CHECK(run_program("log_to_file", {"--out", log}, {.in = in}).status == 1);
        ::close(in);
        CHECK(contents_of(log) == "line\n");
    }

    TEST_CASE("a stream that is given twice is refused: its lines would be torn") {
        const temporary_directory directory;
        const auto fifo = make_fifo(directory, "fifo");
        for (const std::vector<std::string>& inputs :
             {std::vector<std::string>{fifo, fifo}, {"-", "-"}, {"-", "/dev/stdin"}}) {
            pipe_ends pipe;
            pipe.close_writer();
            const auto ran =
                run_program("log_to_file", {"--out", directory / "log", inputs[0], inputs[1]},
                            {.in = pipe.reader()});
            CHECK(ran.status == 1);
            CHECK(says(ran, "same stream"));
        }
    }

    TEST_CASE("a standard input that is closed is an error") {
        const temporary_directory directory;
        const auto ran = run_program("log_to_file", {"--out", directory / "log"},
                                     {.prepare = [] { ::close(STDIN_FILENO); }});
        CHECK(ran.status == 1);
        CHECK(says(ran, "standard input"));
    }

    TEST_CASE("a standard error that is closed keeps nothing from being written") {
        const temporary_directory directory;
        fill(directory / "in", "line\n");
        const auto ran = run_program("log_to_file", {"--out", directory / "log", directory / "in"},
                                     {.prepare = [] { ::close(STDERR_FILENO); }});
        CHECK(ran.status == 0);
        CHECK(contents_of(directory / "log") == "line\n");
    }

    TEST_CASE("a log that takes no more is exit code 1, with path, reason and how much was lost") {
        const temporary_directory directory;
        const auto log = directory / "log";
        const auto text = numbered("file", 1'000); // read in one piece
        fill(directory / "in", text);
        // Another input that says nothing must not keep the program waiting.
        const auto fifo = make_fifo(directory, "fifo");
        const int silent = ::open(fifo.c_str(), O_RDWR | O_CLOEXEC);
        const auto ran =
            run_program("log_to_file", {"--out", log, directory / "in", fifo}, {.prepare = [] {
                            const rlimit limit{.rlim_cur = 10'000, .rlim_max = 10'000};
                            ::setrlimit(RLIMIT_FSIZE, &limit);
                        }});
        ::close(silent);
        CHECK(ran.status == 1);
        const auto contents = contents_of(log);
        CHECK(!contents.empty());
        CHECK(text.starts_with(contents));
        CHECK(contents.ends_with('\n'));
        const auto kept = std::count(contents.begin(), contents.end(), '\n');
        CHECK(says(ran, fmt::format("cannot write {}: File too large; lost: {} lines", log,
                                    1'000 - kept)));
    }

    // --- the terminal ---

    TEST_CASE("progress is shown on a terminal, and wiped away at the end") {
        const temporary_directory directory;
        const int terminal = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
        REQUIRE(terminal >= 0);
        REQUIRE(::grantpt(terminal) == 0);
        REQUIRE(::unlockpt(terminal) == 0);
        const int screen = ::open(::ptsname(terminal), O_RDWR | O_NOCTTY | O_CLOEXEC);
        REQUIRE(screen >= 0);
        ::fcntl(terminal, F_SETFL, O_NONBLOCK);
        std::string shown;
        const auto shows = [&](std::string_view what) {
            std::array<char, 4096> bytes{};
            const ssize_t got = ::read(terminal, bytes.data(), bytes.size());
            shown.append(bytes.data(), got > 0 ? static_cast<std::size_t>(got) : 0);
            return shown.find(what) != std::string::npos;
        };

        pipe_ends pipe;
        program merging("log_to_file", {"--out", directory / "log"},
                        {.in = pipe.reader(), .err = screen});
        ::close(screen);
        put(pipe.writer(), "line\n");
        eventually([&] { return shows("\r\x1b[K1 lines"); });
        pipe.close_writer();
        CHECK(merging.wait().status == 0);
        eventually([&] { return shows("\r\x1b[Klog_to_file: 1 line, "); });
        ::close(terminal);
    }

    // --- arguments ---

    TEST_CASE("a bad argument is exit code 2 and named, --help is neither") {
        const auto nothing = run_program("log_to_file", {});
        CHECK(nothing.status == 2);
        CHECK(says(nothing, "--out"));
        const auto unknown = run_program("log_to_file", {"--out", "x", "--unknown"});
        CHECK(unknown.status == 2);
        CHECK(says(unknown, "--unknown"));
        const auto helped = run_program("log_to_file", {"--help"});
        CHECK(helped.status == 0);
        for (const auto word : {"130 or 143"sv, "appended"sv, "FIFO"sv, "Exit status"sv}) {
            CHECK(helped.out.find(word) != std::string::npos);
        }
    }
}
