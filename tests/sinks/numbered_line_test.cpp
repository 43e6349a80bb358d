// numbered_line: a line says whether it is whole.
#include "support/numbered_lines.hpp"

#include <doctest/doctest.h>

#include <string>
#include <string_view>

namespace {

using namespace std::string_view_literals;
using sapwood::line_head;
using sapwood::line_producer;
using sapwood::lsn;
using sapwood::numbered_line;
using sapwood::test::numbered;

constexpr auto text = "2026-11-21 22:39:56.123 17#5 info a message"sv;

numbered_line parsed(std::string line) {
    line.pop_back(); // the newline
    return numbered_line::parse(line);
}

} // namespace

TEST_SUITE("numbered_line") {
    TEST_CASE("a line that was written is whole, and tells its number and its mark") {
        for (const std::uint64_t place : {1ull, 42ull, 999ull, 9'999'999'999'999'999ull}) {
            for (const bool marked : {false, true}) {
                const auto found = parsed(numbered(place, text, marked));
                CHECK(found.is == numbered_line::state::whole);
                CHECK(found.place == lsn{place});
                CHECK(found.is_marked == marked);
            }
        }
    }

    TEST_CASE("the form is this one, for other programs that read it") {
        CHECK(numbered(42, "2026-11-21 22:39:56.123 17 info message") ==
              "0000000000000042 67b6c21a 2026-11-21 22:39:56.123 17 info message\n");
    }

    TEST_CASE("whichever bit is turned, the line is not whole any more") {
        const std::string line = numbered(42, text);
        for (std::size_t at = 0; at < line.size() - 1; ++at) {
            for (int bit = 0; bit < 8; ++bit) {
                std::string other = line;
                other[at] = static_cast<char>(other[at] ^ (1 << bit));
                CAPTURE(at);
                CAPTURE(bit);
                // A digit of the checksum may become the capital letter that means the same.
                CHECK((parsed(other).is != numbered_line::state::whole ||
                       (at >= numbered_line::crc_at && at < numbered_line::head_bytes - 1 &&
                        bit == 5)));
            }
        }
    }

    TEST_CASE("wherever it is cut it is not whole, and zeros are damage") {
        const std::string line = numbered(42, text);
        for (std::size_t size = 0; size < line.size() - 1; ++size) {
            CHECK(numbered_line::parse(line.substr(0, size)).is != numbered_line::state::whole);
        }
        CHECK(numbered_line::parse("\0\0\0"sv).is == numbered_line::state::broken);
        CHECK(numbered_line::parse("an other line\0"sv).is == numbered_line::state::broken);
    }

    TEST_CASE("a line of something else is foreign, whatever it looks like") {
        for (const auto line :
             {""sv, "text"sv, text, "0000000000000042"sv, "000000000000004x 9ae0daaf text"sv,
              "0000000000000042 9ae0daxf text"sv, "0000000000000042#9ae0daaf text"sv,
              "-000000000000042 9ae0daaf "sv}) {
            CAPTURE(line);
            CHECK(numbered_line::parse(line).is == numbered_line::state::foreign);
        }
        CHECK(numbered_line::parse("0000000000000042 9ae0daaf text").is ==
              numbered_line::state::broken);
    }

    TEST_CASE("heads count across every number of digits") {
        line_head head(lsn{98});
        for (const std::uint64_t place : {98u, 99u, 100u, 101u}) {
            CHECK(head.next() == lsn{place});
            std::string line(numbered_line::head_bytes + 1, 'x');
            head.put(line.data(), line.size());
            CHECK(numbered_line::parse(line).place == lsn{place});
            head.skip();
        }
    }

    TEST_CASE("a line tells its producer, and the producer's own number where there is one") {
        const auto of = [](std::string_view what) { return line_producer::of(numbered(1, what)); };
        CHECK(of(text).is_known);
        CHECK(of(text).id == 17);
        CHECK(of(text).sequence == 5);
        CHECK(of("2026-11-21 22:39:56.123 4294967295 info text").id == 4294967295);
        CHECK(of("2026-11-21 22:39:56.123 4294967295 info text").sequence == 0);
        for (const auto* wrong : {"text", "a b", "a b c info", "a b 17#x info", "a b # info"}) {
            CAPTURE(wrong);
            CHECK(!of(wrong).is_known);
        }
    }
}
