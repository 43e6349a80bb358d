// escape: nobody can forge a line, and nothing is lost.
#include <sapwood/escape.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <doctest/doctest.h>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace std::string_view_literals;
using sapwood::is_plain;
using sapwood::unescape;

std::string escaped(std::string_view text) {
    std::string out;
    sapwood::escape(text, out);
    return out;
}

/// RFC 3629's grammar, as a table: what may follow which lead byte. Written unlike the code under
/// test on purpose.
bool is_utf8(std::string_view text) {
    struct form {
        unsigned char lead_first, lead_last, second_first, second_last;
        std::size_t size;
    };

    static constexpr std::array<form, 9> forms{{{0x00, 0x7f, 0, 0, 1},
                                                {0xc2, 0xdf, 0x80, 0xbf, 2},
                                                {0xe0, 0xe0, 0xa0, 0xbf, 3},
                                                {0xe1, 0xec, 0x80, 0xbf, 3},
                                                {0xed, 0xed, 0x80, 0x9f, 3},
                                                {0xee, 0xef, 0x80, 0xbf, 3},
                                                {0xf0, 0xf0, 0x90, 0xbf, 4},
                                                {0xf1, 0xf3, 0x80, 0xbf, 4},
                                                {0xf4, 0xf4, 0x80, 0x8f, 4}}};
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    for (std::size_t i = 0; i < text.size();) {
        const auto* const found = std::find_if(forms.begin(), forms.end(), [&](const form& one) {
            return byte(i) >= one.lead_first && byte(i) <= one.lead_last;
        });
        if (found == forms.end() || i + found->size > text.size()) {
            return false;
        }
        for (std::size_t k = 1; k < found->size; ++k) {
            const unsigned char first = k == 1 ? found->second_first : 0x80;
            const unsigned char last = k == 1 ? found->second_last : 0xbf;
            if (byte(i + k) < first || byte(i + k) > last) {
                return false;
            }
        }
        i += found->size;
    }
    return true;
}

/// Nothing in it moves the cursor, starts a line or turns text around.
bool is_harmless(std::string_view line) {
    static constexpr std::array dangerous{
        "\u061c"sv, "\u200e"sv, "\u200f"sv, "\u2028"sv, "\u2029"sv, "\u202a"sv, "\u202b"sv,
        "\u202c"sv, "\u202d"sv, "\u202e"sv, "\u2066"sv, "\u2067"sv, "\u2068"sv, "\u2069"sv};
    for (std::size_t i = 0; i < line.size(); ++i) {
        const auto byte = static_cast<unsigned char>(line[i]);
        const auto next = static_cast<unsigned char>(i + 1 < line.size() ? line[i + 1] : 0);
        if (byte < 0x20 || byte == 0x7f || (byte == 0xc2 && next < 0xa0)) {
            return false;
        }
    }
    return std::none_of(dangerous.begin(), dangerous.end(), [&](std::string_view one) {
        return line.find(one) != std::string_view::npos;
    });
}

void check_escaping(std::string_view text) {
    const std::string out = escaped(text);
    CAPTURE(out);
    REQUIRE(is_utf8(out));
    REQUIRE(is_harmless(out));
    REQUIRE(unescape(out) == text);
}

bool is_plain_byte(char c) {
    return c >= ' ' && c <= '~' && c != '\\';
}

} // namespace

TEST_SUITE("escape") {

    TEST_CASE("printable ASCII stands as it is") {
        std::string text;
        for (char c = ' '; c <= '~'; ++c) {
            if (c != '\\') {
                text += c;
            }
        }
        CHECK(escaped(text) == text);
        CHECK(escaped("").empty());
    }

    TEST_CASE("the common control characters and the backslash have short forms") {
        CHECK(escaped("a\nb\rc\td\\e") == "a\\nb\\rc\\td\\\\e");
    }

    TEST_CASE("other control characters are written in hexadecimal") {
        CHECK(escaped("\0\x1b[31m\x7f"sv) == "\\x00\\x1b[31m\\x7f");
        CHECK(escaped("\u0085\u009b") == "\\xc2\\x85\\xc2\\x9b"); // C1: next line, CSI
    }

    TEST_CASE("other UTF-8 is kept") {
        const auto text = "Ahornbl\u00e4tter \u6a39\u6728 \U0001f333 \u00a0\uffff\U0010ffff"sv;
        CHECK(escaped(text) == text);
    }

    TEST_CASE("no text can forge a line, move the cursor or turn text around") {
        const std::vector<std::string_view> corpus{
            "x\n2026-11-21 22:39:56.123 1 info forged",
            "x\r\n2026-11-21 22:39:56.123 1 info forged",
            "x\r2026-11-21 22:39:56.123 1 info over the line's begin",
            "x\v\f\x1c\x1d\x1e",
            "x\u0085next line",
            "x\u2028line\u2029paragraph",
            "\x1b]0;title\x07\x1b[2K\x1b[1A",
            "\u009b2K",
            "abc\b\b\bxyz",
            "\u202egnp.exe",
            "\u2066\u2067\u2068\u2069\u200e\u200f\u061c",
            "\\n is not a newline",
            "\\x0a neither",
            "\\\\n",
            "\\",
            "\0hidden"sv,
        };
        for (const auto text : corpus) {
            CAPTURE(text);
            check_escaping(text);
            CHECK(escaped(text) != text);
        }
    }

    TEST_CASE("two different texts never look alike") {
        CHECK(escaped("a\nb") != escaped("a\\nb"));
        CHECK(escaped("\x1b") != escaped("\\x1b"));
        CHECK(escaped("\u0085") != escaped("\\xc2\\x85"));
    }

    TEST_CASE("each byte of broken UTF-8 is written in hexadecimal") {
        CHECK(escaped("\x80") == "\\x80");                            // a continuation alone
        CHECK(escaped("\xc3(") == "\\xc3(");                          // its continuation missing
        CHECK(escaped("\xe2\x82") == "\\xe2\\x82");                   // cut short
        CHECK(escaped("\xc0\x8a") == "\\xc0\\x8a");                   // an overlong newline
        CHECK(escaped("\xe0\x80\x8a") == "\\xe0\\x80\\x8a");          // the same, longer
        CHECK(escaped("\xed\xa0\x80") == "\\xed\\xa0\\x80");          // a surrogate
        CHECK(escaped("\xf4\x90\x80\x80") == "\\xf4\\x90\\x80\\x80"); // above U+10FFFF
        CHECK(escaped("\xff\xfe") == "\\xff\\xfe");
        CHECK(escaped("\xf0\x9f\x8c"
                      "a") == "\\xf0\\x9f\\x8c"
                              "a");
    }

    TEST_CASE("every text of one or two bytes comes back") {
        for (int first = 0; first < 256; ++first) {
            const std::array one{static_cast<char>(first)};
            check_escaping({one.data(), 1});
            for (int second = 0; second < 256; ++second) {
                const std::array two{static_cast<char>(first), static_cast<char>(second)};
                check_escaping({two.data(), 2});
            }
        }
    }

    TEST_CASE("random texts come back") {
        const auto seed = std::random_device()();
        CAPTURE(seed);
        std::mt19937 random(seed);
        // Bytes that begin, continue and end things, more often than others.
        constexpr auto favourites =
            "\\nrtx09af\n\x1b\x7f\x80\x85\xa0\xbf\xc2\xe2\x80\xa8\xed\xf0\xf4"sv;
        for (int i = 0; i < 20'000; ++i) {
            std::string text(random() % 24, ' ');
            for (char& c : text) {
                c = random() % 2 == 0 ? favourites[random() % favourites.size()]
                                      : static_cast<char>(random());
            }
            check_escaping(text);
        }
    }

    TEST_CASE("escape appends") {
        std::string out = "before ";
        sapwood::escape("\n", out);
        CHECK(out == "before \\n");
    }

    TEST_CASE("a plain text is one that escaping leaves as it is, but for other UTF-8") {
        for (std::size_t size = 0; size < 40; ++size) {
            std::string text(size, 'x');
            REQUIRE(is_plain(text));
            for (std::size_t at = 0; at < size; ++at) {
                for (int value = 0; value < 256; ++value) {
                    text[at] = static_cast<char>(value);
                    REQUIRE(is_plain(text) == is_plain_byte(text[at]));
                }
                text[at] = 'x';
            }
        }
    }

    TEST_CASE("plainness of random texts is that of their bytes") {
        const auto seed = std::random_device()();
        CAPTURE(seed);
        std::mt19937 random(seed);
        constexpr auto edges = "\x1f !\x5b\\]~\x7f\x80\xff"sv;
        for (int i = 0; i < 20'000; ++i) {
            std::string text(random() % 24, ' ');
            for (char& c : text) {
                c = random() % 8 != 0 ? 'x' : edges[random() % edges.size()];
            }
            REQUIRE(is_plain(text) == std::all_of(text.begin(), text.end(), is_plain_byte));
        }
    }

    TEST_CASE("what escape cannot have made is refused") {
        for (const auto text : {
                 "\\"sv, "a\\"sv, "\\q"sv, "\\x"sv, "\\x1"sv, "\\xg0"sv, "\\x1G"sv, // no escape
                 "\\x41"sv, "\\x0a"sv, "\\x5c"sv,          // has a shorter form
                 "a\nb"sv, "\x1b"sv, "\x80"sv, "\u2028"sv, // must be escaped
                 "\\xc3\\xa4"sv,                           // must not be
             }) {
            CAPTURE(text);
            CHECK_THROWS_AS((void)unescape(text), std::invalid_argument);
        }
    }
}
