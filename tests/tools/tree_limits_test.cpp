// sapwood tree, from outside: what comes behind the end of its task, and what somebody makes up to
// have it take long, take much memory, or say what is not so.
#include "support/log_lines.hpp"
#include "support/program.hpp"
#include "support/temporary_directory.hpp"
#include "support/tree_records.hpp"

#include <sapwood/sanitizers.hpp>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <functional>
#include <iterator>
#include <set>
#include <string>
#include <string_view>
#include <sys/resource.h>
#include <sys/types.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

using sapwood::test::fill;
using sapwood::test::program;
using sapwood::test::run_program;
using sapwood::test::temporary_directory;
using sapwood::test::tree_record;

bool has(std::string_view text, std::string_view what) {
    return text.find(what) != text.npos;
}

std::size_t count(std::string_view text, std::string_view what) {
    std::size_t found = 0;
    for (auto at = text.find(what); at != text.npos; at = text.find(what, at + what.size())) {
        ++found;
    }
    return found;
}

program::outcome tree_of(const std::vector<std::string>& logs,
                         std::vector<std::string> arguments = {}) {
    const temporary_directory at;
    arguments.insert(arguments.begin(), "tree");
    for (std::size_t i = 0; i < logs.size(); ++i) {
        fill(at / fmt::format("log{}", i), logs[i]);
        arguments.push_back(at / fmt::format("log{}", i));
    }
    return run_program("sapwood", std::move(arguments));
}

const std::string started = R"("action_type":"work","action_status":"started")";
const std::string ended = R"("action_type":"work","action_status":"succeeded")";

std::string start(std::string_view task, std::string_view level) {
    return tree_record(task, level, 0, started);
}

std::string end(std::string_view task, std::string_view level) {
    return tree_record(task, level, 0, ended);
}

std::string message(std::string_view task, std::string_view level, std::string_view type) {
    return tree_record(task, level, 0, fmt::format(R"("message_type":"{}")", type));
}

/// Complete tasks whose records take so many bytes together.
std::string tasks_of(std::size_t bytes, std::string_view name = "other") {
    const std::string value(100'000, 'x');
    std::string log;
    for (int i = 0; log.size() < bytes; ++i) {
        const std::string id = fmt::format("{}-{}", name, i);
        log +=
            start(id, "1") + tree_record(id, "2", 0, "\"value\":\"" + value + "\"") + end(id, "3");
    }
    return log;
}

/// What `run` takes of the processor, in this process's children.
std::chrono::microseconds cpu_time_of(const std::function<void()>& run) {
    const auto now = [] {
        rusage all{};
        REQUIRE(::getrusage(RUSAGE_CHILDREN, &all) == 0);
        // Together they are measured; which of them it was the kernel guesses.
        return std::chrono::seconds(all.ru_utime.tv_sec + all.ru_stime.tv_sec) +
               std::chrono::microseconds(all.ru_utime.tv_usec + all.ru_stime.tv_usec);
    };
    const auto begin = now();
    run();
    return now() - begin;
}

/// Numbers that a table without a secret has side by side, however large it is.
std::vector<std::uint32_t> neighbours(std::size_t wanted, std::uint64_t one_in) {
    std::vector<std::uint32_t> found;
    for (std::uint32_t number = 2; found.size() < wanted; ++number) {
        std::uint64_t key = number;
        key ^= key >> 31;
        key *= 0x9e3779b97f4a7c15;
        key ^= key >> 29;
        if ((key & 0x3ffff) < 0x40000 / one_in) {
            found.push_back(number);
        }
    }
    return found;
}

/// Texts of 16 characters that have one hash in the standard library: of what it makes of the first
/// eight, the second eight make the same.
std::vector<std::string> texts_of_one_hash(std::size_t wanted) {
    constexpr std::uint64_t factor = 0xc6a4a7935bd1e995;
    std::uint64_t inverse = factor;
    while (factor * inverse != 1) {
        inverse *= 2 - factor * inverse;
    }
    const auto mixed = [](std::uint64_t word) { return word ^ word >> 47; };
    std::vector<std::string> found;
    for (std::uint64_t number = 0; found.size() < wanted; ++number) {
        // A letter for each four bits.
        std::uint64_t first = (number | number << 16) & 0x0000ffff0000ffff;
        first = (first | first << 8) & 0x00ff00ff00ff00ff;
        first = ((first | first << 4) & 0x0f0f0f0f0f0f0f0f) + 0x6161616161616161;
        const std::uint64_t state =
            ((0xc70f6907 ^ 16 * factor) ^ mixed(first * factor) * factor) * factor;
        const std::uint64_t second = mixed((state ^ 0x5a5a5a5a5a5a5a5a) * inverse) * inverse;
        if ((second & 0x8080808080808080) == 0) {
            std::string text(16, '?');
            std::memcpy(text.data(), &first, sizeof(first));
            std::memcpy(text.data() + sizeof(first), &second, sizeof(second));
            found.push_back(std::move(text));
        }
    }
    return found;
}

std::string escaped(std::string_view text) {
    std::string json;
    for (const char c : text) {
        fmt::format_to(std::back_inserter(json), "\\u{:04x}", static_cast<unsigned char>(c));
    }
    return json;
}

/// What the program needs for itself, and not much more.
constexpr rlim_t address_space_max = rlim_t{64} << 20;

} // namespace

TEST_SUITE("tree_limits") {
    TEST_CASE("what comes behind a complete tree that was printed makes nothing incomplete") {
        const std::string whole = start("u", "1") + end("u", "2");
        const std::string late = message("u", "3", "late");
        const std::string others = tasks_of(std::size_t{4} << 20);
        const std::string shown = "u (part 2: more of a task that is above)\n└── <unnamed>/1\n"
                                  "    └── late/3";
        const auto done = tree_of({whole + others + late});
        CHECK(done.err.empty());
        CHECK(has(done.out, shown));
        CHECK(tree_of({whole + others + late}, {"--incomplete"}).status == 1);
        CHECK(has(tree_of({whole + others + late}, {"--html"}).out, " 0 of them incomplete."));
        // Its places are forgotten meanwhile.
        const auto later =
            tree_of({whole + others + tasks_of(std::size_t{5} << 20, "more") + late});
        CHECK(later.err.empty());
        CHECK(has(later.out, shown));
        // Of what was begun there, it can be told.
        const auto open = tree_of({whole + others + start("u", "4,1") + late}, {"--incomplete"});
        CHECK(has(open.out, "u (part 2: more of a task that is above) (incomplete)\n"));
        CHECK(count(open.out, "missing") == 1);
        CHECK(has(open.out, "(its end is missing)"));
        CHECK(has(open.err, "1 of 1 task is incomplete"));
        CHECK(tree_of({whole + others + start("u", "3,1") + end("u", "3,2")}).err.empty());
    }

    TEST_CASE("who calls a field of his own task_uuid has broken nothing") {
        const std::string head = R"({"time":"2026-11-27T04:00:00Z","message":"hi","fields":{)";
        const std::string all = start("u", "1") + end("u", "2");
        const auto done = tree_of({head + "\"task_uuid\":\"mine\"}}\n" + head +
                                   "\"task_uuid\":7,\"task_level\":[1]}}\n" + head +
                                   "\"task_uuid\":\"mine\",\"task_level\":[0]}}\n" + all});
        CHECK(done.err.empty());
        CHECK(done.out == tree_of({all}).out);
    }

    TEST_CASE("a record without a time is not of 1970, and is on no time line") {
        const std::string place = " thread=7 task_uuid=u task_level=";
        const std::string log = "time=2026-11-27T04:00:00Z level=info" + place +
                                "/1 action_status=started message=save\nlevel=info" + place +
                                "/2 message=step\n" + "time=2026-11-27T04:00:01Z level=info" +
                                place + "/3 action_status=succeeded message=save\n";
        const auto done = tree_of({log});
        CHECK(has(done.out, "├── step/2 info\n"));
        CHECK(!has(done.out, "1970"));
        const auto page = tree_of({log}, {"--html"});
        CHECK(!has(page.out, "1970"));
        CHECK(has(page.out, "<u>1.000s</u> <i>3 records</i>"));
    }

    TEST_CASE("of a record with more fields than anybody reads the rest is counted") {
        std::string arrays = "[]";
        for (int i = 1; i < 20'000; ++i) {
            arrays += ",[]";
        }
        const std::string log = tree_record("u", "1", 0, "\"x\":[" + arrays + "],\"y\":{\"z\":1}");
        const auto done = tree_of({log});
        CHECK(count(done.out, ": []\n") == 9'999);
        CHECK(has(done.out, "    │   └── 9998: []\n    └── (10002 more fields are left out)\n"));
        CHECK(has(tree_of({log}, {"--html"}).out, "<dd>10002 more fields are left out</dd>"));
        CHECK(!has(tree_of({tree_record("u", "1", 0, "\"x\":[[],[]]")}).out, "left out"));
    }

    TEST_CASE("numbers and ids that somebody makes up take no longer than others") {
        constexpr std::size_t numbers = 30'000;
        const auto time_of_numbers = [&](const std::vector<std::uint32_t>& all) {
            std::string log;
            for (auto each = all.rbegin(); each != all.rend(); ++each) {
                log += message("u", fmt::format("{}", *each), "m");
            }
            return cpu_time_of([&] { CHECK(count(tree_of({log}).out, "── m/") == numbers); });
        };
        const auto no_longer_than = [](std::chrono::microseconds ordinary) {
            return 3 * ordinary + std::chrono::milliseconds(100);
        };
        CHECK(time_of_numbers(neighbours(numbers, 64)) <
              no_longer_than(time_of_numbers(neighbours(numbers, 1))));

        const std::vector<std::string> ids = texts_of_one_hash(10'000);
        std::set<std::size_t> hashes;
        for (const std::string& each : ids) {
            hashes.insert(std::hash<std::string_view>()(each));
        }
        REQUIRE(hashes.size() == 1);
        const auto time_of_ids = [&](char last) {
            std::string log;
            for (const std::string& each : ids) {
                // Its last eight follow from its first: another one has another hash.
                log += start(escaped(each.substr(0, 15) + (last != 0 ? last : each[15])), "1");
            }
            return cpu_time_of([&] { CHECK(count(tree_of({log}).out, "started") == ids.size()); });
        };
        CHECK(time_of_ids(0) < no_longer_than(time_of_ids('_')));
    }

    TEST_CASE("one time in the far future does not hold its log back") {
        constexpr int tasks = 4000;
        const std::string padding = R"(,"x":")" + std::string(800, 'x') + '"';
        std::string begins;
        std::string ends;
        // More than a block that has nothing to say of the time.
        std::string silent;
        while (silent.size() < std::size_t{2} << 20) {
            silent += "2026-11-27 04:00:00.000 17 info a line that is no record of a task\n";
        }
        for (int i = 0; i < tasks; ++i) {
            const std::string id = fmt::format("task-{}", i);
            begins += tree_record(id, "1", i, started + padding);
            ends += tree_record(id, "2", i, ended + padding);
        }
        const std::string future =
            R"({"task_uuid":"f","task_level":[1],"timestamp":4000000000,"message_type":"m"})"
            "\n";
        const auto done = tree_of(
            {message("w", "1", "m") + future + silent + begins, message("x", "1", "m") + ends},
            {"--memory", "8M"});
        CHECK(count(done.out, "succeeded") == tasks);
        CHECK(!has(done.err, "cut"));
        CHECK(done.err.empty());
    }

    TEST_CASE("an id looks like no line of a tree, and has nothing behind it") {
        const auto first_line = [](std::string_view id, std::vector<std::string> style = {}) {
            const auto done =
                tree_of({tree_record(id, "1", 0, R"("message_type":"m")")}, std::move(style));
            return done.out.substr(0, done.out.find('\n'));
        };
        CHECK(first_line("3232af72-a1ea-4cb9-b3a7-97ffc4647413") ==
              "3232af72-a1ea-4cb9-b3a7-97ffc4647413");
        CHECK(first_line("└── work/1 ⇒ started") == "\"└── work/1 ⇒ started\"");
        CHECK(first_line("    └── work/2") == "\"    └── work/2\"");
        CHECK(first_line("+-- work/1 => started", {"--ascii"}) == "\"+-- work/1 => started\"");
        CHECK(first_line("u (incomplete)") == "\"u (incomplete)\"");
        CHECK(first_line(R"x(u\" (incomplete))x") == R"x("u\" (incomplete)")x");
        CHECK(first_line(R"x(\"\"\\\n)x") == R"x("\"\"\\\n")x");
        CHECK(first_line("u\\u0000") == "\"u\\x00\"");
    }

    TEST_CASE("whoever claims a place that is taken is shown once, however often it comes") {
        const std::string rival = message("u", "2", "rival");
        const std::string wrapped =
            R"({"time":"2026-11-27T05:00:01Z","from":"http 127.0.0.1:1","record":)" +
            rival.substr(0, rival.size() - 1) + "}\n";
        const std::string third = message("u", "2", "third");
        const auto done = tree_of({start("u", "1") + message("u", "2", "first") + rival + rival +
                                   third + wrapped + third + end("u", "3")});
        CHECK(count(done.out, "first/2") == 1);
        CHECK(count(done.out, "rival/2") == 1);
        CHECK(count(done.out, "third/2") == 1);
        CHECK(has(done.err, "3 records are there more than once, and shown once"));
    }

    TEST_CASE("a log of 100 MB through a pipe takes no more memory than it is given") {
        if (sapwood::test::has_tsan || SAPWOOD_ADDRESS_SANITIZER) {
            return; // their own is more
        }
        int ends[2];
        REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
        const auto handled = std::signal(SIGPIPE, SIG_IGN);
        program running("sapwood", {"tree", "--memory", "8M", "-"},
                        {.in = ends[0], .prepare = [] {
                             const rlimit little{address_space_max, address_space_max};
                             ::setrlimit(RLIMIT_AS, &little);
                         }});
        ::close(ends[0]);
        bool is_taken = true;
        for (int i = 0; i < 100 && is_taken; ++i) {
            const std::string name = fmt::format("task{}", i);
            const std::string piece =
                start(name, "1") + tasks_of(std::size_t{1} << 20, name); // one never ends
            for (std::size_t at = 0; at < piece.size() && is_taken;) {
                const ssize_t written = ::write(ends[1], piece.data() + at, piece.size() - at);
                is_taken = written > 0;
                at += is_taken ? static_cast<std::size_t>(written) : 0;
            }
        }
        ::close(ends[1]);
        const auto done = running.wait();
        std::signal(SIGPIPE, handled);
        CHECK(is_taken);
        CHECK(done.status == 0);
        CHECK(has(done.out, "\ntask0-10\n"));
        CHECK(has(done.out, "\ntask99-10\n"));
        CHECK(count(done.out, "(its end is missing)") == 100);
    }

    TEST_CASE("on a terminal trees are coloured by themselves") {
        const int terminal = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
        REQUIRE(terminal >= 0);
        REQUIRE(::grantpt(terminal) == 0);
        REQUIRE(::unlockpt(terminal) == 0);
        const std::string name = ::ptsname(terminal);
        const temporary_directory at;
        fill(at / "log", start("u", "1") + end("u", "2"));
        program running("sapwood", {"tree", at / "log"}, {.prepare = [&name] {
                            ::unsetenv("NO_COLOR");
                            ::dup2(::open(name.c_str(), O_RDWR | O_NOCTTY), STDOUT_FILENO);
                        }});
        CHECK(running.wait().status == 0);
        std::string shown(4096, '\0');
        shown.resize(static_cast<std::size_t>(
            std::max<ssize_t>(::read(terminal, shown.data(), shown.size()), 0)));
        ::close(terminal);
        CHECK(has(shown, "work"));
        CHECK(has(shown, "\x1b["));
    }
}
