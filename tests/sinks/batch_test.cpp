// batch: records as whole lines, byte for byte.
#include "support/allocations.hpp"

#include <sapwood/batch.hpp>
#include <sapwood/escape.hpp>

#include <chrono>
#include <ctime>
#include <doctest/doctest.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <limits>
#include <new>
#include <random>
#include <string>
#include <string_view>
#include <utility>

namespace {

using namespace std::chrono_literals;
using namespace std::string_view_literals;
using sapwood::batch;
using sapwood::layout;
using sapwood::level;
using sapwood::record;

constexpr std::size_t usual_bytes = 4096;

/// 2026-11-21 22:39:56 UTC.
constexpr record::time_point some_time{1'795'300'796s};

std::string text_of(const batch& lines) {
    return {lines.bytes().data(), lines.bytes().size()};
}

/// One record as a plain line.
std::string line(record item) {
    batch lines(usual_bytes, layout::plain);
    lines.push_back(std::move(item));
    return text_of(lines);
}

std::string line_at(record::time_point when) {
    return line(record(level::info, 1, "x", when));
}

std::size_t allocations_of_escaping(std::string_view message) {
    const auto before = sapwood::test::allocations();
    std::string escaped;
    sapwood::escape(message, escaped);
    return sapwood::test::allocations() - before;
}

} // namespace

TEST_SUITE("batch") {

    TEST_CASE("a plain line is time, producer, level and message") {
        CHECK(line(record(level::info, 17, "the bark is thin", some_time + 123ms)) ==
              "2026-11-21 22:39:56.123 17 info the bark is thin\n");
        CHECK(line(record(level::critical, std::numeric_limits<std::uint32_t>::max(), "",
                          some_time)) == "2026-11-21 22:39:56.000 4294967295 critical \n");
    }

    TEST_CASE("a record that somebody else owns has the line of one that owns its message") {
        std::string long_text(1000, 'x');
        for (const auto form : {layout::plain, layout::numbered, layout::verbatim}) {
            sapwood::line_head numbers;
            sapwood::line_head same_numbers;
            batch lines(usual_bytes, form, &numbers);
            batch same(usual_bytes, form, &same_numbers);
            for (int i = 0; i < 10; ++i) { // more than fits without growing
                const sapwood::record_view shown{some_time + i * 1ms, 17, level::warning, "[who] ",
                                                 i % 2 == 0 ? "short"sv
                                                            : std::string_view(long_text)};
                lines.push_back(shown);
                same.push_back(record(shown));
                long_text.append(10'000, 'y');
            }
            CHECK(text_of(lines) == text_of(same));
            CHECK(lines.records() == 10);
            CHECK(lines.lines() == 10);
            CHECK(numbers.next() == same_numbers.next());
        }
    }

    TEST_CASE("every level has its name in the line") {
        for (const auto one : {level::trace, level::debug, level::info, level::warning,
                               level::error, level::critical}) {
            CHECK(line(record(one, 0, "x", some_time)) ==
                  fmt::format("2026-11-21 22:39:56.000 0 {} x\n", to_string(one)));
        }
        for (const int none : {6, 7, 8, 255}) {
            CHECK(
                line(record(static_cast<level>(none), 0, "x", some_time)) ==
                fmt::format("2026-11-21 22:39:56.000 0 {} x\n", to_string(static_cast<level>(6))));
        }
    }

    TEST_CASE("the time rolls over with the second, the day and the year") {
        const record::time_point new_year{1'798'761'600s}; // 2027-01-01
        batch lines(usual_bytes, layout::plain);
        for (const auto offset : {-1000ms, -1ms, 0ms, 999ms, 1000ms}) {
            lines.push_back(record(level::info, 1, "x", new_year + offset));
        }
        CHECK(text_of(lines) == "2026-12-31 23:59:59.000 1 info x\n"
                                "2026-12-31 23:59:59.999 1 info x\n"
                                "2027-01-01 00:00:00.000 1 info x\n"
                                "2027-01-01 00:00:00.999 1 info x\n"
                                "2027-01-01 00:00:01.000 1 info x\n");
    }

    TEST_CASE("the time may go back, before the epoch as well") {
        batch lines(usual_bytes, layout::plain);
        for (const auto when : {some_time, record::time_point(0s), record::time_point(-1ns)}) {
            lines.push_back(record(level::info, 1, "x", when));
        }
        CHECK(text_of(lines) == "2026-11-21 22:39:56.000 1 info x\n"
                                "1970-01-01 00:00:00.000 1 info x\n"
                                "1969-12-31 23:59:59.999 1 info x\n");
    }

    TEST_CASE("the first and the last time there are stand in a line too") {
        CHECK(line_at(record::time_point::min()) == "1677-09-21 00:12:43.146 1 info x\n");
        CHECK(line_at(record::time_point::max()) == "2262-04-11 23:47:16.854 1 info x\n");
    }

    TEST_CASE("a leap day is a day") {
        CHECK(line_at(record::time_point(1'709'164'800s)) == "2024-02-29 00:00:00.000 1 info x\n");
    }

    TEST_CASE("milliseconds are cut off, not rounded") {
        CHECK(line_at(some_time + 999'999'999ns) == "2026-11-21 22:39:56.999 1 info x\n");
    }

    TEST_CASE("random times are what the C library says") {
        const auto seed = std::random_device()();
        CAPTURE(seed);
        std::mt19937_64 random(seed);
        batch lines(usual_bytes, layout::plain);
        std::string expected;
        for (int i = 0; i < 2'000; ++i) {
            const auto millisecond = static_cast<std::int64_t>(random() % 4'102'444'800'000);
            const std::time_t second = millisecond / 1000;
            lines.push_back(record(level::info, 1, "x",
                                   record::time_point(std::chrono::milliseconds(millisecond))));
            expected += fmt::format("{:%Y-%m-%d %H:%M:%S}.{:03} 1 info x\n", fmt::gmtime(second),
                                    millisecond % 1000);
        }
        CHECK(text_of(lines) == expected);
    }

    TEST_CASE("a record is one line, whatever its message holds") {
        const auto text =
            line(record(level::info, 1, "x\n2026-11-21 forged\x1b[1A\xff", some_time));
        CHECK(text == "2026-11-21 22:39:56.000 1 info x\\n2026-11-21 forged\\x1b[1A\\xff\n");
    }

    TEST_CASE("a message that grows when it is escaped fits") {
        const std::string controls(100'000, '\x01');
        std::string expected = "2026-11-21 22:39:56.000 1 info ";
        for (std::size_t i = 0; i < controls.size(); ++i) {
            expected += "\\x01";
        }
        CHECK(line(record(level::info, 1, controls, some_time)) == expected + "\n");
    }

    TEST_CASE("a message that grows past the end of a batch's memory makes it grow, to the byte") {
        // All of a batch's memory, which holds 32 KiB more than its maximum.
        constexpr std::size_t memory = 16 + (32u << 10);
        // And more than half as much again, which it takes at least.
        for (const std::size_t size :
             {memory - 2, memory - 1, memory, memory + 1, memory + 2, 2 * memory}) {
            CAPTURE(size);
            batch lines(16, layout::plain);
            const std::size_t head = line(record(level::info, 1, "", some_time)).size() - 1;
            // Newlines and a last letter: two bytes each, and one.
            const std::size_t text = size - head - 1;
            std::string message(text / 2, '\n');
            message += std::string(text % 2, 'x');
            record item(level::info, 1, message, some_time);
            const auto before = sapwood::test::allocations();
            lines.push_back(std::move(item));
            const auto grown = sapwood::test::allocations() - before;
            REQUIRE(lines.bytes().size() == size);
            // The escaped text is one.
            CHECK((grown > allocations_of_escaping(message)) == (size > memory));
        }
    }

    TEST_CASE("a verbatim record stands byte for byte, with a newline after it") {
        batch lines(usual_bytes, layout::verbatim);
        lines.push_back(record(level::info, 1, "one\r\ntwo\0\x1b\xff"sv));
        lines.push_back(record(level::info, 2, ""));
        lines.push_back(record(level::info, 3, "\n"));
        CHECK(text_of(lines) == "one\r\ntwo\0\x1b\xff\n\n\n\n"sv);
        CHECK(lines.records() == 3);
        CHECK(lines.lines() == 5);
    }

    TEST_CASE("lines are counted as they stand in the bytes") {
        batch plain(usual_bytes, layout::plain);
        plain.push_back(record(level::info, 1, "a\nb", some_time));
        plain.push_back(record(level::info, 1, "c", some_time));
        CHECK(plain.lines() == 2);

        batch lines(usual_bytes, layout::verbatim);
        lines.push_back(record(level::info, 1, "a\nbc"));
        lines.push_back(record(level::info, 1, "d"));
        CHECK(text_of(lines) == "a\nbc\nd\n");
        CHECK(lines.lines_within(0) == 0);
        CHECK(lines.lines_within(1) == 0);
        CHECK(lines.lines_within(2) == 1);
        CHECK(lines.lines_within(4) == 1);
        CHECK(lines.lines_within(5) == 2);
        CHECK(lines.lines_within(6) == 2);
        CHECK(lines.lines_within(7) == 3);
        CHECK(lines.lines_within(1000) == 3);
    }

    TEST_CASE("a batch is full at its maximum and takes records all the same") {
        batch lines(10, layout::verbatim);
        CHECK(lines.empty());
        lines.push_back(record(level::info, 1, "12345678"));
        CHECK(!lines.empty());
        CHECK(!lines.full());
        lines.push_back(record(level::info, 1, ""));
        CHECK(lines.full());

        std::string expected = "12345678\n\n";
        const std::string message(1000, 'x');
        for (int i = 0; i < 1000; ++i) {
            lines.push_back(record(level::info, 1, message));
            expected += message + "\n";
        }
        CHECK(text_of(lines) == expected);
        CHECK(lines.records() == 1002);
    }

    TEST_CASE("a record longer than the whole batch fits") {
        batch lines(16, layout::verbatim);
        const std::string message(1'000'000, 'y');
        lines.push_back(record(level::info, 1, "before"));
        lines.push_back(record(level::info, 1, message));
        lines.push_back(record(level::info, 1, "after"));
        CHECK(text_of(lines) == "before\n" + message + "\nafter\n");
    }

    TEST_CASE("a cleared batch is empty and gives back what a long record made it take") {
        batch lines(1000, layout::verbatim);
        const record long_one(level::info, 1, std::string(1'000'000, 'z'));
        const auto growths = [&] {
            record copy(level::info, 1, long_one.message());
            const auto before = sapwood::test::allocations();
            lines.push_back(std::move(copy));
            return sapwood::test::allocations() - before;
        };
        CHECK(growths() == 1);
        lines.clear();
        const auto usual = sapwood::test::allocations_alive();
        std::size_t grown = 0;
        for (int time = 0; time < 10; ++time) {
            grown += growths();
            lines.clear();
        }
        const auto alive = sapwood::test::allocations_alive();
        CHECK(grown == 10);
        CHECK(alive == usual);
        CHECK(lines.empty());
        CHECK(!lines.full());
        CHECK(lines.lines() == 0);
        CHECK(lines.bytes().empty());

        lines.push_back(record(level::info, 1, "again"));
        CHECK(text_of(lines) == "again\n");
        CHECK(lines.records() == 1);
    }

    TEST_CASE("a record for which there is no memory changes nothing") {
        for (const auto form : {layout::plain, layout::verbatim}) {
            for (const auto& message : {std::string(100'000, 'x'), std::string(100'000, '\n')}) {
                batch lines(16, form);
                lines.push_back(record(level::info, 1, "before", some_time));
                const std::string before = text_of(lines);
                // Whichever allocation fails, and then with none that does.
                for (std::size_t nth = 1;; ++nth) {
                    record item(level::info, 1, message, some_time);
                    bool struck = false;
                    {
                        const sapwood::test::failing_allocations failing(nth);
                        try {
                            lines.push_back(std::move(item));
                        } catch (const std::bad_alloc&) {
                            struck = true;
                        }
                    }
                    if (!struck) {
                        break;
                    }
                    REQUIRE(text_of(lines) == before);
                    REQUIRE(lines.records() == 1);
                    REQUIRE(lines.lines() == 1);
                    // NOLINTNEXTLINE(bugprone-use-after-move): it was not taken.
                    REQUIRE(item.message() == message);
                }
                CHECK(lines.records() == 2);
            }
        }
    }
}
