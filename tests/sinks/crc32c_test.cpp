// crc32c: the right polynomial, with the processor's instruction and without.
#include <sapwood/crc32c.hpp>

#include <doctest/doctest.h>

#include <random>
#include <string>
#include <string_view>

namespace {

using namespace std::string_view_literals;
using sapwood::crc32c;
using sapwood::detail::crc32c_by_table;

} // namespace

TEST_SUITE("crc32c") {
    TEST_CASE("it gives the values of RFC 3720, B.4") {
        std::string ascending(32, '\0');
        for (std::size_t i = 0; i < ascending.size(); ++i) {
            ascending[i] = static_cast<char>(i);
        }
        for (const auto function : {&crc32c, &crc32c_by_table}) {
            CHECK(function(std::string(32, '\0'), 0) == 0x8a9136aa);
            CHECK(function(std::string(32, '\xff'), 0) == 0x62a8ab43);
            CHECK(function(ascending, 0) == 0x46dd794e);
            CHECK(function("123456789"sv, 0) == 0xe3069283);
            CHECK(function(""sv, 0) == 0);
        }
    }

    TEST_CASE("instruction and table agree at every size and alignment, and piece by piece") {
        std::mt19937 random(1);
        std::string text(2000, '\0');
        for (char& each : text) {
            each = static_cast<char>(random());
        }
        for (std::size_t begin = 0; begin < 16; ++begin) {
            for (std::size_t size = 0; size < 1900; ++size) {
                const auto part = std::string_view(text).substr(begin, size);
                const auto whole = crc32c(part);
                CHECK(whole == crc32c_by_table(part, 0));
                CHECK(whole == crc32c(part.substr(size / 3), crc32c(part.substr(0, size / 3))));
            }
        }
    }
}
