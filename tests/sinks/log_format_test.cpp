// What becomes of a log call's arguments and of a record's parts: numbers as fmt has them, and the
// forms of a line.
#include "support/co_test.hpp"

#include <sapwood/fixed_decimal.hpp>
#include <sapwood/json_layout.hpp>
#include <sapwood/level.hpp>
#include <sapwood/log_format.hpp>
#include <sapwood/log_macros.hpp>
#include <sapwood/logger.hpp>
#include <sapwood/memory_log_sink.hpp>
#include <sapwood/this_task.hpp>

#include <bit>
#include <cmath>
#include <cstdint>
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace sapwood;
using detail::fixed_decimal;

std::string fixed(double value, unsigned precision) {
    char text[128];
    const fixed_decimal number(value, precision);
    char* const end = number.put(text);
    CHECK(number.size() == static_cast<std::size_t>(end - text));
    return {text, end};
}

std::string fixed_by_fmt(double value, unsigned precision) {
    return fmt::format("{:.{}f}", value, precision);
}

/// The record that `call` logs, as `form` renders it.
template <class Call>
std::string line_of(std::unique_ptr<log_layout> form, Call&& call, std::string name = "") {
    const auto memory = std::make_shared<log_memory>();
    logger_options options;
    options.outputs.push_back(
        {.sink = std::make_unique<memory_log_sink>(memory), .form = std::move(form)});
    options.name = std::move(name);
    options.keep_location = true;
    options.keep_task = true;
    {
        const logger log(std::move(options));
        call(log);
    }
    return memory->text();
}

template <class Call>
std::string text_line_of(std::string_view pattern, Call&& call, std::string name = "") {
    return line_of(std::make_unique<text_layout>(text_layout_options{.pattern = pattern}),
                   std::forward<Call>(call), std::move(name));
}

/// A record of a known time and thread, as `form` renders it.
std::string rendered(log_layout& form, std::string_view message,
                     std::chrono::nanoseconds since_epoch, level importance = level::info) {
    static const log_thread thread{.id = 42, .ordinal = 1, .name = "worker"};
    log_buffer to(64);
    form.append({.when = log_record::time_point(since_epoch),
                 .importance = importance,
                 .is_known_plain = false,
                 .is_truncated = false,
                 .message = message,
                 .logger = "app.db",
                 .logger_id = 3,
                 .thread = thread,
                 .sequence = 7,
                 .fields = {}},
                to);
    return std::string(to.text());
}

/// 2026-11-21 22:39:56.123456789 UTC, a Saturday.
constexpr std::chrono::nanoseconds some_time{1'795'300'796'123'456'789};

std::string by_pattern(std::string_view pattern, level importance = level::info) {
    text_layout form({.pattern = pattern});
    return rendered(form, "message", some_time, importance);
}

} // namespace

TEST_SUITE("log_format") {

    TEST_CASE("a fixed number of digits is what printf prints, ties and carries included") {
        for (unsigned precision = 0; precision <= fixed_decimal::precision_max; ++precision) {
            CAPTURE(precision);
            for (const double value : {0.0, -0.0, 0.5, 1.5, 2.5, 0.125, 0.375, 0.0625, 1e-9, 5e-10,
                                       0.9999999999, 999.9995, 1e15, 4503599627370496.5,
                                       9007199254740993.0, 9e18, 1e-300, 5e-324, -1.0005}) {
                CAPTURE(value);
                CHECK(fixed(value, precision) == fixed_by_fmt(value, precision));
            }
        }
    }

    TEST_CASE("random numbers with a fixed number of digits are what fmt writes") {
        const auto seed = std::random_device()();
        CAPTURE(seed);
        std::mt19937_64 random(seed);
        for (int i = 0; i < 20'000; ++i) {
            const auto bits = random();
            const double any = std::bit_cast<double>(bits);
            const double usual = static_cast<double>(bits % 1'000'000'000) /
                                 static_cast<double>(1 + random() % 100'000);
            const auto precision = static_cast<unsigned>(random() % 10);
            REQUIRE(fixed(usual, precision) == fixed_by_fmt(usual, precision));
            if (fixed_decimal::accepts(any)) {
                REQUIRE(fixed(any, precision) == fixed_by_fmt(any, precision));
            } else {
                REQUIRE((!std::isfinite(any) || std::fabs(any) >= 9.2e18));
            }
        }
    }

    TEST_CASE("the compiler takes apart what it can and leaves the rest to fmt") {
        using detail::log_format;
        constexpr log_format<int, double> quick("a {} b {:.3f} c");
        static_assert(quick.quick() && quick.literals_are_plain());
        static_assert(quick.literal<0>() == "a " && quick.literal<1>() == " b " &&
                      quick.literal<2>() == " c" && quick.literal_bytes() == 7);
        static_assert(quick.spec(0).is_bare() && quick.spec(1).precision() == 3);
        static_assert(log_format<int>("{:>4}").quick() && log_format<int>("{:08x}").quick());
        static_assert(log_format<double>("{:08.3f}").quick());
        static_assert(!log_format<double>("{:.3e}").quick() && !log_format<double>("{:8}").quick());
        static_assert(!log_format<int>("{:^4}").quick() && !log_format<int>("{:*>4}").quick());
        static_assert(!log_format<int>("{:+}").quick() && !log_format<int>("{:#x}").quick());
        static_assert(!log_format<int>("{:<04}").quick() && !log_format<int>("{:100}").quick());
        static_assert(!log_format<bool>("{:8}").quick() && !log_format<char>("{:x}").quick());
        static_assert(!log_format<std::string>("{:.3}").quick());
        static_assert(!log_format<int>("{{{}}}").quick());
        static_assert(!log_format<int, int>("{1} {0}").quick());
        static_assert(log_format<std::string>("{}").literals_are_plain());
        static_assert(!log_format<>("a\n").literals_are_plain());
        CHECK(quick.where().line() > 0);
    }

    TEST_CASE("widths, hexadecimal digits and zeros are as fmt has them") {
        const auto check = [](auto value, const std::string& text) {
            const auto line = text_line_of("%v", [&](const logger& log) {
                if constexpr (std::is_floating_point_v<decltype(value)>) {
                    log.info("{:8.3f}|{:<12.1f}|{:>12.0f}|{:08.3f}|{:024.9f}|{:2.2f}", value, value,
                             value, value, value, value);
                } else {
                    log.info("{:x}|{:X}|{:8}|{:<8}|{:>8}|{:08}|{:08x}|{:99}|{:>3X}|{:1}", value,
                             value, value, value, value, value, value, value, value, value);
                }
                log.info("{:12}|{:<12}|{:>12}|{:3}", text, text, std::string_view(text),
                         text.c_str());
            });
            std::string expected;
            if constexpr (std::is_floating_point_v<decltype(value)>) {
                expected = fmt::format("{:8.3f}|{:<12.1f}|{:>12.0f}|{:08.3f}|{:024.9f}|{:2.2f}\n",
                                       value, value, value, value, value, value);
            } else {
                expected = fmt::format(
                    "{:x}|{:X}|{:8}|{:<8}|{:>8}|{:08}|{:08x}|{:99}|{:>3X}|{:1}\n", value, value,
                    value, value, value, value, value, value, value, value);
            }
            expected += fmt::format("{:12}|{:<12}|{:>12}|{:3}\n", text, text, text, text);
            REQUIRE(line == expected);
        };
        check(0, "");
        check(-255, "plain");
        check(std::numeric_limits<std::int64_t>::min(), "longer than any width");
        check(std::numeric_limits<std::uint64_t>::max(),
              "\xc3\xa4\xe4\xb8\xad"); // as wide as three
        check(static_cast<std::int8_t>(-128), "x");
        check(static_cast<unsigned short>(65'535), std::string(200, 'y'));
        check(-0.0, "");
        check(-1.5, "a");
        check(12345.6789, "b");
        check(9.87e17F, "c");
        check(1e300, "d");
        check(std::numeric_limits<double>::infinity(), "e");
        check(-std::numeric_limits<double>::quiet_NaN(), "f");
    }

    TEST_CASE("numbers of all kinds are logged as fmt formats them") {
        const auto line = text_line_of("%v", [](const logger& log) {
            log.info("{} {} {} {} {:.2f} {:.2f} {}", 0.1, 1e20, 0.1F, -1e-7, 1e300,
                     std::numeric_limits<double>::infinity(), std::uint64_t{1} << 63);
        });
        CHECK(line == fmt::format("{} {} {} {} {:.2f} {:.2f} {}\n", 0.1, 1e20, 0.1F, -1e-7, 1e300,
                                  std::numeric_limits<double>::infinity(), std::uint64_t{1} << 63));
    }

    TEST_CASE("integers of every length are written as fmt writes them") {
        const auto seed = std::random_device()();
        CAPTURE(seed);
        std::mt19937_64 random(seed);
        const auto written = [](auto value) {
            char text[32];
            return std::string(text, detail::put_decimal_of(text, value));
        };
        std::uint64_t power = 1;
        for (unsigned digits = 0; digits < 20; ++digits, power *= 10) {
            for (const std::uint64_t near : {power - 1, power, power + 1}) {
                REQUIRE(written(near) == fmt::to_string(near));
            }
        }
        for (unsigned i = 0; i < 50'000; ++i) {
            const std::uint64_t value = random() >> (i % 64);
            REQUIRE(written(value) == fmt::to_string(value));
            const auto negative = static_cast<std::int64_t>(value);
            REQUIRE(written(negative) == fmt::to_string(negative));
            REQUIRE(written(static_cast<std::int8_t>(value)) ==
                    fmt::to_string(static_cast<std::int8_t>(value)));
        }
        CHECK(written(std::numeric_limits<std::int64_t>::min()) == "-9223372036854775808");
        CHECK(written(std::numeric_limits<std::uint64_t>::max()) == "18446744073709551615");
        CHECK(detail::decimal_bytes_max<std::int64_t> == 20);
        CHECK(detail::decimal_bytes_max<std::uint64_t> == 20);
        CHECK(detail::decimal_bytes_max<std::int8_t> == 4);
    }

    TEST_CASE("a string of any length is logged whole, and escaped wherever it must be") {
        for (std::size_t size = 0; size <= 80; ++size) {
            const std::string plain(size, 'p');
            std::string lines;
            std::string expected = fmt::format("<{}>\n", plain);
            for (std::size_t at = 0; at < size; ++at) {
                expected += fmt::format("<{}\\n{}>\n", plain.substr(0, at), plain.substr(at + 1));
            }
            lines = text_line_of("%v", [&](const logger& log) {
                log.info("<{}>", plain);
                for (std::size_t at = 0; at < size; ++at) {
                    std::string broken = plain;
                    broken[at] = '\n';
                    log.info("<{}>", broken);
                }
            });
            REQUIRE(lines == expected);
        }
    }

    TEST_CASE("lines that are rendered together are those that are rendered one by one") {
        const auto seed = std::random_device()();
        CAPTURE(seed);
        std::mt19937_64 random(seed);
        const std::string long_name(120, 'n');
        std::vector<log_thread> threads;
        for (std::uint32_t i = 0; i < 100; ++i) {
            threads.push_back({.id = 1000 + i, .ordinal = i, .name = ""});
        }
        std::string fields(detail::log_field_header_bytes, '\0');
        detail::put_field_header(fields.data(), {1, 1, detail::log_field_kind::text});
        fields += "kv";
        for (const std::string_view pattern :
             {default_log_pattern, std::string_view("[%H:%M:%S.%e] %v"), std::string_view("%v"),
              std::string_view("%v %l"), std::string_view("%q %v"), std::string_view("%T.%f %v"),
              std::string_view("%-40!%n %l %^%v")}) {
            CAPTURE(pattern);
            text_layout together({.pattern = pattern});
            text_layout alone({.pattern = pattern});
            std::chrono::nanoseconds when = some_time;
            for (int i = 0; i < 20; ++i) {
                std::vector<log_record> records;
                log_buffer one_by_one(64);
                const std::size_t count = random() % 64;
                for (std::size_t j = 0; j < count; ++j) {
                    when += std::chrono::nanoseconds(random() % 400'000);
                    const auto id = static_cast<std::uint16_t>(random() % 5);
                    records.push_back(
                        {.when = log_record::time_point(when),
                         .importance = static_cast<level>(random() % 6),
                         .is_known_plain = false,
                         .is_truncated = random() % 16 == 0,
                         .message = random() % 8 == 0 ? "a\nb" : "message",
                         .logger = id == 4 ? std::string_view(long_name) : std::string_view("app"),
                         .logger_id = id,
                         .thread = threads[random() % threads.size()],
                         .sequence = j,
                         .fields = random() % 8 == 0 ? fields : std::string_view()});
                    alone.append(records.back(), one_by_one);
                }
                log_buffer all(random() % 512);
                together.append_all(records, all);
                REQUIRE(all.text() == one_by_one.text());
            }
        }
    }

    TEST_CASE("levels are read in any case, and by their short names") {
        CHECK(parse_level("WARN") == level::warning);
        CHECK(parse_level("err") == level::error);
        CHECK(parse_level("Off") == level::off);
        CHECK_FALSE(parse_level("loud"));
    }

    TEST_CASE("a pattern's flags stand for the parts of a record") {
        CHECK(by_pattern("%Y-%m-%d %H:%M:%S.%e %t %l %n %v") ==
              "2026-11-21 22:39:56.123 42 info app.db message\n");
        CHECK(by_pattern("%f %F %E %z") == "123456 123456789 1795300796 +00:00\n");
        CHECK(by_pattern("%a %A %b %B %y %C %I %p %T %D") ==
              "Sat Saturday Nov November 26 26 10 PM 22:39:56 11/21/26\n");
        CHECK(by_pattern("%L|%N|%q|%%|%*|%^%$") == "I|worker|7|%|app.db |\n");
        CHECK(by_pattern("[%8l][%-8l][%=8l][%8v]", level::error) ==
              "[   error][error   ][ error  ][ message]\n");
        CHECK(by_pattern("%v %v") == "message message\n");
    }

    TEST_CASE("a pattern that cannot be is refused, with its reason") {
        CHECK_THROWS_WITH_AS(by_pattern("%v %"), doctest::Contains("ends with a percent sign"),
                             std::invalid_argument);
        CHECK_THROWS_WITH_AS(by_pattern("%w"), doctest::Contains("%w"), std::invalid_argument);
        CHECK_THROWS_WITH_AS(by_pattern("a\nb"), doctest::Contains("newline"),
                             std::invalid_argument);
        CHECK_THROWS_WITH_AS(by_pattern("%300l"), doctest::Contains("128"), std::invalid_argument);
    }

    TEST_CASE("a line's time follows the record's, to the millisecond and over a day's end") {
        text_layout form({.pattern = "%d %T.%e"});
        const auto midnight = std::chrono::nanoseconds(1'795'305'600'000'000'000);
        using namespace std::chrono_literals;
        CHECK(rendered(form, "", midnight - 1ms) == "21 23:59:59.999\n");
        CHECK(rendered(form, "", midnight - 1ns) == "21 23:59:59.999\n");
        CHECK(rendered(form, "", midnight) == "22 00:00:00.000\n");
        CHECK(rendered(form, "", midnight - 1ms) == "21 23:59:59.999\n");
    }

    TEST_CASE("a name too long to be kept ready is whole") {
        const std::string name(200, 'n');
        CHECK(text_line_of(
                  "%n %l",
                  [](const logger& log) {
                      log.info("");
                      log.warn("");
                  },
                  name) == name + " info\n" + name + " warning\n");
    }

    TEST_CASE("a line can say where in the source it was made") {
        const auto line = text_line_of("%s:%# %!", [](const logger& log) { log.info("here"); });
        CHECK(line.starts_with("log_format_test.cpp:"));
        // As the compiler calls a lambda: gcc and clang differ.
        CHECK((line.find("lambda") != std::string::npos ||
               line.find("operator()") != std::string::npos));
    }

    TEST_CASE("a line can say which task it was made in") {
        const auto memory = std::make_shared<log_memory>();
        sapwood::run([&]() -> task<> {
            logger_options options;
            options.outputs.push_back(
                {.sink = std::make_unique<memory_log_sink>(memory),
                 .form = std::make_unique<text_layout>(text_layout_options{.pattern = "%k: %v"})});
            options.keep_task = true;
            const logger log = co_await logger::on_this_loop(options);
            this_task::set_name("request 7");
            log.info("done");
            co_await log.close();
        });
        CHECK(memory->text() == "request 7: done\n");
    }

    TEST_CASE("JSON keeps numbers and UTF-8, and escapes the rest") {
        json_layout form;
        CHECK(rendered(form, "a \"b\" \\ \xc3\xa4\n\xe2\x80\xae", some_time) ==
              "{\"time\":\"2026-11-21T22:39:56.123456789Z\",\"level\":\"info\",\"thread\":42,"
              "\"logger\":\"app.db\",\"message\":\"a \\\"b\\\" \\\\ \xc3\xa4\\u000a\\u202e\"}\n");
        const auto line = line_of(std::make_unique<json_layout>(), [](const logger& log) {
            log.info("m", kv("n", 1.5), kv("b", true), kv("s", "x\"y"),
                     kv("inf", std::numeric_limits<double>::infinity()));
        });
        CHECK(line.ends_with(
            "\"fields\":{\"n\":1.5,\"b\":true,\"s\":\"x\\\"y\",\"inf\":\"inf\"}}\n"));
    }

    TEST_CASE("what is not UTF-8 is escaped in JSON, and named so") {
        json_layout form;
        const auto line = rendered(form, "x\xff\\", some_time);
        CHECK(line.ends_with("\"message_escaped\":\"x\\\\xff\\\\\\\\\"}\n"));
    }

    TEST_CASE("logfmt quotes what must be quoted") {
        logfmt_layout form;
        CHECK(rendered(form, "cache miss", some_time) ==
              "time=2026-11-21T22:39:56.123456789Z level=info thread=42 logger=app.db "
              "message=\"cache miss\"\n");
    }

    TEST_CASE("a macro does not evaluate the arguments of what is not logged") {
        int evaluated = 0;
        const auto line = text_line_of("%l %v", [&](const logger& log) {
            SAPWOOD_DEBUG(log, "{}", ++evaluated);
            SAPWOOD_INFO(log, "{}", ++evaluated);
            SAPWOOD_ERROR(log, "no arguments");
        });
        CHECK(evaluated == 1);
        CHECK(line == "info 1\nerror no arguments\n");
    }
}
