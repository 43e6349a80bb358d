// sapwood tree, from outside: trees of actions, whatever their records stand in, and in which
// order.
#include "support/compressed.hpp"
#include "support/numbered_lines.hpp"
#include "support/program.hpp"
#include "support/temporary_directory.hpp"
#include "support/tree_records.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <random>
#include <string>
#include <string_view>
#include <unistd.h>
#include <vector>

namespace {

using sapwood::test::contents_of;
using sapwood::test::drawn_tree;
using sapwood::test::eventually;
using sapwood::test::fill;
using sapwood::test::numbered;
using sapwood::test::program;
using sapwood::test::run_program;
using sapwood::test::temporary_directory;
using sapwood::test::tree_record;
using sapwood::test::zstd_of;

bool has(std::string_view text, std::string_view what) {
    return text.find(what) != text.npos;
}

program::outcome tree(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "tree");
    return run_program("sapwood", std::move(arguments));
}

/// Of a log that has these lines.
program::outcome tree_of(const std::string& lines, std::vector<std::string> arguments = {}) {
    const temporary_directory at;
    fill(at / "log", lines);
    arguments.push_back(at / "log");
    return tree(std::move(arguments));
}

/// Inputs of this suite that were recorded.
std::string recorded(std::string_view name) {
    const char* const folder = std::getenv("SAPWOOD_TOOLS_INPUTS");
    REQUIRE_MESSAGE(folder != nullptr,
                    "SAPWOOD_TOOLS_INPUTS does not say where they are: run the tests with ./dev "
                    "test or meson test");
    return std::string(folder) + "/" + std::string(name);
}

std::string start(std::string_view task, std::string_view level, std::string_view type,
                  int ms = 0) {
    return tree_record(task, level, ms,
                       fmt::format(R"("action_type":"{}","action_status":"started")", type));
}

std::string end(std::string_view task, std::string_view level, std::string_view type, int ms = 0,
                std::string_view status = "succeeded") {
    return tree_record(task, level, ms,
                       fmt::format(R"("action_type":"{}","action_status":"{}")", type, status));
}

std::string message(std::string_view task, std::string_view level, std::string_view type,
                    int ms = 0) {
    return tree_record(task, level, ms, fmt::format(R"("message_type":"{}")", type));
}

/// A task of one action, which takes so long.
std::string task_of(std::string_view id, std::string_view status, int ms) {
    return start(id, "1", "work") + end(id, "2", "work", ms, status);
}

std::vector<std::string> lines_of(std::string_view text) {
    std::vector<std::string> lines;
    while (!text.empty()) {
        const std::size_t size = std::min(text.find('\n'), text.size() - 1) + 1;
        lines.emplace_back(text.substr(0, size));
        text.remove_prefix(size);
    }
    return lines;
}

/// The trees that were printed, in the order of their names.
std::vector<std::string> trees_in(std::string_view text) {
    std::vector<std::string> trees;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find("\n\n"), text.size() - 2) + 2;
        trees.emplace_back(text.substr(0, end));
        text.remove_prefix(end);
    }
    std::ranges::sort(trees);
    return trees;
}

} // namespace

TEST_SUITE("tree") {
    TEST_CASE("what eliot has written is shown as its own tool does") {
        const auto done = tree({recorded("eliot.log")});
        CHECK(done.status == 0);
        CHECK(done.out == contents_of(recorded("eliot.tree")));
        CHECK(done.err == "sapwood tree: 1 of 4 tasks is incomplete; each says what is missing\n");
    }

    TEST_CASE("random trees are rebuilt from their records in any order, in two logs") {
        const unsigned seed = std::random_device()();
        CAPTURE(seed);
        std::mt19937 random(seed);
        std::vector<std::string> lines;
        std::vector<std::string> expected;
        for (int i = 0; i < 30; ++i) {
            const auto [records, drawn] = drawn_tree(fmt::format("task-{:02}", i), random);
            lines.insert(lines.end(), records.begin(), records.end());
            expected.push_back(drawn);
        }
        const temporary_directory at;
        for (const bool is_shuffled : {false, true}) {
            if (is_shuffled) {
                std::ranges::shuffle(lines, random);
            }
            std::string halves[2];
            for (const std::string& each : lines) {
                halves[random() % 2] += each;
            }
            fill(at / "a", halves[0]);
            fill(at / "b", halves[1]);
            const auto done = tree({at / "a", at / "b"});
            CHECK(done.status == 0);
            CHECK(done.err.empty());
            CHECK(trees_in(done.out) == expected);
        }
    }

    TEST_CASE("what sapwood has written is shown by its type, without what is there twice") {
        const std::string head = R"({"time":"2026-11-27T04:00:00.000001Z","level":"warning",)"
                                 R"("thread":7,"logger":"db","message":)";
        const std::string place = R"("task_uuid":"u","timestamp":1795752000.000001,"task_level":)";
        const auto done =
            tree_of(head + R"("save",)" + place +
                    R"([1],"action_type":"save","action_status":"started","fields":{"order":17}})"
                    "\n" +
                    head + R"("slow",)" + place +
                    R"([2],"message_type":"slow","fields":{"rows":3,"note_escaped":"a\\xff"}})"
                    "\n" +
                    head + "\"no record\"}\n" + head + R"("save",)" + place +
                    R"([3],"action_type":"save","action_status":"failed","outcome":"cancelled",)"
                    R"("duration":0.0000021,"children":1,"exception":"sapwood::cancelled"})"
                    "\n");
        CHECK(done.err.empty());
        CHECK(done.out == "u\n"
                          "└── save/1 ⇒ started 2026-11-27 04:00:00.000 ⧖ 2.1us ✗ cancelled\n"
                          "    ├── logger: db\n"
                          "    ├── order: 17\n"
                          "    ├── slow/2 warning 2026-11-27 04:00:00.000\n"
                          "    │   ├── logger: db\n"
                          "    │   ├── rows: 3\n"
                          "    │   └── note: a\\xff\n"
                          "    └── save/3 ⇒ ✗ cancelled 2026-11-27 04:00:00.000\n"
                          "        ├── logger: db\n"
                          "        └── exception: sapwood::cancelled\n\n");
    }

    TEST_CASE("records in sapwood's text and logfmt are shown as those in JSON are") {
        const std::string json =
            R"({"time":"2026-11-27T04:00:00.017Z","level":"info","thread":7,"message":"save",)"
            R"("task_uuid":"u","task_level":[1],"timestamp":1795752000.017,)"
            R"("action_type":"save","action_status":"started",)"
            R"("fields":{"order":17,"a \\ = b":1,"say":"a \"b\"\nc=d","level":"x"}})"
            "\n"
            R"({"time":"2026-11-27T04:00:00.018Z","level":"warning","thread":7,)"
            R"("message":"it is = slow","task_uuid":"u","task_level":[2],)"
            R"("timestamp":1795752000.018,"message_type":"it is = slow"})"
            "\n"
            R"({"time":"2026-11-27T04:00:00.019Z","level":"error","thread":7,"message":"save",)"
            R"("task_uuid":"u","task_level":[3],"timestamp":1795752000.019,"action_type":"save",)"
            R"("action_status":"failed","outcome":"cancelled","duration":0.002000001,"children":1,)"
            R"("exception":"sapwood::cancelled","reason":"no \\ more","source":"a b.cpp:7"})"
            "\n";
        const std::string text =
            "2026-11-27 04:00:00.017 7 info save order=17 a\\x20\\\\\\x20\\x3d\\x20b=1 say=\"a "
            "\\\"b\\\"\\nc=d\" level=x "
            "task_uuid=u task_level=/1 action_status=started\n"
            "2026-11-27 04:00:00.018 7 warning it is = slow task_uuid=u task_level=/2\n"
            "2026-11-27 04:00:00.018 7 info no record order=17\n"
            "2026-11-27 04:00:00.019 7 error save task_uuid=u task_level=/3 "
            "action_status=cancelled action_duration=0.002000001 action_children=1 "
            "action_exception=sapwood::cancelled action_reason=\"no \\\\ more\" "
            "action_source=\"a b.cpp:7\" \\(cut)\n";
        const std::string logfmt =
            "time=2026-11-27T04:00:00.017Z level=info thread=7 task_uuid=u task_level=/1 "
            "action_status=started message=save order=17 a\\x20\\\\\\x20\\x3d\\x20b=1 say=\"a "
            "\\\"b\\\"\\nc=d\" "
            "fields.level=x\n"
            "time=2026-11-27T04:00:00.018Z level=warning thread=7 task_uuid=u "
            "task_level=/2 message=\"it is = slow\"\n"
            "time=2026-11-27T04:00:00.019Z level=error thread=7 task_uuid=u task_level=/3 "
            "action_status=cancelled action_duration=0.002000001 action_children=1 "
            "action_exception=sapwood::cancelled action_reason=\"no \\\\ more\" "
            "action_source=\"a b.cpp:7\" message=save\n";
        const auto done = tree_of(json);
        CHECK(has(done.out, "save/1 ⇒ started 2026-11-27 04:00:00.017 ⧖ 2.0ms ✗ cancelled\n"
                            "    ├── order: 17\n"
                            "    ├── a \\\\ = b: 1\n"
                            "    ├── say: a \"b\"\n"
                            "    │   ┊ c=d\n"
                            "    ├── level: x\n"));
        CHECK(has(done.out, "it is = slow/2 warning"));
        CHECK(has(done.out, "reason: no \\\\ more\n"));
        CHECK(tree_of(text).out == done.out);
        CHECK(tree_of(logfmt).out == done.out);
    }

    TEST_CASE("a message without a type has its text for a name, and without that none") {
        const auto done = tree_of(start("u", "1", "work") +
                                  tree_record("u", "2", 0, R"("message_type":"","msg":"read")") +
                                  tree_record("u", "3", 0, R"("n":1)") + end("u", "4", "work"));
        CHECK(has(done.out, "├── read/2 2026-11-27 04:00:00.000\n"));
        CHECK(has(done.out, "├── <unnamed>/3 2026-11-27 04:00:00.000\n    │   └── n: 1\n"));
    }

    TEST_CASE("records stand in lines of the collector and of a durable log as well") {
        const std::string records[] = {start("u", "1", "work"), message("u", "2", "step"),
                                       end("u", "3", "work")};
        const std::string expected = tree_of(records[0] + records[1] + records[2]).out;
        REQUIRE(has(expected, "step/2"));
        std::string text;
        std::string json;
        std::string durable;
        for (std::uint64_t i = 0; const std::string& each : records) {
            const std::string record = each.substr(0, each.size() - 1);
            const std::string line = "2026-11-27 05:00:00.000 9 info [http 127.0.0.1:1] " + record;
            text += line + "\n";
            json += R"({"time":"2026-11-27T05:00:00.000Z","level":"info","from":"unix pid=1",)"
                    R"("record":)" +
                    record + "}\n";
            ++i;
            durable += numbered(i, i == 2 ? record : line);
            durable += numbered(i, i == 2 ? record : line);
        }
        CHECK(tree_of(text).out == expected);
        CHECK(tree_of(json).out == expected);
        const auto done = tree_of(durable);
        CHECK(done.out == expected);
        CHECK(has(done.err, "3 records are there more than once, and shown once"));
    }

    TEST_CASE("a record that was delivered twice is shown once") {
        const std::string record = message("u", "2", "step");
        const auto wrapped = [&](int second) {
            return fmt::format(R"({{"time":"2026-11-27T05:00:{:02}Z","from":"http 127.0.0.1:{}",)"
                               R"("record":{}}})"
                               "\n",
                               second, second, record.substr(0, record.size() - 1));
        };
        const std::string first = start("u", "1", "work");
        const std::string last = end("u", "3", "work");
        const auto done = tree_of(first + wrapped(1) + wrapped(2) + record + record + last + last +
                                  wrapped(3) + first);
        CHECK(done.out == tree_of(first + record + last).out);
        CHECK(done.err == "sapwood tree: 6 records are there more than once, and shown once\n");
    }

    TEST_CASE("files that were set aside come first, compressed ones as well") {
        const temporary_directory at;
        fill(at / "log.1", start("u", "1", "work"));
        fill(at / "log", end("u", "3", "work"));
        const std::string middle = message("u", "2", "step");
        fill(at / "log.2.gz", "?");
        if (const auto packed = zstd_of(middle)) {
            fill(at / "log.20261126T141236.123Z.zst", *packed);
        } else {
            fill(at / "log.20261126T141236.123Z", middle);
        }
        const auto done = tree({at / "log"});
        CHECK(has(done.out, "    ├── step/2"));
        CHECK(!has(done.out, "missing"));
        CHECK(has(done.err, "log.2.gz is left out"));
        CHECK(has(tree({"--one-file", at / "log"}).out, "its start is missing"));
    }

    TEST_CASE("what is asked for is printed, and the exit code is grep's") {
        const std::string log = task_of("aaaa", "succeeded", 5) + task_of("bbbb", "failed", 7) +
                                task_of("cccc", "succeeded", 20) + start("dddd", "1", "work");
        const auto ids = [&](std::vector<std::string> arguments) {
            std::string found;
            for (const std::string& each : lines_of(tree_of(log, std::move(arguments)).out)) {
                if (each[0] >= 'a' && each[0] <= 'd') {
                    found += each[0];
                }
            }
            return found;
        };
        CHECK(ids({}) == "abcd");
        CHECK(ids({"--failed"}) == "b");
        CHECK(ids({"--slower-than", "7ms"}) == "bc");
        CHECK(ids({"--slower-than", "0.0201s"}) == "");
        CHECK(ids({"--failed", "--slower-than", "6999us"}) == "b");
        CHECK(ids({"--incomplete"}) == "d");
        CHECK(ids({"--task", "cc"}) == "c");
        CHECK(tree_of(log, {"--task", "cc"}).status == 0);
        CHECK(tree_of(log, {"--task", "cd"}).status == 1);
        CHECK(tree_of(log, {"--slower-than", "10"}).status == 2);
        CHECK(has(tree_of(log, {"--slower-than", "10"}).err, "'10' is no span of time"));
        const temporary_directory at;
        fill(at / "log", log);
        const auto partly = tree({at / "missing", at / "log"});
        CHECK(partly.status == 2);
        CHECK(has(partly.err, "cannot open " + (at / "missing")));
        CHECK(trees_in(partly.out).size() == 4); // what can be read is
        CHECK(tree_of("2026-11-21 22:39:56.123 17 info text\n").status == 1);
    }

    TEST_CASE("a cancelled action has not failed, and an exception has") {
        const std::string cancelled =
            start("u", "1", "work") +
            tree_record("u", "2", 1,
                        R"("action_type":"work","action_status":"failed","outcome":"cancelled")");
        CHECK(tree_of(cancelled, {"--failed"}).status == 1);
        CHECK(has(tree_of(cancelled).out, "✗ cancelled"));
        CHECK(has(tree_of(task_of("u", "failed", 1)).out, "✗ failed"));
    }

    TEST_CASE("a tree is drawn in colour, in ASCII, and in plain text to who is no terminal") {
        const std::string log = task_of("u", "failed", 7) + message("v", "1", "alone");
        const auto plain = tree_of(log);
        CHECK(!has(plain.out, "\x1b"));
        const auto coloured = tree_of(log, {"--color", "always"});
        CHECK(has(coloured.out, "\x1b[1;31m✗ failed\x1b[0m"));
        std::string stripped = coloured.out;
        for (auto at = stripped.find('\x1b'); at != stripped.npos; at = stripped.find('\x1b')) {
            stripped.erase(at, stripped.find('m', at) + 1 - at);
        }
        CHECK(stripped == plain.out);
        CHECK(tree_of(log, {"--ascii"}).out ==
              "u\n"
              "+-- work/1 => started 2026-11-27 04:00:00.000 |Y| 7.0ms !! failed\n"
              "    +-- work/2 => !! failed 2026-11-27 04:00:00.007\n\n"
              "v\n"
              "+-- alone/1 2026-11-27 04:00:00.000\n\n");
    }

    TEST_CASE("what was begun in a task, and goes on behind its end, is in its tree") {
        const std::string whole =
            start("u", "1", "work") + message("u", "2", "step") + end("u", "3", "work");
        const auto done = tree_of(whole + task_of("v", "succeeded", 1) + message("u", "4", "late") +
                                  start("u", "5,1", "child") + end("u", "5,2", "child"));
        CHECK(done.err.empty());
        CHECK(has(done.out, "    ├── work/3 ⇒ succeeded"));
        CHECK(has(done.out, "    ├── late/4"));
        CHECK(has(done.out, "    └── child/5/1 ⇒ started"));
        CHECK(trees_in(done.out).size() == 2);
    }

    TEST_CASE("a task is printed as soon as it is complete, while the log is still written") {
        const temporary_directory at;
        int ends[2];
        REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
        program reader("sapwood", {"tree", "-"}, {.in = ends[0]});
        ::close(ends[0]);
        const std::string begun = start("u", "1", "work");
        const std::string ended = end("u", "2", "work");
        REQUIRE(::write(ends[1], begun.data(), begun.size()) == static_cast<ssize_t>(begun.size()));
        REQUIRE(::write(ends[1], ended.data(), ended.size()) == static_cast<ssize_t>(ended.size()));
        eventually([&] { return has(reader.out_so_far(), "work/2"); });
        const std::string late = message("u", "3", "late") + ended;
        REQUIRE(::write(ends[1], late.data(), late.size()) == static_cast<ssize_t>(late.size()));
        ::close(ends[1]);
        const auto done = reader.wait();
        CHECK(done.status == 0);
        CHECK(has(done.out, "u (part 2: more of a task that is above)\n└── "));
        CHECK(has(done.out, "    └── late/3"));
    }
}
