// sapwood tree, from outside: logs that lack something, that contradict themselves, that are larger
// than memory, and that want to do something to who reads them.
#include "support/hostile_strings.hpp"
#include "support/program.hpp"
#include "support/temporary_directory.hpp"
#include "support/tree_records.hpp"

#include <sapwood/escape.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <string>
#include <string_view>
#include <vector>

namespace {

using sapwood::test::fill;
using sapwood::test::hostile_strings;
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

program::outcome tree_of(const std::string& lines, std::vector<std::string> arguments = {}) {
    const temporary_directory at;
    fill(at / "log", lines);
    arguments.insert(arguments.begin(), "tree");
    arguments.push_back(at / "log");
    return run_program("sapwood", std::move(arguments));
}

constexpr std::string_view started = R"("action_type":"work","action_status":"started")";
constexpr std::string_view ended = R"("action_type":"work","action_status":"succeeded")";

std::string start(std::string_view task, std::string_view level) {
    return tree_record(task, level, 0, started);
}

std::string end(std::string_view task, std::string_view level) {
    return tree_record(task, level, 0, ended);
}

std::string message(std::string_view task, std::string_view level) {
    return tree_record(task, level, 0, R"("message_type":"note")");
}

/// A string of JSON, with what only must be escaped; broken UTF-8 stays so.
std::string json_text(std::string_view text) {
    std::string json = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') {
            json += '\\';
            json += c;
        } else if (static_cast<unsigned char>(c) < 0x20) {
            json += fmt::format("\\u{:04x}", static_cast<int>(c));
        } else {
            json += c;
        }
    }
    return json + '"';
}

/// Whether a line does nothing to who reads it: no control character and the like.
bool is_harmless(std::string_view text) {
    std::string escaped;
    sapwood::escape(text, escaped);
    std::erase(escaped, '\\');
    std::string shown(text);
    std::erase(shown, '\\');
    return escaped == shown;
}

/// What is wrong with a page: that its elements are not those that it has by itself, or do not
/// close.
std::string mistake_in(std::string_view page) {
    constexpr std::array known{"a",     "b",       "body",  "code",   "dd",   "details",
                               "div",   "dl",      "dt",    "footer", "h1",   "head",
                               "html",  "i",       "label", "main",   "span", "strong",
                               "style", "summary", "time",  "title",  "u"};
    constexpr std::array single{"!DOCTYPE", "input", "meta"};
    std::vector<std::string_view> open;
    for (auto at = page.find('<'); at != page.npos; at = page.find('<', at + 1)) {
        const std::string_view tag = page.substr(at + 1, page.find('>', at) - at - 1);
        const bool closes = tag.starts_with('/');
        const std::string_view name = tag.substr(closes ? 1 : 0, tag.find(' ') - (closes ? 1 : 0));
        if (closes) {
            if (open.empty() || open.back() != name) {
                return fmt::format("</{}> closes nothing", name);
            }
            open.pop_back();
        } else if (std::ranges::find(known, name) != known.end()) {
            open.push_back(name);
        } else if (std::ranges::find(single, name) == single.end()) {
            return fmt::format("<{}> is none of its elements", name);
        }
        if (has(tag, "src=") || has(tag, "href=") || has(tag, " on")) {
            return fmt::format("<{}> does something", tag);
        }
    }
    return open.empty() ? "" : fmt::format("<{}> is not closed", open.back());
}

} // namespace

TEST_SUITE("tree_hostile") {
    TEST_CASE("what is missing is told where it is missing") {
        const auto done =
            tree_of(start("no-end", "1") + message("no-end", "2") + message("no-start", "2") +
                    end("no-start", "3") + start("gaps", "1") + message("gaps", "3") +
                    end("gaps", "7") + start("inner", "1") + message("inner", "2,2") +
                    end("inner", "3") + start("away", "3,5,1") + end("away", "3,5,2"));
        CHECK(done.status == 0);
        const std::string at = " 2026-11-27 04:00:00.000\n";
        CHECK(done.out ==
              "no-end (incomplete)\n"
              "└── work/1 ⇒ started" +
                  at + "    ├── note/2" + at +
                  "    └── (its end is missing)\n\n"
                  "no-start (incomplete)\n"
                  "└── work/1\n"
                  "    ├── (its start is missing)\n"
                  "    ├── note/2" +
                  at + "    └── work/3 ⇒ succeeded" + at +
                  "\ngaps (incomplete)\n"
                  "└── work/1 ⇒ started 2026-11-27 04:00:00.000 ⧖ 0ns\n"
                  "    ├── (number 2 is missing)\n"
                  "    ├── note/3" +
                  at +
                  "    ├── (numbers 4 to 6 are missing)\n"
                  "    └── work/7 ⇒ succeeded" +
                  at +
                  "\ninner (incomplete)\n"
                  "└── work/1 ⇒ started 2026-11-27 04:00:00.000 ⧖ 0ns\n"
                  "    ├── <unnamed>/2/1\n"
                  "    │   ├── (its start is missing)\n"
                  "    │   ├── note/2/2" +
                  at +
                  "    │   └── (its end is missing)\n"
                  "    └── work/3 ⇒ succeeded" +
                  at +
                  "\naway (incomplete)\n"
                  "└── work/3/5/1 ⇒ started 2026-11-27 04:00:00.000 ⧖ 0ns (of 2 actions around it "
                  "nothing is here)\n"
                  "    └── work/3/5/2 ⇒ succeeded" +
                  at + "\n");
        CHECK(done.err == "sapwood tree: 5 of 5 tasks are incomplete; each says what is missing\n");
    }

    TEST_CASE("an end that counts others than there are, and places that two claim, are told") {
        const auto miscounted = tree_of(
            start("u", "1") +
            tree_record("u", "2", 0, R"("duration":0.5,"children":4,)" + std::string(ended)));
        CHECK(has(miscounted.out, "u (contradicts itself)\n"));
        CHECK(has(miscounted.out, "    └── (its end says that 4 records and actions are in it, and "
                                  "its number says 0)\n"));
        CHECK(has(miscounted.out, "⧖ 500.0ms"));
        CHECK(has(miscounted.err, "1 of 1 task contradicts itself"));
        const auto twice =
            tree_of(start("u", "1") + tree_record("u", "1", 0, R"("x":1,)" + std::string(started)) +
                    message("u", "2") + tree_record("u", "2", 0, R"("message_type":"rival")") +
                    start("u", "2,1") + end("u", "2,2") + end("u", "3"));
        CHECK(count(twice.out, "(another record has this place as well)") == 3);
        CHECK(has(twice.out, "    ├── work/2/1 ⇒ started"));
        CHECK(has(twice.out, "    ├── rival/2"));
        CHECK(has(twice.out, "    └── work/3 ⇒ succeeded"));
        CHECK(tree_of(start("u", "1") + end("u", "2"), {"--incomplete"}).status == 1);
        // One of the two alone is a field that somebody has called so.
        CHECK(has(tree_of(start("u", "1") +
                          tree_record("u", "2", 0, R"("duration":7,)" + std::string(ended)))
                      .out,
                  "└── duration: 7\n"));
    }

    TEST_CASE("lines that are broken are counted, cost no other, and the first is named") {
        const std::string nested = std::string(100'000, '[') + std::string(100'000, ']');
        std::string log = start("u", "1") + "{\"task_uuid\":\"u\",\"task_le\n";
        for (const char* const level :
             {"0", "-1", "1.5", "\"1\"", "", "18446744073709551616", "4294967296", "[1]", "null"}) {
            log += message("u", level);
        }
        log += R"({"task_uuid":"u","task_level":"/1","timestamp":1})"
               "\n"
               R"({"task_uuid":17,"task_level":[1],"timestamp":1})"
               "\n" +
               tree_record("u", "2", 0, "\"x\":" + nested) + "{\n\n\\\n" +
               "text with task_uuid in it\n" + "{\"no\":\"task\"}\n" + end("u", "2");
        const auto done = tree_of(log);
        CHECK(done.status == 0);
        CHECK(count(done.out, "\n\n") == 1);
        CHECK(has(done.out, "work/2 ⇒ succeeded"));
        CHECK(has(done.err, "sapwood tree: 14 lines are broken and left out; the first is "));
        CHECK(has(done.err, "/log:2: "));
    }

    TEST_CASE("whatever a record says is text, and no line of the tree") {
        std::string log;
        std::size_t records = 0;
        for (const std::string& each : hostile_strings()) {
            const std::string text = json_text(each);
            log +=
                tree_record("u", fmt::format("{}", ++records + 1), 0,
                            fmt::format(R"("message_type":{},"value":{},{}:1)", text, text, text));
        }
        for (const std::vector<std::string>& style :
             {std::vector<std::string>{}, std::vector<std::string>{"--ascii"}}) {
            const auto done = tree_of(log, style);
            CHECK(done.status == 0);
            std::size_t values = 0;
            std::string_view rest = done.out;
            while (!rest.empty()) {
                const std::string_view line = rest.substr(0, rest.find('\n'));
                CHECK_MESSAGE(is_harmless(line), line);
                values += has(line, "── value:") || has(line, "-- value:") ? 1 : 0;
                const bool is_drawn = line.empty() || line.starts_with("u (") ||
                                      line.starts_with("└── ") || line.starts_with("+-- ") ||
                                      line.starts_with("    ");
                CHECK_MESSAGE(is_drawn, line);
                rest.remove_prefix(line.size() + 1);
            }
            CHECK(values == records);
        }
        const auto page = tree_of(log, {"--html"});
        CHECK(mistake_in(page.out) == "");
        CHECK(count(page.out, "<dt>value</dt>") == records);
        CHECK(sapwood::is_utf8(page.out));
    }

    TEST_CASE("what a message says of its place in text is none of its place, but its text") {
        const auto record = [](std::string_view said, std::string_view place) {
            return fmt::format("2026-11-27 04:00:00.000 7 info {} task_uuid=u task_level={}\n",
                               said, place);
        };
        const auto done =
            tree_of(record("work order=1 action_children=7", "/1 action_status=started") +
                    record("x action_status=failed action_duration=9", "/2") +
                    record("y task_uuid=other task_level=/9 action_status=failed and so on", "/3") +
                    record("z task_uuid=other task_level=/1", "/4") + record("a=\"b", "/5") +
                    record("v task_uuid=other task_level=/9 action_status=failed z=\"", "/6") +
                    record("work", "/7 action_status=succeeded action_duration=0.000000001 "
                                   "action_children=5"));
        CHECK(done.err.empty());
        CHECK(done.out.starts_with("u\n└── work/1 ⇒ started "));
        // The log's mark of what did not fit is none of the name.
        const auto cut = tree_of(record("work \\(cut)", "/1 action_status=started"));
        CHECK(has(cut.out, "\n└── work/1 ⇒ started "));
        CHECK(has(done.out, "    ├── order: 1\n    ├── action_children: 7\n"));
        CHECK(has(done.out, "    ├── x/2 "));
        CHECK(has(done.out, "    │   └── action_duration: 9\n"));
        CHECK(has(done.out,
                  "    ├── y task_uuid=other task_level=/9 action_status=failed and so on/3 "));
        CHECK(has(done.out, "    ├── z/4 "));
        CHECK(has(done.out, "    │   └── task_level: /1\n"));
        CHECK(has(done.out, "    └── work/7 ⇒ succeeded "));
        CHECK_FALSE(has(done.out, "incomplete"));
    }

    TEST_CASE("a page is one file that fetches nothing and runs nothing") {
        const std::string evil = R"(</code></summary></details><script>alert(1)</script><img )"
                                 R"(src=x onerror='x'>\"&<!--)";
        const std::string type = "\"" + evil + "\"";
        const auto done = tree_of(
            tree_record("v", "1", 0, "\"action_status\":\"started\",\"action_type\":" + type) +
                tree_record("v", "2", 250, "\"message_type\":" + type + "," + type + ":" + type) +
                tree_record("v", "3", 1000,
                            "\"action_status\":\"failed\",\"reason\":" + type +
                                ",\"action_type\":" + type) +
                start(R"(<b onclick=\"x\">)", "1"),
            {"--html"});
        CHECK(done.status == 0);
        CHECK(mistake_in(done.out) == "");
        CHECK(has(done.out, "default-src 'none'"));
        CHECK(count(done.out, "url(") + count(done.out, "@import") + count(done.out, "://") == 0);
        CHECK(count(done.out, "&lt;script&gt;alert(1)") == 7);
        // Its message is at a quarter of its time.
        CHECK(has(done.out, "<b class=\"bad\" style=\"left:0.00%;width:100.00%\">"));
        CHECK(has(done.out, "<b class=\"tick\" style=\"left:25.00%\">"));
        CHECK(count(done.out, "<details class=\"task bad\" open>") == 1);
        CHECK(count(done.out, "<details class=\"task lacks\" open>") == 1);
        CHECK(has(done.out, "2 tasks, 1 of them incomplete."));
    }

    TEST_CASE(
        "trees may be as deep as they like, and so may a place of which nothing else is there") {
        std::string level = "1";
        std::string log;
        constexpr int depth = 400;
        std::string ends;
        for (int i = 0; i < depth; ++i) {
            log += start("u", i == 0 ? "1" : level + ",1");
            const std::string mine = i == 0 ? "3" : level + ",3";
            ends = end("u", i + 1 == depth ? (level + ",2") : mine) + ends;
            level = i == 0 ? "2" : level + ",2";
        }
        const auto nested = tree_of(log + ends);
        CHECK(nested.err.empty());
        CHECK(count(nested.out, "⇒ started") == depth);
        CHECK(nested.out.size() < std::size_t{depth} * 2 * 800);
        CHECK(has(nested.out, "work/2/2/2/2/2/2/2/2/…/2/2/2/2/2/2/2/2 ⇒ succeeded"));
        const auto page = tree_of(log + ends, {"--html"});
        CHECK(mistake_in(page.out) == "");
        CHECK(count(page.out, "<details class=\"a\"") == 100);

        std::string ones = "1";
        for (int i = 1; i < 100'000; ++i) {
            ones += ",1";
        }
        const auto alone = tree_of(message("u", ones) + start("w", "1") + end("w", "4000000000"));
        CHECK(has(alone.out, "└── <unnamed>/1/1/1/1/1/1/1/1/…/1/1/1/1/1/1/1/1 (of 99999 actions "
                             "around it nothing is here)\n"));
        CHECK(has(alone.out, "    ├── (numbers 2 to 3999999999 are missing)\n"));
        // As far as a log counts, and what an id may name.
        CHECK(has(tree_of(start("w", "1") + end("w", "4294967295")).out,
                  "(numbers 2 to 4294967294 are missing)\n"));
        CHECK(has(tree_of(start("w", "1") + end("w", "4294967296")).err,
                  "numbers from 1 to 4,294,967,295"));
    }

    TEST_CASE("long values are cut at a character, and all of them is shown where that is asked") {
        std::string value;
        for (int i = 0; i < 1000; ++i) {
            value += "é";
        }
        const std::string log = tree_record("u", "1", 0, "\"x\":\"" + value + "\"");
        CHECK(has(tree_of(log, {"--field-limit", "11"}).out, ": ééééé… (1990 bytes more)\n"));
        CHECK(has(tree_of(log, {"--field-limit", "0"}).out, value + "\n"));
    }

    TEST_CASE("unfinished tasks take no more than --memory: the oldest is printed as it is") {
        constexpr int tasks = 5000;
        std::string log;
        for (int i = 0; i < tasks; ++i) {
            log += start(fmt::format("task-{}", i), "1");
        }
        log += end("task-0", "2") + end(fmt::format("task-{}", tasks - 1), "2");
        const auto done = tree_of(log, {"--memory", "1M"});
        CHECK(done.status == 0);
        CHECK(count(done.out, "⇒ started") == tasks);
        CHECK(count(done.out, "⇒ succeeded") == 2);
        CHECK(
            done.out.starts_with("task-0 (cut here: unfinished tasks take more than --memory)\n"));
        CHECK(has(done.out, "task-0 (part 2: more of a task that is above)\n"
                            "└── work/1\n"
                            "    └── work/2 ⇒ succeeded"));
        CHECK(has(done.out, fmt::format("task-{}\n", tasks - 1)));
        // One takes its line, and less than two kilobytes.
        const std::size_t cut = count(done.out, "(cut here");
        CHECK(cut > tasks - 4500);
        CHECK(cut < tasks - 500);
        CHECK(has(done.err, fmt::format("tasks were cut {} times", cut)));
        CHECK(has(tree_of(log).out, "task-0\n"));
    }

    TEST_CASE("of a task that is larger than --memory every record is printed, in parts") {
        constexpr int records = 20'000;
        std::string log = start("u", "1");
        for (int i = 0; i < records; ++i) {
            log += message("u", fmt::format("{}", i + 2));
        }
        log += end("u", fmt::format("{}", records + 2));
        const auto done = tree_of(log, {"--memory", "1M"});
        CHECK(count(done.out, "── note/") == records);
        CHECK(count(done.out, "missing") == 0);
        CHECK(count(done.out, "u (cut here") == 1);
        CHECK(count(done.out, "u (part ") > 3);
        CHECK(has(done.err, "--memory"));
        const auto whole = tree_of(log);
        CHECK(whole.err.empty());
        CHECK(count(whole.out, "── note/") == records);
    }
}
