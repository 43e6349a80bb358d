// numbered_line: a line says whether it is whole.
#include "support/numbered_lines.hpp"

#include <doctest/doctest.h>

#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

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
              "0000000000000042 49623869 2026-11-21 22:39:56.123 17 info message\n");
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

    TEST_CASE("a line in parts is what it is in one piece, wherever it is parted") {
        const std::string whole = numbered(7, "a line of some length", true);
        std::string line = whole.substr(0, whole.size() - 1);
        const auto parted = [&](std::size_t first, std::size_t second) {
            sapwood::numbered_line_parts parts;
            parts.add(std::string_view(line).substr(0, first));
            parts.add(std::string_view(line).substr(first, second - first));
            parts.add(std::string_view(line).substr(second));
            return parts.parse();
        };
        for (std::size_t first = numbered_line::head_bytes; first < line.size(); ++first) {
            const auto found = parted(first, (first + line.size()) / 2);
            CHECK(found.is == numbered_line::state::whole);
            CHECK(found.is_marked);
            CHECK(found.place == lsn{7});
        }
        for (const std::size_t at : {30u, 40u}) { // in the first part, and behind it
            for (const char wrong : {'\0', 'x'}) {
                std::string other = line;
                std::swap(line, other);
                line[at] = wrong;
                CHECK(parted(35, 38).is == numbered_line::state::broken);
                std::swap(line, other);
            }
        }
        line.insert(0, "x");
        CHECK(parted(35, 38).is == numbered_line::state::foreign);
        line[37] = '\0';
        CHECK(parted(35, 38).is == numbered_line::state::broken);
    }

    TEST_CASE("of lines those are present whose numbers come first, in their order") {
        const std::string lines = numbered(3, "three") + numbered(4, "four") + numbered(5, "five");
        const std::size_t each = numbered(4, "four").size();
        const auto taken = [&](std::vector<lsn> present) {
            std::span<const lsn> rest = present;
            const std::size_t bytes = sapwood::take_present(lines, rest);
            return std::pair(bytes, rest.size());
        };
        CHECK(taken({}) == std::pair(0 * each, std::size_t{0}));
        CHECK(taken({lsn{3}}) == std::pair(each + 1, std::size_t{0}));
        CHECK(taken({lsn{3}, lsn{4}}) == std::pair(2 * each + 1, std::size_t{0}));
        CHECK(taken({lsn{3}, lsn{4}, lsn{5}}) == std::pair(lines.size(), std::size_t{0}));
        CHECK(taken({lsn{3}, lsn{5}}) == std::pair(each + 1, std::size_t{1}));
        CHECK(taken({lsn{4}, lsn{5}}) == std::pair(0 * each, std::size_t{2}));
        CHECK(taken({lsn{3}, lsn{4}, lsn{5}, lsn{6}}) == std::pair(lines.size(), std::size_t{1}));
        std::span<const lsn> none;
        CHECK(sapwood::take_present("a line without a head\n", none) == 0);
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
