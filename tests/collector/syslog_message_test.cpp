// Messages of syslog, of both standards and of neither.
#include <collector/line_form.hpp>
#include <collector/syslog_message.hpp>

#include <algorithm>
#include <cstddef>
#include <doctest/doctest.h>
#include <string>
#include <string_view>

namespace {

using namespace std::string_view_literals;
using sapwood::level;
using sapwood::collector::facility_name;
using sapwood::collector::syslog_message;

} // namespace

TEST_SUITE("syslog_message") {
    TEST_CASE("RFC 5424: each part is what it is") {
        const auto it = syslog_message::parse(
            R"(<165>1 2026-11-26T22:14:15.003Z web evntslog 17 ID47 [a@1 x="\"]" y="z"][b] an event)");
        CHECK(facility_name(it.facility) == "local4");
        CHECK(it.importance == level::info);
        CHECK(it.sent == "2026-11-26T22:14:15.003Z");
        CHECK(it.host == "web");
        CHECK(it.app == "evntslog");
        CHECK(it.process == "17");
        CHECK(it.kind == "ID47");
        CHECK(it.data == R"([a@1 x="\"]" y="z"][b])");
        CHECK(it.text == "an event");
    }

    TEST_CASE("RFC 5424: what is a dash is not there, nor is a byte order mark") {
        const auto it = syslog_message::parse("<34>1 - - - - - - \xef\xbb\xbfhello");
        CHECK(facility_name(it.facility) == "auth");
        CHECK(it.importance == level::critical);
        CHECK(it.sent.empty());
        CHECK(it.host.empty());
        CHECK(it.app.empty());
        CHECK(it.data.empty());
        CHECK(it.text == "hello");
        CHECK(syslog_message::parse("<34>1 - - - - - -").text.empty());
    }

    TEST_CASE("RFC 3164: with a host, without one as on /dev/log, and with a time of RFC 3339") {
        const auto remote = syslog_message::parse("<13>Nov  6 21:05:07 web su[17]: it failed");
        CHECK(remote.sent == "Nov  6 21:05:07");
        CHECK(remote.host == "web");
        CHECK(remote.app == "su");
        CHECK(remote.process == "17");
        CHECK(remote.text == "it failed");
        const auto local = syslog_message::parse("<11>Nov 26 21:05:07 root: local");
        CHECK(local.importance == level::error);
        CHECK(local.host.empty());
        CHECK(local.app == "root");
        CHECK(local.text == "local");
        const auto rsyslog =
            syslog_message::parse("<13>2026-11-26T21:05:07.123456+01:00 web app: text");
        CHECK(rsyslog.sent == "2026-11-26T21:05:07.123456+01:00");
        CHECK(rsyslog.host == "web");
        CHECK(rsyslog.text == "text");
    }

    TEST_CASE("RFC 3164: text right behind the tag's colon is no host's") {
        const auto local = syslog_message::parse("<13>Nov 26 21:05:07 app[12]:started job: ok");
        CHECK(local.host.empty());
        CHECK(local.app == "app");
        CHECK(local.process == "12");
        CHECK(local.text == "started job: ok");
        const auto remote = syslog_message::parse("<13>Nov 26 21:05:07 web app[12]:started");
        CHECK(remote.host == "web");
        CHECK(remote.app == "app");
        CHECK(remote.text == "started");
        const auto address = syslog_message::parse("<13>Nov 26 21:05:07 [::1]:514 app[12]: on");
        CHECK(address.host == "[::1]:514");
        CHECK(address.app == "app");
        CHECK(address.text == "on");
        for (const char* const text : {"user[bob]:denied", "it failed[x]:y", "a[]:b", "a[1x]:b"}) {
            CAPTURE(text);
            const std::string message = std::string("<13>Nov 26 21:05:07 ") + text;
            const auto said = syslog_message::parse(message);
            CHECK(said.host.empty());
            CHECK(said.app.empty());
            CHECK(said.text == text);
        }
        CHECK(syslog_message::parse("<13>Nov 26 21:05:07 app[a-1]: on").process == "a-1");
        const auto two_spaces = syslog_message::parse("<13>Nov 26 21:05:07 app[12]:  on");
        CHECK(two_spaces.text == " on");
    }

    TEST_CASE("what is neither is text, and nothing is lost") {
        CHECK(syslog_message::parse("<14>from python: all\0"sv).text == "from python: all");
        CHECK(syslog_message::parse("<14>1 not five words").text == "1 not five words");
        CHECK(syslog_message::parse("<14>1 - - - - - [unclosed x").text ==
              "1 - - - - - [unclosed x");
        CHECK(syslog_message::parse("<13>Nov 26 21:05:07 no tag here").text == "no tag here");
        CHECK(syslog_message::parse("<13>Nov 26 21:05:07 no tag here").sent == "Nov 26 21:05:07");
        for (const std::string_view text :
             {"<192>x"sv, "<>x"sv, "<1234>x"sv, "<1x>x"sv, "<1"sv, "no priority"sv, ""sv, "<"sv}) {
            const auto it = syslog_message::parse(text);
            CHECK(it.text == text);
            CHECK(it.facility == -1);
            CHECK(it.importance == level::info);
        }
    }

    TEST_CASE("severities are levels") {
        const level expected[] = {level::critical, level::critical, level::critical, level::error,
                                  level::warning,  level::info,     level::info,     level::debug};
        for (int severity = 0; severity < 8; ++severity) {
            const std::string text = "<" + std::to_string(16 + severity) + ">x";
            CHECK(syslog_message::parse(text).importance == expected[severity]);
        }
    }

    TEST_CASE("whatever is cut off a message, the rest is no mistake") {
        constexpr std::string_view whole =
            R"(<165>1 2026-11-26T22:14:15.003Z web app 17 ID [a@1 x="\"]"] Nov  6 21:05:07 su[17]: x)";
        for (std::size_t begin = 0; begin < whole.size(); ++begin) {
            for (std::size_t size = 0; size <= whole.size() - begin; ++size) {
                const std::string copy(whole.substr(begin, size)); // so that ASan sees its ends
                const auto it = syslog_message::parse(copy);
                CHECK(it.text.size() <= size);
            }
        }
    }

    TEST_CASE("a part of nothing but brackets is escaped in one go, however long it is") {
        for (const std::size_t brackets : {std::size_t{0}, std::size_t{1}, std::size_t{8} << 20}) {
            const std::string value = "a" + std::string(brackets, ']') + "b]";
            std::string line = "[]] ";
            sapwood::collector::append_text_note({"app", value}, line);
            REQUIRE(line.size() == 4 + 4 + 2 + 4 * (brackets + 1));
            CHECK(line.starts_with("[]] app=a"));
            CHECK(line.ends_with("b\\x5d"));
            CHECK(std::ranges::count(line, 'x') == static_cast<std::ptrdiff_t>(brackets + 1));
            CHECK(std::ranges::count(line, ']') == 2);
        }
    }
}
