// json_layout and logfmt_layout: for machines.
#include "support/child_process.hpp"
#include "support/log_records.hpp"

#include "sinks/crash_text.hpp"

#include <sapwood/json_layout.hpp>
#include <sapwood/syslog_layout.hpp>
#include <sapwood/text_layout.hpp>

#include <cstdint>
#include <cstdlib>
#include <doctest/doctest.h>
#include <limits>
#include <string>
#include <string_view>
#include <utility>

namespace {

using namespace sapwood;
using test::line_of;
using test::owned_record;

/// The line behind what every one begins with.
std::string json_of(const owned_record& record) {
    json_layout form;
    const std::string line = line_of(form, record);
    const std::string_view begin =
        "{\"time\":\"2026-11-21T22:39:56.123456789Z\",\"level\":\"info\",\"thread\":1234,";
    REQUIRE(line.starts_with(begin));
    return line.substr(begin.size());
}

std::string logfmt_of(const owned_record& record) {
    logfmt_layout form;
    const std::string line = line_of(form, record);
    const std::string_view begin = "time=2026-11-21T22:39:56.123456789Z level=info thread=1234 ";
    REQUIRE(line.starts_with(begin));
    return line.substr(begin.size());
}

std::string line_of_json(const owned_record& record) {
    json_layout form;
    return line_of(form, record);
}

std::string crash_line_of(crash_form form, const log_record& record) {
    char memory[detail::crash_line_bytes_min];
    detail::crash_text line(memory, sizeof(memory));
    detail::put_crash_line(record, form, line);
    return std::string(line.text());
}

} // namespace

TEST_SUITE("json_layout") {

    TEST_CASE("a record is an object on one line") {
        owned_record record{.message = "cache miss", .logger = "app.db"};
        record.with(kv("key", "a b"), kv("age", 12), kv("ok", false));
        CHECK(json_of(record) == "\"logger\":\"app.db\",\"message\":\"cache miss\","
                                 "\"fields\":{\"key\":\"a b\",\"age\":12,\"ok\":false}}\n");
        CHECK(json_of({}) == "\"message\":\"message\"}\n");
    }

    TEST_CASE("numbers stay numbers, to the last digit") {
        owned_record record;
        record.with(kv("max", std::numeric_limits<std::uint64_t>::max()),
                    kv("min", std::numeric_limits<std::int64_t>::min()), kv("pi", 3.25),
                    kv("tiny", 5e-324), kv("huge", 1.7976931348623157e308), kv("zero", -0.0));
        CHECK(json_of(record) == "\"message\":\"message\",\"fields\":{\"max\":18446744073709551615,"
                                 "\"min\":-9223372036854775808,\"pi\":3.25,\"tiny\":5e-324,"
                                 "\"huge\":1.7976931348623157e+308,\"zero\":-0}}\n");
    }

    TEST_CASE("what is no number for JSON is a text") {
        owned_record record;
        record.with(kv("nan", std::numeric_limits<double>::quiet_NaN()),
                    kv("inf", std::numeric_limits<double>::infinity()),
                    kv("ninf", -std::numeric_limits<float>::infinity()));
        CHECK(json_of(record) == "\"message\":\"message\",\"fields\":{\"nan\":\"nan\","
                                 "\"inf\":\"inf\",\"ninf\":\"-inf\"}}\n");
    }

    TEST_CASE("UTF-8 is kept, and everything else is escaped") {
        owned_record record{.message = "\xc3\xa4\xf0\x9f\x8c\xb2 \"quoted\" back\\slash"};
        CHECK(json_of(record) ==
              "\"message\":\"\xc3\xa4\xf0\x9f\x8c\xb2 \\\"quoted\\\" back\\\\slash\"}\n");
        record.message = std::string("\n\0\x1b\x7f", 4) + "\xc2\x85\xe2\x80\xae\xe2\x80\xa8";
        CHECK(json_of(record) ==
              "\"message\":\"\\u000a\\u0000\\u001b\\u007f\\u0085\\u202e\\u2028\"}\n");
    }

    TEST_CASE("what is not UTF-8 stands under another name, reversibly") {
        owned_record record{.message = "a\xff\"b"};
        record.with(kv("k\xc0\x80", "\xed\xa0\x80"));
        CHECK(json_of(record) ==
              "\"message_escaped\":\"a\\\\xff\\\"b\",\"fields\":{\"k\\\\xc0\\\\x80_escaped\":"
              "\"\\\\xed\\\\xa0\\\\x80\"}}\n");
    }

    TEST_CASE("place, function and task stand where a record carries them") {
        owned_record record;
        record.with(detail::log_field_kind::location, "a.cpp:1");
        record.with(detail::log_field_kind::function, "f<\"x\">()");
        record.with(detail::log_field_kind::task, "reader");
        record.with(detail::log_field_kind::site, "12345678"); // is never shown
        CHECK(json_of(record) == "\"message\":\"message\",\"location\":\"a.cpp:1\","
                                 "\"function\":\"f<\\\"x\\\">()\",\"task\":\"reader\"}\n");
        CHECK(json_of({.is_truncated = true}) == "\"message\":\"message\",\"cut\":true}\n");
    }

    TEST_CASE("local time has its offset") {
        CHECK(test::in_child([] {
                  ::setenv("TZ", "IST-5:30", 1);
                  json_layout json(log_time_zone::local);
                  logfmt_layout logfmt(log_time_zone::local);
                  return line_of(json, {}).substr(0, 46) + line_of(logfmt, {}).substr(0, 40);
              }) == "{\"time\":\"2026-11-22T04:09:56.123456789+05:30\",time=2026-11-22T04:09:56."
                    "123456789+05:30");
    }

    TEST_CASE("logfmt quotes what it must, and keeps a record on its line") {
        owned_record record{.message = "cache miss", .logger = "db"};
        record.with(kv("key", "a\"b c"), kv("age", 12), kv("empty", ""), kv("bad key\n", "x=y\n"));
        CHECK(logfmt_of(record) == "logger=db message=\"cache miss\" key=\"a\\\"b c\" age=12 "
                                   "empty=\"\" bad\\x20key\\n=\"x=y\\n\"\n");
        CHECK(logfmt_of({.message = "one", .is_truncated = true}) == "cut=true message=one\n");
    }

    TEST_CASE("what a record in an action says of it stands outside of its fields, in every form") {
        owned_record record{.message = "save_order"};
        record.with(detail::log_field_kind::place, "0af76519-16cd-43dd-8448-eb211c80319c2,31,4");
        record.with(detail::log_field_kind::status, "failed");
        record.with(detail::log_field_kind::duration, std::string("\x40\x42\x0f\0\0\0\0\0", 8));
        record.with(detail::log_field_kind::children, std::string("\2\0\0\0", 4));
        record.with(detail::log_field_kind::exception, "std::runtime_error");
        record.with(detail::log_field_kind::source, "a.cpp:17");
        record.with(detail::log_field_kind::reason, "no room");
        record.with(kv("task_uuid", "mine"));
        const std::string place =
            "task_uuid=0af76519-16cd-43dd-8448-eb211c80319c task_level=/2/31/4 "
            "action_status=failed action_duration=0.001000000 action_children=2 "
            "action_exception=std::runtime_error action_reason=\"no room\" action_source=a.cpp:17";
        CHECK(json_of(record) ==
              R"("message":"save_order","task_uuid":"0af76519-16cd-43dd-8448-eb211c80319c",)"
              R"("task_level":[2,31,4],"timestamp":1795300796.123456,"action_type":"save_order",)"
              R"("action_status":"failed","duration":0.001000000,"children":2,)"
              R"("exception":"std::runtime_error","reason":"no room","source":"a.cpp:17",)"
              R"("fields":{"task_uuid":"mine"}})"
              "\n");
        text_layout text({.pattern = "%v"});
        CHECK(line_of(text, record) == "save_order task_uuid=mine " + place + "\n");
        logfmt_layout logfmt;
        const std::string line = line_of(logfmt, record);
        CHECK(line.substr(line.find(" task_uuid=")) ==
              " " + place + " message=save_order fields.task_uuid=mine\n");
        syslog_layout syslog({.format = syslog_format::rfc5424});
        const std::string sent = line_of(syslog, record);
        CHECK(sent.find(" fields.task_uuid=\"mine\"") != std::string::npos);
        CHECK(sent.find(" task_uuid=\"0af76519-16cd-43dd-8448-eb211c80319c\" "
                        "task_level=\"/2/31/4\"") != std::string::npos);
        CHECK(sent.find(" task_uuid=\"mine\"") == std::string::npos);
        CHECK(crash_line_of(crash_form::text, record.view())
                  .ends_with(" info save_order task_uuid=mine " + place + "\n"));
        CHECK(crash_line_of(crash_form::json, record.view()) == line_of_json(record));
        CHECK(crash_line_of(crash_form::logfmt, record.view()) == line);
    }

    TEST_CASE("a signal handler writes the same of a record in an action") {
        owned_record record{.message = "save \"order\"", .logger = "db"};
        record.with(detail::log_field_kind::place, "0af76519-16cd-43dd-8448-eb211c80319c2,31,4");
        record.with(detail::log_field_kind::status, "cancelled");
        record.with(detail::log_field_kind::duration, std::string("\x40\x42\x0f\0\0\0\0\0", 8));
        record.with(detail::log_field_kind::children, std::string("\2\0\0\0", 4));
        record.with(detail::log_field_kind::exception, "sapwood::cancelled");
        record.with(detail::log_field_kind::source, "a.cpp:17");
        record.with(detail::log_field_kind::reason, "the task was asked to stop");
        record.with(kv("age", 12));
        owned_record message{.message = "it is \"slow\"", .is_truncated = true};
        message.with(detail::log_field_kind::place, "0af76519-16cd-43dd-8448-eb211c80319c2,5");
        message.with(kv("age", 12));
        for (const owned_record& each : {record, message}) {
            CHECK(crash_line_of(crash_form::json, each.view()) == line_of_json(each));
        }
        logfmt_layout logfmt;
        CHECK(crash_line_of(crash_form::logfmt, record.view()) == line_of(logfmt, record));
        text_layout text({.pattern = "%v"});
        CHECK(crash_line_of(crash_form::text, message.view())
                  .ends_with(" info " + line_of(text, message)));
    }

    TEST_CASE(
        "an action's record is the same line, whether it says all in one field or in several") {
        const std::string uuid = "0af76519-16cd-43dd-8448-eb211c80319c";
        const auto bytes_of = [](auto number) {
            return std::string(reinterpret_cast<const char*>(&number), sizeof(number));
        };
        // Up to 16 bytes, and more.
        for (const std::string level : {"1", "17", "2,3,1", "4294967295,12345", "4294967295,123456",
                                        "2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,2,7"}) {
            for (std::size_t size = 0; size <= 70; ++size) {
                const owned_record plain{.message = std::string(size, 'm')};
                owned_record begun = plain;
                begun.with(detail::log_field_kind::begun, uuid + level);
                owned_record started = plain;
                started.with(detail::log_field_kind::place, uuid + level);
                started.with(detail::log_field_kind::status, "started");
                CHECK(json_of(begun) == json_of(started));
                CHECK(crash_line_of(crash_form::json, begun.view()) == line_of_json(begun));
                CHECK(json_of(begun.with(kv("age", size))) ==
                      json_of(started.with(kv("age", size))));
                owned_record message = plain;
                message.with(detail::log_field_kind::place, uuid + level);
                CHECK(crash_line_of(crash_form::json, message.view()) == line_of_json(message));
            }
            for (const std::int64_t ns :
                 {std::int64_t{0}, std::int64_t{70}, std::int64_t{999'999'999},
                  std::int64_t{1'000'000'000}, std::int64_t{12'345'678'901}, std::int64_t{-1}}) {
                for (const std::uint32_t children : {0U, 9U, 10U, 4'294'967'295U}) {
                    owned_record shortly{.message = "save"};
                    shortly.with(detail::log_field_kind::succeeded,
                                 bytes_of(ns) + bytes_of(children) + uuid + level);
                    owned_record at_length{.message = "save"};
                    at_length.with(detail::log_field_kind::place, uuid + level);
                    at_length.with(detail::log_field_kind::status, "succeeded");
                    at_length.with(detail::log_field_kind::duration, bytes_of(ns));
                    at_length.with(detail::log_field_kind::children, bytes_of(children));
                    CHECK(json_of(shortly) == json_of(at_length));
                    CHECK(json_of(shortly.with(kv("rows", 3))) ==
                          json_of(at_length.with(kv("rows", 3))));
                }
            }
        }
    }

    TEST_CASE("what is no whole place of an action is no action's") {
        const std::string uuid = "0af76519-16cd-43dd-8448-eb211c80319c";
        for (const auto kind : {detail::log_field_kind::place, detail::log_field_kind::begun,
                                detail::log_field_kind::succeeded}) {
            owned_record whole;
            whole.with(kind, std::string(12, '\0') + uuid + "2");
            for (std::size_t size = 0; size < whole.fields.size(); ++size) {
                owned_record cut = whole;
                cut.fields.resize(size);
                CHECK(json_of(cut) == "\"message\":\"message\"}\n");
            }
        }
    }

    TEST_CASE(
        "fields and messages of any length stand as they are, or are escaped, at every place") {
        for (std::size_t size = 1; size <= 70; ++size) {
            const std::string plain(size, 'x');
            owned_record record{.message = plain};
            record.with(kv(plain, plain), kv("b", plain), kv(plain, 7));
            CHECK(json_of(record) == "\"message\":\"" + plain + "\",\"fields\":{\"" + plain +
                                         "\":\"" + plain + "\",\"b\":\"" + plain + "\",\"" + plain +
                                         "\":7}}\n");
            for (std::size_t at = 0; at < size; ++at) {
                for (const auto& [odd, shown] :
                     {std::pair("\"", "\\\""), std::pair("\\", "\\\\"),
                      std::pair("\x1f", "\\u001f"), std::pair("\x7f", "\\u007f")}) {
                    const std::string text = plain.substr(0, at) + odd + plain.substr(at + 1);
                    const std::string line = plain.substr(0, at) + shown + plain.substr(at + 1);
                    owned_record strange{.message = text};
                    strange.with(kv("a", text), kv("b", plain));
                    CHECK(json_of(strange) == "\"message\":\"" + line + "\",\"fields\":{\"a\":\"" +
                                                  line + "\",\"b\":\"" + plain + "\"}}\n");
                }
            }
        }
        // What stands before '0', and behind '9', and between point and digit.
        for (const std::string number : {"12/3", "1234567:", ",12345678901", "1e5", "7-", "7."}) {
            owned_record record;
            detail::append_field(record.fields,
                                 detail::log_field_text("n", detail::log_field_kind::number,
                                                        detail::log_view_text(number)));
            const bool is_number = number == "1e5";
            CHECK(json_of(record) == "\"message\":\"message\",\"fields\":{\"n\":" +
                                         (is_number ? number : '"' + number + '"') + "}}\n");
        }
    }
}
