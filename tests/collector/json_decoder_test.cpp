// Records out of bodies; and what stands of them in a line.
#include "support/hostile_strings.hpp"

#include <collector/json_decoder.hpp>
#include <collector/line_form.hpp>

#include <sapwood/escape.hpp>

#include <doctest/doctest.h>
#include <malloc.h>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace std::string_literals;
using sapwood::level;
using sapwood::collector::append_json_line;
using sapwood::collector::append_json_member;
using sapwood::collector::append_logfmt_members;
using sapwood::collector::json_decoder;
using sapwood::collector::json_framing;

std::vector<std::string> records_of(json_decoder& decoder, std::string_view body,
                                    json_framing framing = json_framing::any) {
    std::vector<std::string> found;
    for (const auto& each : decoder.decode(body, framing)) {
        found.emplace_back(each.json);
    }
    return found;
}

level level_of(std::string_view record) {
    json_decoder decoder;
    const auto& items = decoder.decode(record, json_framing::any);
    REQUIRE(items.size() == 1);
    return items.front().importance;
}

std::string line_of(std::string_view json) {
    std::string line;
    append_json_line(json, line);
    return line;
}

} // namespace

TEST_SUITE("json_decoder") {
    TEST_CASE("an object, an array and objects one after the other give their records as sent") {
        json_decoder decoder;
        CHECK(records_of(decoder, R"({"a":1})") == std::vector{R"({"a":1})"s});
        CHECK(records_of(decoder, " {\"a\" : 1}\n ") == std::vector{R"({"a" : 1})"s});
        CHECK(records_of(decoder, R"([{"a":1} , {"b":[{"]":"}"}]},{}])") ==
              std::vector{R"({"a":1})"s, R"({"b":[{"]":"}"}]})"s, "{}"s});
        CHECK(records_of(decoder, R"({"a":"\""}{"b":2})") ==
              std::vector{R"({"a":"\""})"s, R"({"b":2})"s});
        CHECK(records_of(decoder, "{\"a\":1}\n{\"b\":2}\n", json_framing::lines) ==
              std::vector{R"({"a":1})"s, R"({"b":2})"s});
        CHECK(records_of(decoder, "{\"a\":1}\r\n\r\n{\"b\":2}", json_framing::lines) ==
              std::vector{R"({"a":1})"s, R"({"b":2})"s});
        CHECK(records_of(decoder, "[]").empty());
        CHECK(decoder.error().empty());
    }

    TEST_CASE("a body is taken whole or not at all, and the record that is wrong is named") {
        json_decoder decoder;
        const auto error = [&](std::string_view body, json_framing framing = json_framing::any) {
            CHECK(decoder.decode(body, framing).empty());
            return decoder.error();
        };
        CHECK(error("") == "there is no record in the body");
        CHECK(error(" \n") == "there is no record in the body");
        CHECK(error("{\"a\":1") == "record 1: it is not JSON");
        CHECK(error("{\"a\":1}}") == "record 2: it is not JSON");
        CHECK(error("[{},{},{\"a\"}]") == "record 3: it is not JSON");
        CHECK(error("[{},1]") == "record 2: it is not an object");
        CHECK(error("[{},]") == "record 2: it is not JSON");
        CHECK(error("[{}") == "record 2: behind it the array neither goes on nor ends");
        CHECK(error("[{}]x") == "record 2: behind it the array neither goes on nor ends");
        CHECK(error("\"text\"") == "record 1: it is not an object");
        CHECK(error("{}\n[]\n", json_framing::lines) == "record 2: it is not an object");
        CHECK(error("{\"a\":\"\xff\"}") == "record 1: it is not UTF-8");
        CHECK(error("{\"a\":\"\n\"}") == "record 1: a string has a control character in it");
        CHECK(error("{\"a\":\"") == "record 1: a string does not end");
        CHECK(error("{\"a\":\"\\x\"}") ==
              "record 1: a string has an escape that JSON does not know");
        CHECK(error("{\"a\":\0}"s) == "record 1: it is not JSON");
    }

    TEST_CASE("however many lines there are, each is one record, and what is none is named") {
        json_decoder decoder({.depth_max = 4, .records_max = 3000});
        const auto error = [&](std::string_view body) {
            CHECK(decoder.decode(body, json_framing::lines).empty());
            return decoder.error();
        };
        std::string many;
        std::vector<std::string> expected;
        for (int i = 0; i < 3000; ++i) { // several times what is looked at together
            expected.push_back(R"({"level":"warn","a":"},{\"\\","n":)" + std::to_string(i) + "}");
            many += (i % 7 == 0 ? " \t" : "") + expected.back() + (i % 5 == 0 ? " \r\n\n" : "\n");
        }
        CHECK(records_of(decoder, many, json_framing::lines) == expected);
        CHECK(decoder.decode(many, json_framing::lines).back().importance == level::warning);
        CHECK(error(many + "{}") == "record 3001: there are more than 3000; send them in several "
                                    "requests");
        CHECK(decoder.is_too_large());

        const std::string some = "{}\n{\"a\":1}\n";
        CHECK(error(some + "{}{}\n{}\n") == "record 3: it is not JSON");
        CHECK(error(some + "{\n}\n") == "record 3: it is not JSON");
        CHECK(error(some + "{\"a\":\n1}\n{}\n") == "record 3: it is not JSON");
        CHECK(error(some + "{},\n{}\n") == "record 3: it is not JSON");
        CHECK(error(some + ",{}\n") == "record 3: it is not JSON");
        CHECK(error(some + "{} x\n{}\n") == "record 3: it is not JSON");
        CHECK(error(some + "{}x\n") == "record 3: it is not JSON");
        CHECK(error(some + "{}\0\n"s) == "record 3: it is not JSON");
        CHECK(error(some + "{}{") == "record 3: it is not JSON");
        CHECK(error(some + "{} {\n") == "record 3: it is not JSON");
        CHECK(error(some + "{}{\"a\":{}\n") == "record 3: it is not JSON");
        CHECK(error(some + "{} 1\n") == "record 3: it is not JSON");
        CHECK(error(some + "1\n{}\n") == "record 3: it is not an object");
        CHECK(error(some + "{\"a\":\"") == "record 3: a string does not end");
        CHECK(error(some + "{\"a\":\"\n\"}\n") == "record 3: a string does not end");
        CHECK(error(some + "{\"a\":\"\xff\"}\n{}\n") == "record 3: it is not UTF-8");
        CHECK(error(some + "{\"a\":[[[[1]]]]}\n") ==
              "record 3: objects or arrays are nested too deeply");
        CHECK(error(some + "{") == "record 3: it is not JSON");
        CHECK(error(some + "{\"a\":1e999}\n") == "record 3: a number is none, or too large");
    }

    TEST_CASE("a hundred thousand brackets are refused, open or closed") {
        json_decoder decoder;
        const std::string open(100'000, '[');
        const std::string close(100'000, ']');
        for (const std::string& body : {open, "{\"a\":" + open + close + "}", "[{\"a\":" + open}) {
            CHECK(decoder.decode(body, json_framing::any).empty());
            CHECK_FALSE(decoder.error().empty());
        }
        CHECK(records_of(decoder, "{\"a\":[[[[1]]]]}").size() == 1);
    }

    TEST_CASE("a record has its level from what logs call it") {
        CHECK(level_of(R"({"level":"warn"})") == level::warning);
        CHECK(level_of(R"({"level":"ERROR"})") == level::error);
        CHECK(level_of(R"({"severity":"critical"})") == level::critical);
        CHECK(level_of(R"({"severity":"Emergency"})") == level::critical);
        CHECK(level_of(R"({"levelname":"DEBUG","levelno":10})") == level::debug);
        CHECK(level_of(R"({"levelno":30})") == level::warning);
        CHECK(level_of(R"({"level":30})") == level::info);
        CHECK(level_of(R"({"level":50})") == level::error);
        CHECK(level_of(R"({"level":-1})") == level::trace);
        CHECK(level_of(R"({"level":10})") == level::trace);
        CHECK(level_of(R"({"level":60})") == level::critical);
        CHECK(level_of(R"({"level":"off"})") == level::info);
        CHECK(level_of(R"({"level":null,"msg":"x"})") == level::info);
        CHECK(level_of("{}") == level::info);
    }

    TEST_CASE("a level that is a number below ten is a severity of syslog's, but Python's") {
        constexpr level expected[] = {
            level::critical, level::critical, level::critical, level::error, level::warning,
            level::info,     level::info,     level::debug,    level::info,  level::info};
        for (int number = 0; number < 10; ++number) {
            CAPTURE(number);
            for (const std::string name : {"level", "severity"}) {
                CHECK(level_of("{\"" + name + "\":" + std::to_string(number) + "}") ==
                      expected[number]);
            }
            CHECK(level_of("{\"levelno\":" + std::to_string(number) + "}") == level::trace);
        }
    }

    TEST_CASE("a form is a record of strings") {
        json_decoder decoder;
        const auto form = [&](std::string_view text) {
            const auto& items = decoder.decode_form(text);
            return items.empty() ? decoder.error() : std::string(items.front().json);
        };
        CHECK(form("name=x&msg=hello+w%6Frld&n=1") ==
              R"({"name":"x","msg":"hello world","n":"1"})");
        CHECK(form("a=%0Ab%00&&b") == R"({"a":"\u000ab\u0000","b":""})");
        CHECK(form("a=%zz%4&b=%22%5C") == R"({"a":"%zz%4","b":"\"\\"})");
        CHECK(form("a=%ff") == R"({"a_escaped":"\\xff"})");
        CHECK(form("") == "there is no record in the form");
    }

    TEST_CASE("a form that is too long leaves nothing of what it would have been") {
        json_decoder decoder({.record_bytes_max = 64u << 10});
        CHECK(decoder.decode_form("a=b&c=" + std::string(60u << 10, '\x01')).empty());
        CHECK(decoder.is_too_large());
        CHECK(decoder.kept_bytes() < 512u << 10);
        for (const std::string& form :
             {"a=" + std::string(16u << 20, '\x01'), std::string(16u << 20, 'b') + "=",
              "a=" + std::string(64u << 10, 'c')}) {
            CHECK(decoder.decode_form(form).empty());
            CHECK(decoder.error() == "record 1: it is longer than 65536 bytes");
            CHECK(decoder.is_too_large());
            CHECK(decoder.kept_bytes() < 512u << 10);
        }
        CHECK(decoder.decode_form("a=b").size() == 1);
    }

    TEST_CASE("a long body that was taken leaves nothing when it is forgotten") {
        json_decoder decoder;
        std::string body;
        for (int i = 0; i < 100'000; ++i) {
            body += "{\"a\":\"0123456789\"}\n";
        }
        CHECK(decoder.decode(body, json_framing::lines).size() == 100'000);
        CHECK(decoder.kept_bytes() > body.size());
        decoder.forget();
        CHECK(decoder.kept_bytes() < 512u << 10);
        CHECK(records_of(decoder, "{}") == std::vector{"{}"s});
    }

    TEST_CASE("printable JSON stands in a line as it was sent") {
        for (const std::string& json :
             {R"({"a":"b\n\"c\\"})"s, R"({ "spaces" : [ 1, 2 ] })"s, "{\"ü\":\"grüße 😀\"}"s}) {
            CHECK(line_of(json) == json);
        }
        CHECK(line_of("{\n\t\"a\": [1,\r\n 2]\n}") == R"({"a":[1,2]})");
    }

    TEST_CASE("whatever somebody sends, a record is one line that shows what it is") {
        json_decoder decoder;
        for (const std::string& hostile : sapwood::test::hostile_strings()) {
            CAPTURE(hostile);
            std::string json = "{";
            append_json_member(hostile, hostile, json);
            json += "}";
            REQUIRE(records_of(decoder, json).size() == 1);
            const std::string line = line_of(json);
            std::string logfmt;
            append_logfmt_members(json, logfmt);
            for (const std::string& shown : {line, logfmt}) {
                // Nothing is left to escape but backslashes, which are JSON's own.
                std::string escaped;
                sapwood::escape(shown, escaped);
                std::string doubled;
                for (const char c : shown) {
                    doubled.append(c == '\\' ? 2 : 1, c);
                }
                CHECK(escaped == doubled);
            }
        }
    }

    TEST_CASE("raw characters that deceive become escapes of the same text") {
        CHECK(line_of("{\"a\":\"x\u202ey\u200bz\x7f\"}") == R"({"a":"x\u202ey\u200bz\u007f"})");
        CHECK(line_of("{\"a\":\"\U000e0041\"}") == R"({"a":"\udb40\udc41"})");
        CHECK(line_of("{\"a\":\"\u0085\"}") == R"({"a":"\u0085"})");
    }

    TEST_CASE("logfmt has the members, and theirs are not the line's") {
        std::string line;
        append_logfmt_members(
            R"({"msg":"a b","n":1.5,"t":true,"o":{"x":[1,null]},"time":"x","a b":"",)"
            R"("fields.q":"\""})",
            line);
        CHECK(line == R"(msg="a b" n=1.5 t=true o="{\"x\":[1,null]}" fields.time=x a\x20b="")"
                      R"( fields.fields.q="\"")");
        // What would be read as the line's time, or as the collector's own mark.
        std::string forged;
        append_logfmt_members(R"({"ts":1700000000.5,"sent":"x","cut":"true"})", forged);
        CHECK(forged == "fields.ts=1700000000.5 fields.sent=x fields.cut=true");
    }

    TEST_CASE("a long record in logfmt leaves nothing of what it took") {
        const auto taken = [] {
            const auto now = ::mallinfo2();
            return now.uordblks + now.hblkhd;
        };
        std::string line;
        append_logfmt_members(R"({"msg":"short"})", line);
        const std::size_t before = taken();
        {
            std::string long_line;
            append_logfmt_members(R"({"msg":")" + std::string(1u << 20, 'x') + "\"}", long_line);
            CHECK(long_line.size() == (1u << 20) + 4);
        }
        CHECK(taken() < before + (1u << 20));
    }
}
