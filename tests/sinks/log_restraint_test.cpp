// log_restraint: rates and repetitions, and that all that is held back is told.
#include "support/allocations.hpp"
#include "support/log_records.hpp"

#include <sapwood/log_restraint.hpp>

#include <chrono>
#include <cstring>
#include <doctest/doctest.h>
#include <initializer_list>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace sapwood;
using namespace std::chrono_literals;
using detail::log_restraint;
using test::owned_record;

/// An output's part: what is written, line by line.
class lines_told final : public log_restraint::teller {
  public:
    bool tell_held_back(std::string_view text, level importance) noexcept override {
        if (!has_room) {
            return false;
        }
        lines.push_back(std::string(to_string(importance)) + " " + std::string(text));
        held += std::stoull(std::string(text));
        return true;
    }

    std::vector<std::string> lines;
    std::uint64_t held = 0;
    bool has_room = true;
};

/// Has room for one line, and asks for no memory.
struct quiet_teller final : log_restraint::teller {
    bool tell_held_back(std::string_view text, level) noexcept override {
        bytes = text.copy(line, sizeof(line));
        return has_room;
    }

    char line[256] = {};
    std::size_t bytes = 0;
    bool has_room = false;
};

/// A restraint, what has come of it, and a time that goes on when it is told to.
struct restrained {
    explicit restrained(const log_limits& limits) : restraint(limits) {}

    void log(owned_record record) {
        record.ns = test::some_ns + ns.count();
        if (restraint.admits(record.view(), now(), told)) {
            told.lines.push_back(record.message);
        }
    }

    void pass(std::chrono::nanoseconds time) {
        ns += time;
        if (restraint.due() <= now()) {
            restraint.tell_due(now(), told);
        }
    }

    clock::time_point now() const { return clock::time_point(1h + ns); }

    std::chrono::nanoseconds ns{0};
    lines_told told;
    log_restraint restraint;
};

owned_record at_site(std::string message, std::uint64_t site) {
    owned_record record{.message = std::move(message)};
    char bytes[sizeof(site)];
    std::memcpy(bytes, &site, sizeof(site));
    record.with(detail::log_field_kind::site, {bytes, sizeof(bytes)});
    return record;
}

using strings = std::vector<std::string>;

} // namespace

TEST_SUITE("log_restraint") {

    TEST_CASE("a repetition is held back, and told before the next other record") {
        restrained log({.repeats_within = 1s});
        for (int i = 0; i < 4; ++i) {
            log.log({.message = "same"});
        }
        log.log({.message = "other"});
        log.log({.message = "same"});
        CHECK(log.told.lines ==
              strings{"same",
                      "info 3 records held back: the same as the one before, \"same\" and so on",
                      "other", "same"});
        CHECK(log.restraint.held_back() == 3);
    }

    TEST_CASE("what differs in anything is no repetition") {
        restrained log({.repeats_within = 1s});
        log.log({.message = "same"});
        log.log({.message = "same", .importance = level::warning});
        log.log({.message = "same", .importance = level::warning, .logger_id = 2});
        owned_record with_field{.message = "same", .importance = level::warning, .logger_id = 2};
        log.log(with_field.with(kv("n", 1)));
        owned_record with_other{.message = "same", .importance = level::warning, .logger_id = 2};
        log.log(with_other.with(kv("n", 2)));
        log.log({.message = "sam", .importance = level::warning, .logger_id = 2});
        CHECK(log.told.lines.size() == 6);
        CHECK(log.restraint.held_back() == 0);
    }

    TEST_CASE("repetitions are told when their time is over, and the next one is written again") {
        restrained log({.repeats_within = 1s});
        log.log({.message = "same"});
        log.pass(100ms);
        log.log({.message = "same", .importance = level::info});
        CHECK(log.restraint.due() == log.now() + 1s);
        log.pass(999ms); // the window of the first one is over
        CHECK(log.told.lines == strings{"same"});
        log.pass(1ms);
        CHECK(log.told.lines ==
              strings{"same", "info 1 record held back: the same as the one before, \"same\""});
        CHECK(log.restraint.due() == clock::time_point::max());
        log.log({.message = "same"});
        CHECK(log.told.lines.back() == "same");
    }

    TEST_CASE("a place in the program has its rate, whatever it says, and no other suffers") {
        restrained log({.each_call_site = {.records = 2, .interval = 1s}});
        for (int i = 0; i < 10; ++i) {
            log.log(at_site("a" + std::to_string(i), 1));
            log.log(at_site("b" + std::to_string(i % 2), 2 + static_cast<std::uint64_t>(i)));
        }
        CHECK(log.restraint.held_back() == 8);
        CHECK(log.told.lines.size() == 12);
        log.pass(500ms); // half of two
        log.log(at_site("again", 1));
        log.log(at_site("too much", 1));
        REQUIRE(log.told.lines.size() == 14);
        CHECK(log.told.lines[12] ==
              "info 8 records held back: more than 2 in 1 s from one place in "
              "the program, \"a2\" and so on");
        CHECK(log.told.lines[13] == "again");
    }

    TEST_CASE("a burst may be larger or smaller than the rate") {
        for (const std::uint32_t burst : {1u, 5u, 20u}) {
            CAPTURE(burst);
            restrained log({.all = {.records = 10, .interval = 1s, .burst = burst}});
            for (int i = 0; i < 100; ++i) {
                log.log({});
            }
            CHECK(100 - log.restraint.held_back() == burst);
            log.pass(10s);
            const auto before = log.restraint.held_back();
            for (int i = 0; i < 100; ++i) {
                log.log({});
            }
            CHECK(100 - (log.restraint.held_back() - before) == burst);
        }
    }

    TEST_CASE("over a long time as many are let through as the rate says") {
        restrained log({.all = {.records = 10, .interval = 1s}});
        for (int i = 0; i < 10'000; ++i) {
            log.log({});
            log.pass(10ms);
        }
        const auto written = 10'000 - log.restraint.held_back();
        CHECK(written >= 1'000);
        CHECK(written <= 1'010);
    }

    TEST_CASE("without a further record what was held back is told when the interval is over") {
        restrained log({.all = {.records = 1, .interval = 250ms}});
        log.log({.message = "one"});
        log.log({.message = "two", .importance = level::error});
        log.log({.message = "three"});
        log.pass(249ms);
        CHECK(log.told.lines == strings{"one"});
        log.pass(1ms);
        CHECK(
            log.told.lines ==
            strings{"one", "error 2 records held back: more than 1 in 250 ms, \"two\" and so on"});
    }

    TEST_CASE("at the end everything is told") {
        restrained log(
            {.each_call_site = {.records = 1}, .all = {.records = 3}, .repeats_within = 1s});
        for (int i = 0; i < 10; ++i) {
            log.log(at_site("site " + std::to_string(i), static_cast<std::uint64_t>(i)));
            log.log(at_site("site " + std::to_string(i), static_cast<std::uint64_t>(i)));
        }
        log.restraint.tell_all(log.told);
        CHECK(log.restraint.told() == log.restraint.held_back());
        CHECK(log.restraint.due() == clock::time_point::max());
    }

    TEST_CASE("what cannot be told just now is told later") {
        restrained log({.repeats_within = 1s});
        log.log({.message = "same"});
        log.log({.message = "same"});
        log.told.has_room = false;
        log.pass(1s);
        CHECK(log.told.held == 0);
        CHECK(log.restraint.due() > log.now());
        log.told.has_room = true;
        log.pass(1s);
        CHECK(log.told.held == 1);
    }

    TEST_CASE("a clock that is set back stops nothing for long") {
        restrained log({.all = {.records = 1, .interval = 1s}, .repeats_within = 1s});
        log.log({.message = "one"});
        log.ns -= 24h;
        log.log({.message = "one"});
        CHECK(log.restraint.held_back() == 1);
        log.ns += 1s;
        log.log({.message = "two"});
        CHECK(log.told.lines.back() == "two");
    }

    TEST_CASE("more places than there is room for share a rate") {
        restrained log({.each_call_site = {.records = 1, .interval = 1s}});
        const std::uint64_t sites = detail::log_call_sites_max + 100;
        for (std::uint64_t i = 0; i < sites; ++i) {
            log.log(at_site("m", i + 1));
        }
        CHECK(log.restraint.held_back() == 99);
    }

    TEST_CASE("whatever comes, written and told are all that came") {
        const unsigned seed = std::random_device()();
        CAPTURE(seed);
        std::mt19937 random(seed);
        restrained log({.each_call_site = {.records = 3, .interval = 10ms},
                        .all = {.records = 20, .interval = 10ms, .burst = 5},
                        .repeats_within = 2ms});
        constexpr std::uint64_t records = 20'000;
        for (std::uint64_t i = 0; i < records; ++i) {
            log.told.has_room = random() % 10 != 0;
            log.log(at_site(std::string(1, static_cast<char>('a' + random() % 4)), random() % 6));
            if (random() % 3 == 0) {
                log.pass(std::chrono::microseconds(random() % 2'000));
            }
        }
        log.told.has_room = true;
        log.restraint.tell_all(log.told);
        std::uint64_t written = 0;
        for (const auto& line : log.told.lines) {
            written += line.size() == 1 ? 1 : 0;
        }
        CHECK(written > 0);
        CHECK(log.told.held > 0);
        CHECK(written + log.told.held == records);
        CHECK(log.told.held == log.restraint.held_back());
    }

    TEST_CASE("an option that makes no sense is named") {
        CHECK_THROWS_WITH_AS(log_restraint({.all = {.records = 10, .interval = 5ns}}),
                             doctest::Contains("all.interval"), std::invalid_argument);
        CHECK_THROWS_WITH_AS(log_restraint({.repeats_within = -1ns}),
                             doctest::Contains("repeats_within"), std::invalid_argument);
        CHECK_THROWS_WITH_AS(
            log_restraint({.each_call_site = {.records = 1, .interval = 24h, .burst = 200'000}}),
            doctest::Contains("each_call_site.interval and burst"), std::invalid_argument);
        CHECK_THROWS_WITH_AS(
            log_restraint({.all = {.records = 1, .interval = std::chrono::nanoseconds::max()}}),
            doctest::Contains("all.interval"), std::invalid_argument);
    }

    TEST_CASE("repetitions may be held back for ever, and are told before another record") {
        restrained log({.repeats_within = std::chrono::nanoseconds::max()});
        for (int hour = 0; hour < 4; ++hour) {
            log.log({.message = "same"});
            log.pass(1h);
        }
        CHECK(log.told.lines == strings{"same"});
        log.log({.message = "other"});
        CHECK(log.told.lines ==
              strings{"same",
                      "info 3 records held back: the same as the one before, \"same\" and so on",
                      "other"});
    }

    TEST_CASE("what is due is told without memory, and nothing is due for ever") {
        log_restraint restraint({.repeats_within = 1h});
        quiet_teller told;
        const clock::time_point begin{};
        const owned_record record;
        CHECK(restraint.admits(record.view(), begin, told));
        CHECK_FALSE(restraint.admits(record.view(), begin, told));
        const auto due = restraint.due();
        CHECK(due == begin + 1h);
        clock::time_point later{};
        bool has_asked = false;
        {
            const test::failing_allocations failing(1);
            restraint.tell_due(due, told);
            later = restraint.due();
            told.has_room = true;
            restraint.tell_due(later, told);
            has_asked = failing.struck();
        }
        CHECK_FALSE(has_asked);
        CHECK(later > due); // there was no room
        CHECK(later < due + 1h);
        CHECK(std::string_view(told.line, told.bytes).starts_with("1 record held back: "));
        CHECK(restraint.due() == clock::time_point::max());
    }
}
