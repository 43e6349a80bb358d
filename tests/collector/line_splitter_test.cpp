// Messages out of a stream's bytes, wherever its pieces end.
#include <collector/line_splitter.hpp>

#include <doctest/doctest.h>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace std::string_literals;
using sapwood::collector::line_splitter;

using lines = std::vector<std::string>;

std::string shown(const line_splitter& from) {
    return std::string(from.line()) + (from.is_cut() ? "|cut" : "");
}

/// In pieces of `size` bytes.
lines split(std::string_view text, std::size_t size, std::size_t longest, bool may_be_counted) {
    line_splitter splitter(longest, may_be_counted);
    lines found;
    while (!text.empty()) {
        const std::string piece(text.substr(0, size)); // a sanitizer sees what is kept of it
        text.remove_prefix(piece.size());
        std::string_view input = piece;
        while (splitter.next(input)) {
            found.push_back(shown(splitter));
        }
        REQUIRE(input.empty());
    }
    if (splitter.finish()) {
        found.push_back(shown(splitter));
    }
    return found;
}

} // namespace

TEST_SUITE("line_splitter") {
    TEST_CASE("wherever pieces end, the lines are the same") {
        const std::string text =
            "one\ntwo\r\n\n0123456789\n0123456789abc\n" + std::string(50, 'x') + "\nlast\nno end";
        const lines expected{"one",  "two",       "0123456789", "0123456789|cut", "xxxxxxxxxx|cut",
                             "last", "no end|cut"};
        for (std::size_t size = 1; size <= text.size(); ++size) {
            CAPTURE(size);
            CHECK(split(text, size, 10, false) == expected);
        }
    }

    TEST_CASE("wherever pieces end, counted messages are the same") {
        const std::string text = "3 a\nb12 0123456789ab5 <14>c7 garbage99999999 x\nrest\n";
        const lines expected{"a\nb", "0123456789|cut", "<14>c", "garbage", "99999999 x", "rest"};
        for (std::size_t size = 1; size <= text.size(); ++size) {
            CAPTURE(size);
            CHECK(split(text, size, 10, true) == expected);
        }
    }

    TEST_CASE("a length does not begin with 0: nobody makes empty messages of it") {
        for (std::size_t size = 1; size <= 12; ++size) {
            CHECK(split("0 0 0 03 abc\nx\n", size, 20, true) == lines{"0 0 0 03 abc", "x"});
            CHECK(split("3 abc0 0 0 \n", size, 20, true) == lines{"abc", "0 0 0 "});
        }
    }

    TEST_CASE("a length that is not believed is the beginning of a line") {
        for (std::size_t size = 1; size < 12; ++size) {
            CHECK(split("999999999 abc\nd\n", size, 20, true) == lines{"999999999 abc", "d"});
            CHECK(split("2097153 abc\nd\n", size, 20, true) == lines{"2097153 abc", "d"});
            CHECK(split("12:30 x\n", size, 20, true) == lines{"12:30 x"});
        }
    }

    TEST_CASE(
        "a message is counted up to what a line may be set to, and what is behind it is whole") {
        constexpr std::size_t longest = 8u << 20;
        for (const std::size_t size : {longest, std::size_t{16u << 20}}) {
            const std::string text =
                std::to_string(size) + " " + std::string(size, '\n') + "5 <14>a";
            const lines found = split(text, 1u << 20, longest, true);
            REQUIRE(found.size() == 2);
            CHECK(found[0].size() == longest + (size > longest ? "|cut"s.size() : 0));
            CHECK(found[1] == "<14>a");
        }
    }

    TEST_CASE("a length is believed up to 2 MiB, or twice the longest message") {
        const auto is_counted = [](std::size_t length, std::size_t longest) {
            return split(std::to_string(length) + " a\nb\n", 100, longest, true).size() == 1;
        };
        constexpr std::size_t mebibyte = 1u << 20;
        CHECK(is_counted(2 * mebibyte, 20));
        CHECK(!is_counted(2 * mebibyte + 1, 20));
        CHECK(is_counted(2 * mebibyte, mebibyte));
        CHECK(!is_counted(2 * mebibyte + 1, mebibyte));
        CHECK(is_counted(2 * mebibyte + 2, mebibyte + 1));
        CHECK(!is_counted(2 * mebibyte + 3, mebibyte + 1));
        CHECK(is_counted(16 * mebibyte, 8 * mebibyte));
        CHECK(!is_counted(16 * mebibyte + 1, 8 * mebibyte));
        CHECK(!is_counted(16 * mebibyte + 1, 1000 * mebibyte));
    }

    TEST_CASE("empty lines are none, wherever pieces end") {
        const std::string text = "a\r\n\r\nb`\r\n\r\r\n\n\nc\r\n";
        for (std::size_t size = 1; size <= text.size(); ++size) {
            CAPTURE(size);
            CHECK(split(text, size, 20, false) == lines{"a", "b`", "\r", "c"});
        }
    }

    TEST_CASE("a line of the longest length is whole, carriage return or not") {
        const std::string text = "0123456789\r\n0123456789\n0123456789\r\r\n";
        for (std::size_t size = 1; size <= text.size(); ++size) {
            CAPTURE(size);
            CHECK(split(text, size, 10, false) ==
                  lines{"0123456789", "0123456789", "0123456789|cut"});
        }
    }

    TEST_CASE("messages that end in NUL may have newlines in them") {
        CHECK(split("<14>a\nb\0<14>c\0"s, 100, 20, true) == lines{"<14>a\nb", "<14>c"});
    }

    TEST_CASE("wherever pieces end, messages that end in NUL are the same") {
        const std::string text = "<14>one\0<14>"s + std::string(50, 'x') + "\0\0<14>two\r\0<14>no"s;
        const lines expected{"<14>one", "<14>xxxxxx|cut", "<14>two", "<14>no|cut"};
        for (std::size_t size = 1; size <= text.size(); ++size) {
            CAPTURE(size);
            CHECK(split(text, size, 10, true) == expected);
        }
        for (std::size_t size = 1; size <= 60; ++size) {
            CAPTURE(size);
            CHECK(split(std::string(50, 'x') + "\0<14>two\0"s, size, 10, true) ==
                  lines{"xxxxxxxxxx|cut", "<14>two"});
        }
    }

    TEST_CASE("of messages that come in many, cut anywhere, the first shows how all end") {
        for (const std::size_t size : {7u, 11u, 14u, 100u}) {
            CHECK(split("<14>a\0<14>b\nc\0<14>d\0"s, size, 20, true) ==
                  lines{"<14>a", "<14>b\nc", "<14>d"});
            CHECK(split("<14>a\n<14>b\0c\n<14>d\n"s, size, 20, true) ==
                  lines{"<14>a", "<14>b\0c"s, "<14>d"});
        }
    }

    TEST_CASE("a NUL in a line makes no two of it") {
        CHECK(split("<14>a\0<14>forged\n<14>b\n"s, 100, 20, true) ==
              lines{"<14>a\0<14>forged"s, "<14>b"});
        CHECK(split("<14>a\0<14>forged\n"s, 17, 20, true) == lines{"<14>a\0<14>forged"s});
        for (std::size_t size = 17; size < 24; ++size) { // its newline is in the first piece
            CAPTURE(size);
            CHECK(split("<14>a\0<14>forged\n<14>b\n"s, size, 20, true) ==
                  lines{"<14>a\0<14>forged"s, "<14>b"});
        }
    }

    TEST_CASE("what was cut short before a message has ended is left out until one does") {
        line_splitter splitter(100, true);
        std::string_view input = "<14>abc";
        CHECK_FALSE(splitter.next(input));
        CHECK(splitter.cut_short());
        CHECK(shown(splitter) == "<14>abc|cut");
        input = "1 rest";
        CHECK_FALSE(splitter.next(input));
        const std::string more = "\0<14>next\0"s;
        input = more;
        CHECK(splitter.next(input));
        CHECK(shown(splitter) == "<14>next");
    }

    TEST_CASE("no more is kept than the longest message has, however long it is announced") {
        for (const bool may_be_counted : {false, true}) {
            line_splitter splitter(100, may_be_counted);
            const std::string head = may_be_counted ? "1000000 " : "";
            std::string_view input = head;
            CHECK_FALSE(splitter.next(input));
            const std::string piece(1000, 'x');
            for (int i = 0; i < 900; ++i) {
                input = piece;
                REQUIRE_FALSE(splitter.next(input));
            }
            CHECK(splitter.is_in_line());
            CHECK(splitter.held_bytes() <= 256);
            CHECK(splitter.finish());
            CHECK(splitter.line().size() == 100);
            CHECK(splitter.is_cut());
        }
    }

    TEST_CASE("of a length that is longer than a line may be no more is kept than of a line") {
        line_splitter splitter(3, true);
        const std::string piece(100, 'x');
        std::string_view input = "9999999";
        CHECK_FALSE(splitter.next(input));
        for (int i = 0; i < 100; ++i) {
            input = piece;
            CHECK_FALSE(splitter.next(input));
            CHECK(splitter.held_bytes() < 64);
        }
        input = "\n";
        CHECK(splitter.next(input));
        CHECK(shown(splitter) == "999|cut");
    }

    TEST_CASE("where nothing of a message is kept nothing is cut short, and the next is whole") {
        line_splitter counted(100, true);
        std::string_view input = "1";
        CHECK_FALSE(counted.next(input));
        CHECK_FALSE(counted.cut_short());
        input = "2 <14>1 <8>abc6 <14>ab";
        CHECK(counted.next(input));
        CHECK(shown(counted) == "<14>1 <8>abc");
        CHECK_FALSE(counted.cut_short()); // it was told, and nothing came behind it yet
        CHECK(counted.next(input));
        CHECK(shown(counted) == "<14>ab");
    }

    TEST_CASE("between lines nothing is cut short") {
        line_splitter splitter(100, false);
        std::string_view input = "first\n";
        CHECK(splitter.next(input));
        CHECK_FALSE(splitter.next(input));
        CHECK_FALSE(splitter.cut_short());
        input = "second\n";
        CHECK(splitter.next(input));
        CHECK(shown(splitter) == "second");
    }

    TEST_CASE("a length that is longer than a line may be is cut like one") {
        const std::string text = "9999999" + std::string(1000, 'x') + "\nnext\n";
        for (std::size_t size = 1; size <= text.size(); size *= 3) {
            CHECK(split(text, size, 3, true) == lines{"999|cut", "nex|cut"});
        }
    }

    TEST_CASE("what was cut short is told once, and its rest is left out") {
        line_splitter splitter(100, false);
        std::string_view input = "abc";
        CHECK_FALSE(splitter.next(input));
        CHECK(splitter.cut_short());
        CHECK(shown(splitter) == "abc|cut");
        input = "def\nnext\n";
        CHECK(splitter.next(input));
        CHECK(shown(splitter) == "next");
        CHECK_FALSE(splitter.next(input));
        CHECK_FALSE(splitter.is_in_line());
        CHECK_FALSE(splitter.finish());
    }
}
