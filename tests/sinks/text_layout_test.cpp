// text_layout: every flag of a pattern, time zones, and what users' data cannot do.
#include "support/child_process.hpp"
#include "support/log_records.hpp"

#include <sapwood/text_layout.hpp>

#include <cstdlib>
#include <doctest/doctest.h>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unistd.h>

namespace {

using namespace sapwood;
using test::line_of;
using test::owned_record;

/// Without the newline.
std::string text_of(std::string_view pattern, const owned_record& record = {}) {
    text_layout form({.pattern = pattern});
    std::string line = line_of(form, record);
    REQUIRE(line.back() == '\n');
    line.pop_back();
    return line;
}

/// What a child process with that time zone makes of a moment in local time.
std::string in_zone(const char* zone, std::string_view pattern,
                    std::initializer_list<std::int64_t> seconds) {
    const auto answer = test::in_child([&] {
        ::setenv("TZ", zone, 1);
        text_layout form({.pattern = pattern, .zone = log_time_zone::local});
        std::string all;
        for (const std::int64_t second : seconds) {
            all += line_of(form, {.ns = second * 1'000'000'000});
        }
        return all;
    });
    return answer.c_str();
}

} // namespace

TEST_SUITE("text_layout") {

    TEST_CASE("the default is time, thread, level, logger, message and fields") {
        owned_record record{.message = "cache miss", .importance = level::warning, .logger = "db"};
        record.with(kv("key", "a b"), kv("age", 12));
        CHECK(text_of(default_log_pattern, record) ==
              "2026-11-21 22:39:56.123 1234 warning db cache miss key=\"a b\" age=12");
        CHECK(text_of(default_log_pattern) == "2026-11-21 22:39:56.123 1234 info message");
    }

    TEST_CASE("times are as spdlog has them") {
        CHECK(text_of("%Y|%m|%d|%H|%M|%S") == "2026|11|21|22|39|56");
        CHECK(text_of("%y|%C|%I|%p") == "26|26|10|PM");
        CHECK(text_of("%a|%A|%b|%B|%h") == "Sat|Saturday|Nov|November|Nov");
        CHECK(text_of("%T|%X|%R|%D|%x") == "22:39:56|22:39:56|22:39|11/21/26|11/21/26");
        CHECK(text_of("%c|%r") == "Sat Nov 21 22:39:56 2026|10:39:56 PM");
        CHECK(text_of("%e|%f|%F|%E|%z") == "123|123456|123456789|1795300796|+00:00");
        CHECK(text_of("%e|%f|%F", {.ns = 1'000'000'001}) == "000|000000|000000001");
    }

    TEST_CASE("RFC 3339 to the nanosecond, with the offset") {
        CHECK(text_of("%Y-%m-%dT%H:%M:%S.%F%z") == "2026-11-21T22:39:56.123456789+00:00");
        CHECK(in_zone("IST-5:30", "%Y-%m-%dT%H:%M:%S.%F%z", {1'795'300'796}) ==
              "2026-11-22T04:09:56.000000000+05:30\n");
        CHECK(in_zone("NST3:30", "%H:%M%z", {1'795'300'796}) == "19:09-03:30\n");
    }

    TEST_CASE("local time follows the change to winter and to summer while it runs") {
        // 2026-10-25 01:00 UTC and 2026-03-29 01:00 UTC.
        CHECK(
            in_zone("CET-1CEST,M3.5.0,M10.5.0/3", "%H:%M:%S%z",
                    {1'792'889'999, 1'792'890'000, 1'792'889'999, 1'774'745'999, 1'774'746'000}) ==
            "02:59:59+02:00\n02:00:00+01:00\n02:59:59+02:00\n01:59:59+01:00\n03:00:00+02:00\n");
    }

    TEST_CASE("who logs, where, and from which task") {
        owned_record record{.logger = "app.db"};
        CHECK(text_of("%n|%l|%L|%t|%N|%q", record) == "app.db|info|I|1234|worker|7");
        CHECK(text_of("%P") == std::to_string(::getpid()));
        CHECK(text_of("%*%v", record) == "app.db message");
        CHECK(text_of("%*%v") == "message");
        record.with(detail::log_field_kind::location, "src/net/server.cpp:42");
        record.with(detail::log_field_kind::function, "void serve()");
        record.with(detail::log_field_kind::task, "reader");
        CHECK(text_of("%s|%g|%#|%!|%@|%k|%v", record) ==
              "server.cpp|src/net/server.cpp|42|void serve()|server.cpp:42|reader|message");
        CHECK(text_of("%s%#%!%k|") == "|"); // not known
    }

    TEST_CASE("a form says whether it shows the place or the task") {
        CHECK(text_layout({.pattern = "%@"}).wants_location());
        CHECK_FALSE(text_layout({.pattern = "%k"}).wants_location());
        CHECK(text_layout({.pattern = "%k"}).wants_task());
        CHECK_FALSE(text_layout().wants_task());
        CHECK_FALSE(text_layout().wants_location());
    }

    TEST_CASE("fields are padded, and cut where that is asked for") {
        CHECK(text_of("[%8l][%-8l][%=8l][%=7l][%2l]") ==
              "[    info][info    ][  info  ][ info  ][info]");
        CHECK(text_of("[%2!l][%-6!l]") == "[in][info  ]");
        CHECK(text_of("[%3!v]", {.message = "a\xc3\xa4\xc3\xa4"}) == "[a\xc3\xa4]");
        CHECK(text_of("[%8!v]", {.message = "1234567890"}) == "[12345678]");
    }

    TEST_CASE("the function's name can be padded as well") {
        owned_record record;
        record.with(detail::log_field_kind::function, "f");
        CHECK(text_of("[%4!]", record) == "[   f]");
    }

    TEST_CASE("the colour of the level stands around its range only where it is wanted") {
        text_layout coloured({.pattern = "%^%l%$ %v", .colour = true});
        CHECK(line_of(coloured, {}) == "\x1b[32minfo\x1b[0m message\n");
        CHECK(line_of(coloured, {.importance = level::error}) ==
              "\x1b[31m\x1b[1merror\x1b[0m message\n");
        CHECK(text_of("%^%l%$ %v") == "info message");
    }

    TEST_CASE("spdlog's own pattern is known by its sign") {
        CHECK(text_of("%+ end", {.logger = "net"}) ==
              "[2026-11-21 22:39:56.123] [net] [info] message end");
    }

    TEST_CASE("the time since the record before is counted in four units") {
        text_layout form({.pattern = "%O %o %i %u"});
        CHECK(line_of(form, {}) == "0 0 0 0\n");
        CHECK(line_of(form, {.ns = test::some_ns + 1'234'567'890}) ==
              "1 1234 1234567 1234567890\n");
        CHECK(line_of(form, {.ns = test::some_ns}) == "0 0 0 0\n"); // the clock was set back
    }

    TEST_CASE("what is kept of one record is not shown of another") {
        text_layout form({.pattern = "%H:%M:%S.%e %n %l %t"});
        CHECK(line_of(form, {.logger = "a"}) == "22:39:56.123 a info 1234\n");
        CHECK(line_of(form, {.logger = "b", .ns = test::some_ns + 1'000'000, .logger_id = 2}) ==
              "22:39:56.124 b info 1234\n");
        CHECK(line_of(form, {.importance = level::error, .logger = "a"}) ==
              "22:39:56.123 a error 1234\n");
    }

    TEST_CASE("a record is one line, whatever is in it") {
        owned_record record{.message = "a\nb\x1b[0m", .logger = "c\nd"};
        record.thread.name = "e\nf";
        record.with(kv("k\n", "v\n"));
        record.with(detail::log_field_kind::task, "t\n");
        CHECK(text_of("%v|%n|%N|%k", record) == "a\\nb\\x1b[0m k\\n=v\\n|c\\nd|e\\nf|t\\n");
        CHECK(text_of("%v", {.message = "long", .is_truncated = true}) == "long \\(cut)");
    }

    TEST_CASE("a pattern that makes no sense is refused, and what is wrong is named") {
        const auto refused = [](std::string_view pattern, const char* why) {
            CHECK_THROWS_WITH_AS(text_layout({.pattern = pattern}), doctest::Contains(why),
                                 std::invalid_argument);
        };
        refused("%v %", "percent sign");
        refused("%j", "%j");
        refused("a\nb", "newline");
        refused("%200v", "128");
        CHECK(text_of("100%% of %v") == "100% of message");
    }
}
