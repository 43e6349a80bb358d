// quick_format: what it writes is what fmt writes, and it takes only what it can.
#include <sapwood/quick_format.hpp>
#include <sapwood/record.hpp>

#include <cstdint>
#include <doctest/doctest.h>
#include <fmt/compile.h>
#include <fmt/format.h>
#include <limits>
#include <random>
#include <string>
#include <string_view>

namespace {

using sapwood::level;
using sapwood::make_record;

template <class T>
std::string quick(T value) {
    return std::string(make_record(level::info, 0, FMT_COMPILE("{}"), value).message());
}

template <class T>
void check_like_fmt(T value) {
    CHECK(quick(value) == fmt::format("{}", value));
}

} // namespace

TEST_SUITE("quick_format") {

    TEST_CASE("every power of ten and its neighbours are written as fmt writes them") {
        std::uint64_t power = 1;
        for (int digits = 1; digits <= 20; ++digits, power *= 10) {
            check_like_fmt(power - 1);
            check_like_fmt(power);
            check_like_fmt(power + 1);
        }
    }

    TEST_CASE("the extremes of every integer type are written as fmt writes them") {
        check_like_fmt(std::numeric_limits<std::int8_t>::min());
        check_like_fmt(std::numeric_limits<std::uint8_t>::max());
        check_like_fmt(std::numeric_limits<std::int16_t>::min());
        check_like_fmt(std::numeric_limits<std::int32_t>::min());
        check_like_fmt(std::numeric_limits<std::int32_t>::max());
        check_like_fmt(std::numeric_limits<std::int64_t>::min());
        check_like_fmt(std::numeric_limits<std::int64_t>::max());
        check_like_fmt(std::numeric_limits<std::uint64_t>::max());
        check_like_fmt(std::int64_t{0});
        check_like_fmt(-1);
        check_like_fmt(-10);
    }

    TEST_CASE("random integers are written as fmt writes them") {
        const auto seed = std::random_device()();
        CAPTURE(seed);
        std::mt19937_64 random(seed);
        for (int i = 0; i < 10'000; ++i) {
            const std::uint64_t value = random() >> (random() % 64);
            REQUIRE(quick(value) == fmt::format("{}", value));
            const auto negative = static_cast<std::int64_t>(value);
            REQUIRE(quick(negative) == fmt::format("{}", negative));
        }
    }

    TEST_CASE("literals and strings stand where the format has them") {
        const std::string name = "oak";
        const auto item = make_record(level::info, 0, FMT_COMPILE("<{}|{}{}>"), name, -7,
                                      std::string_view("sapwood"));
        CHECK(item.message() == "<oak|-7sapwood>");
        const auto first_and_last =
            make_record(level::info, 0, FMT_COMPILE("{} and {}"), 1u, std::string_view());
        CHECK(first_and_last.message() == "1 and ");
    }

    TEST_CASE("a message longer than the record is written whole") {
        const std::string text(5'000, 'x');
        const auto item = make_record(level::info, 0, FMT_COMPILE("{} {}"), text, 42);
        CHECK(item.message() == text + " 42");
    }

    TEST_CASE("a message whose strings need escaping is not known to be plain") {
        const auto plain = make_record(level::info, 0, FMT_COMPILE("a {}"), std::string("b"));
        CHECK(plain.is_known_plain());
        const auto forged =
            make_record(level::info, 0, FMT_COMPILE("a {}"), std::string("b\n2026-11-21 forged"));
        CHECK_FALSE(forged.is_known_plain());
        const auto literal = make_record(level::info, 0, FMT_COMPILE("a\n{}"), 1);
        CHECK_FALSE(literal.is_known_plain());
    }

    TEST_CASE("what is no integer and no string, and every other format, is left to fmt") {
        CHECK(make_record(level::info, 0, FMT_COMPILE("{}"), 'c').message() == "c");
        CHECK(make_record(level::info, 0, FMT_COMPILE("{}"), true).message() == "true");
        CHECK(make_record(level::info, 0, FMT_COMPILE("{:.2f}"), 1.5).message() == "1.50");
        CHECK(make_record(level::info, 0, FMT_COMPILE("{:>5}"), 42).message() == "   42");
        CHECK(make_record(level::info, 0, FMT_COMPILE("{{{}}}"), 42).message() == "{42}");
        CHECK(make_record(level::info, 0, FMT_COMPILE("{1} {0}"), 1, 2).message() == "2 1");
    }
}
