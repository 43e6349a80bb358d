// syslog_layout: RFC 3164 as glibc has it, RFC 5424 with structured data.
#include "support/child_process.hpp"
#include "support/log_records.hpp"

#include <sapwood/syslog_layout.hpp>

#include <cstdlib>
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <stdexcept>
#include <string>
#include <unistd.h>

namespace {

using namespace sapwood;
using test::line_of;
using test::owned_record;

} // namespace

TEST_SUITE("syslog_layout") {

    TEST_CASE("RFC 3164 is as syslog(3) has it, in local time") {
        CHECK(test::in_child([] {
                  ::setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
                  syslog_layout form({.facility = LOG_DAEMON, .ident = "app"});
                  owned_record record{.message = "cache miss",
                                      .importance = level::warning,
                                      .logger = "db",
                                      .ns = 1'793'487'600'000'000'000}; // 2026-10-31 23:00 UTC
                  record.with(kv("key", "a b"));
                  const std::string expected = fmt::format(
                      "<28>Nov  1 00:00:00 app[{}]: db cache miss key=\"a b\"\n", ::getpid());
                  const std::string line = line_of(form, record);
                  return line == expected ? "as expected" : line;
              }) == "as expected");
    }

    TEST_CASE("every level has a severity") {
        syslog_layout form({.facility = LOG_USER, .ident = "a", .pid = false});
        const auto priority = [&](level importance) {
            const auto line = line_of(form, {.importance = importance});
            return line.substr(0, line.find('>') + 1);
        };
        CHECK(priority(level::trace) == "<15>");
        CHECK(priority(level::debug) == "<15>");
        CHECK(priority(level::info) == "<14>");
        CHECK(priority(level::warning) == "<12>");
        CHECK(priority(level::error) == "<11>");
        CHECK(priority(level::critical) == "<10>");
    }

    TEST_CASE("RFC 5424 has fields as structured data, escaped as it wants it") {
        syslog_layout form({.format = syslog_format::rfc5424,
                            .facility = LOG_LOCAL0,
                            .ident = "app",
                            .host = "host.example",
                            .structured_data_id = "f@32473"});
        owned_record record{
            .message = "took\nlong", .importance = level::error, .logger = "app.db"};
        record.with(kv("user", "a\"b]c\\d\ne"), kv("age", 12), kv("bad key=]", true), kv("", 1));
        CHECK(line_of(form, record) ==
              fmt::format("<131>1 2026-11-21T22:39:56.123456Z host.example app {} app.db "
                          "[f@32473 user=\"a\\\"b\\]c\\\\\\\\d\\\\ne\" age=\"12\" "
                          "bad_key__=\"true\" -=\"1\"] took\\nlong\n",
                          ::getpid()));
    }

    TEST_CASE("RFC 5424 has a hyphen for what there is not, and this machine's name") {
        syslog_layout form({.format = syslog_format::rfc5424, .ident = "my app: x", .pid = false});
        char host[256] = {};
        REQUIRE(::gethostname(host, sizeof(host) - 1) == 0);
        CHECK(line_of(form, {}) ==
              fmt::format("<14>1 2026-11-21T22:39:56.123456Z {} my_app__x - - - message\n", host));
    }

    TEST_CASE("the ident is the program's name where none is given") {
        syslog_layout form({.pid = false});
        CHECK(line_of(form, {}).find(" " + program_name() + ": message\n") != std::string::npos);
    }

    TEST_CASE("an option that makes no sense is named") {
        CHECK_THROWS_WITH_AS(syslog_layout({.facility = 3}), doctest::Contains("facility"),
                             std::invalid_argument);
        CHECK_THROWS_WITH_AS(
            syslog_layout({.format = syslog_format::rfc5424, .structured_data_id = "a b"}),
            doctest::Contains("structured_data_id"), std::invalid_argument);
    }
}
