// action, at its limits: what is too deep, too long or too large, where there is no memory, and
// what it costs.
#include "support/action_lines.hpp"
#include "support/allocations.hpp"
#include "support/co_test.hpp"

#include <sapwood/log_call.hpp>
#include <sapwood/log_foreign.hpp>
#include <sapwood/logger.hpp>
#include <sapwood/sanitizers.hpp>

#include <algorithm>
#include <chrono>
#include <doctest/doctest.h>
#include <functional>
#include <map>
#include <new>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

using namespace sapwood;
using strings = std::vector<std::string>;
using test::action_log;

/// Whether every action has all of 1, 2, 3 and so on up to its end, and that counts them. One that
/// begins or goes on elsewhere is none of its parent's here.
bool is_complete(const std::vector<test::action_line>& lines) {
    std::map<std::string, std::vector<unsigned long>> numbers;
    std::map<std::string, long> counted;
    for (const auto& line : lines) {
        const std::size_t comma = line.place.rfind(',');
        const std::string above = comma == line.place.npos ? "" : line.place.substr(0, comma);
        const std::string key = line.uuid + ',' + above;
        numbers[key].push_back(std::stoul(line.place.substr(comma + 1))); // npos + 1 is 0
        if (line.status == "started" && !above.empty()) {
            const std::size_t next = above.rfind(',');
            numbers[line.uuid + ',' + (next == above.npos ? "" : above.substr(0, next))].push_back(
                std::stoul(above.substr(next + 1)));
        }
        if (line.children >= 0) {
            counted[key] = line.children;
        }
    }
    return std::ranges::all_of(numbers, [&counted](auto& each) {
        std::ranges::sort(each.second);
        return each.second.front() == 1 && each.second.back() == each.second.size() &&
               counted[each.first] + 2 == static_cast<long>(each.second.size());
    });
}

/// Of a type that counts how often it is formatted.
struct counted_text {
    std::string text;
    int* count;
};

} // namespace

template <>
struct fmt::formatter<counted_text> : fmt::formatter<std::string_view> {
    auto format(const counted_text& shown, fmt::format_context& to) const {
        ++*shown.count;
        return fmt::formatter<std::string_view>::format(shown.text, to);
    }
};

TEST_SUITE("action_limits") {

    TEST_CASE("what is deeper than a record can tell is a task of its own, linked to the one it "
              "belongs to") {
        action_log all;
        std::vector<action> deep;
        for (int i = 0; i < 200; ++i) {
            deep.push_back(all.log.start_action("one"));
        }
        while (!deep.empty()) {
            deep.pop_back();
        }
        all.log.info("outside");
        std::size_t links = 0;
        for (const auto& line : all.lines()) {
            CHECK(line.place.size() < 220);
            links += line.text.find("\"continues\":\"") != std::string::npos ? 1 : 0;
        }
        CHECK(links == 2);
        CHECK(all.outline().back() == "outside");
    }

    TEST_CASE("what is added to the end is formatted once, however much it is") {
        for (const std::size_t bytes : {10u, 1'000u}) {
            CAPTURE(bytes);
            action_log all;
            int count = 0;
            const counted_text text{std::string(bytes, 'x'), &count};
            {
                auto one = all.log.start_action("one");
                one.add_success(kv("text", text), kv("ratio", 0.5));
            }
            CHECK(count == 1);
            const auto lines = all.lines();
            REQUIRE(lines.size() == 2);
            CHECK(lines[1].text.find("\"text\":\"" + text.text + "\",\"ratio\":0.5") !=
                  std::string::npos);
        }
    }

    TEST_CASE("long names and values are cut, and the place stays") {
        action_log all{.ring_bytes = 512u << 10};
        const std::string much(1u << 20, 'x');
        {
            auto action = all.log.start_action(much, kv("much", much));
            all.log.info("{}", much);
            action.fail(much, much);
        }
        const auto lines = all.lines();
        REQUIRE(lines.size() == 3);
        CHECK(lines[0].place == "1");
        CHECK(lines[0].text.find("\"cut\":true") != std::string::npos);
        CHECK(lines[0].type.size() == 256);
        CHECK(lines[1].place == "2");
        CHECK(lines[2].place == "3");
        CHECK(lines[2].reason.starts_with("xxx"));
    }

    TEST_CASE("success fields of any size are kept") {
        action_log all;
        {
            auto action = all.log.start_action("one");
            for (int i = 0; i < 100; ++i) {
                action.add_success(kv("number", i));
            }
        }
        CHECK(all.lines().back().text.ends_with("\"number\":98,\"number\":99}}"));
    }

    TEST_CASE("an action takes no allocation once its thread is warm") {
        if (SAPWOOD_ADDRESS_SANITIZER) {
            return; // each frame is an allocation there
        }
        action_log all;
        // Each field takes 7 bytes besides its name and its value.
        const std::string half_a_kib(512 - 8 - 9 - 11 - 12, 'x');
        const std::string success(160 - 8 - 9 - 12, 'x');
        const auto work = [&] {
            auto action = all.log.start_action("one", kv("a", 1), kv("b", "two"));
            auto inner = all.log.start_action("inner");
            all.log.info("inside {}", 1);
            action.add_success(kv("c", 3));
            auto large = all.log.start_action("large", kv("a", half_a_kib), kv("b", 1),
                                              kv("d", true), kv("c", 0.5));
            large.add_success(kv("a", success), kv("b", 1));
            large.add_success(kv("c", 3.25));
        };
        for (int i = 0; i < 100; ++i) {
            work();
        }
        const std::size_t before = test::allocations();
        for (int i = 0; i < 100; ++i) {
            work();
        }
        CHECK(test::allocations() == before);
    }

    TEST_CASE("the deepest level that an id tells is continued, and what is below is linked") {
        const std::string uuid = "0af76519-16cd-43dd-8448-eb211c80319c";
        std::string level;
        for (int i = 0; i < 96; ++i) {
            level += "/2";
        }
        action_log all;
        std::string below;
        {
            auto deepest = all.log.continue_task(uuid + '@' + level, "deepest");
            below = all.log.serialize_task_id();
            CHECK(below == uuid + '@' + level + "/0");
            auto remote = all.log.continue_task(below, "remote");
            remote.succeed();
            auto nested = all.log.start_action("nested");
            nested.succeed();
            all.log.info("inside");
        }
        { auto deeper = all.log.continue_task(uuid + '@' + level + "/2", "deeper"); }
        const auto lines = all.lines();
        REQUIRE(lines.size() == 9);
        CHECK(lines[0].uuid == uuid);
        CHECK(lines[0].place.size() == 192 - 1 + 2);
        CHECK(lines[1].text.ends_with(R"("fields":{"continues":")" + below + R"("}})"));
        CHECK(lines[1].place == "1");
        CHECK(
            lines[3].text.ends_with(R"("fields":{"continues":")" + uuid + '@' + level + R"("}})"));
        CHECK(lines[3].place == "1");
        CHECK(lines[5].place == lines[0].place.substr(0, 192) + '2');
        CHECK(lines[6].children == 1);
        CHECK(lines[7].text.ends_with(R"("continues":")" + uuid + '@' + level + R"(/2"}})"));
    }

    TEST_CASE("a thread that has given its action away, and ends, keeps nothing of it") {
        if (SAPWOOD_ADDRESS_SANITIZER) {
            return; // each frame is an allocation there, and it sees by itself what is lost
        }
        action_log all{.ring_bytes = 4096};
        constexpr std::size_t threads = 8;
        std::vector<action> held; // all that this thread's pool has
        held.reserve(10'000);
        std::size_t allocated = 0;
        while (allocated == 0 && held.size() < held.capacity()) {
            const std::size_t before = test::allocations();
            held.push_back(all.log.start_action("one"));
            held.back().leave();
            allocated = held.size() > 1 ? test::allocations() - before : 0;
        }
        for (std::size_t i = 0; i < threads; ++i) {
            action given;
            std::thread([&] { given = all.log.start_action("one"); }).join();
            given.succeed(); // its memory is this thread's now
        }
        const std::size_t before = test::allocations();
        for (std::size_t i = 0; i < threads; ++i) {
            held.push_back(all.log.start_action("one"));
            held.back().leave();
        }
        CHECK(test::allocations() == before);
    }

    TEST_CASE("whatever allocation fails, no number is taken for nothing, and calls are made") {
        action_log all;
        const std::string much(1024, 'x');
        const std::string name(40, 'n');
        std::string id;
        int calls = 0;
        const std::vector<std::function<void()>> steps{
            [&] {
                auto action = all.log.start_action("one", kv("much", much));
                action.add_success(kv("much", much));
            },
            [&] { id = all.log.serialize_task_id(); },
            [&] { (void)all.log.traceparent(); },
            [&] { all.log.info("{:>5000}", much, kv("much", much)); },
            [&] { all.log.text(level::info, much); },
            [&] {
                --calls;
                CHECK(all.log.call(
                          {.name = name, .redact = name},
                          [&](const std::string& text) {
                              ++calls;
                              return text.size();
                          },
                          much) == much.size());
            },
            [&] {
                detail::put_foreign(detail::logger_access::core(all.log),
                                    {.message = "foreign", .file = "a.cpp", .function = "work"});
            },
        };
        auto outer = all.log.start_action("outer");
        std::size_t failures = 0;
        for (const auto& step : steps) {
            bool has_failed = true;
            for (std::size_t nth = 1; has_failed; ++nth) {
                id.clear();
                {
                    const test::failing_allocations failing(nth);
                    try {
                        step();
                    } catch (const std::bad_alloc&) {
                        ++failures;
                    }
                    has_failed = failing.struck();
                }
                if (!id.empty()) {
                    auto below = all.log.continue_task(id, "below");
                }
            }
        }
        outer.succeed();
        CHECK(calls == 0);
        CHECK(failures > 5);
        CHECK(is_complete(all.lines()));
    }

    TEST_CASE("a foreign record has its number, and its time, where its fields do not fit") {
        action_log all{.ring_bytes = 4096};
        const std::string function(600, 'f');
        const std::string message(2000, 'm');
        const log_record::time_point when(std::chrono::hours(1));
        auto outer = all.log.start_action("outer");
        const auto put = [&](std::string_view said, std::string_view called) {
            detail::put_foreign(
                detail::logger_access::core(all.log),
                {.message = said, .when = when, .thread = 7, .file = "a.cpp", .function = called});
        };
        put("short", function);
        put(message, function);
        put(message, "work");
        outer.succeed();
        const auto lines = all.lines();
        CHECK(is_complete(lines));
        REQUIRE(lines.size() == 5);
        for (const auto& line : lines) {
            const bool is_foreign = line.type.empty();
            CHECK((line.text.find("1970-01-01T01:00:00.") != line.text.npos) == is_foreign);
        }
    }
}
