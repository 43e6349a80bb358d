// record: a value that owns its message.
#include "support/allocations.hpp"

#include <sapwood/record.hpp>

#include <chrono>
#include <doctest/doctest.h>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace {

using namespace std::chrono_literals;
using namespace std::string_view_literals;
using sapwood::level;
using sapwood::record;

constexpr record::time_point some_time{1'700'000'000s};

std::string text_of_size(std::size_t bytes) {
    std::string text(bytes, 'x');
    for (std::size_t i = 0; i < bytes; ++i) {
        text[i] = static_cast<char>('a' + i % 26);
    }
    return text;
}

} // namespace

TEST_SUITE("record") {

    TEST_CASE("a record keeps what it was made of") {
        const record item(level::warning, 17, "the bark is thin", some_time);
        CHECK(item.when() == some_time);
        CHECK(item.importance() == level::warning);
        CHECK(item.producer() == 17);
        CHECK(item.message() == "the bark is thin");
    }

    TEST_CASE("a message may hold any byte, NUL included, or none") {
        CHECK(record(level::info, 1, "a\0b\n\xff"sv).message() == "a\0b\n\xff"sv);
        CHECK(record(level::info, 1, "").message().empty());
        CHECK(record(level::info, 1, std::string_view()).message().empty());
    }

    TEST_CASE("a short message needs no memory, a longer one frees its own") {
        const std::string longest_inside = text_of_size(record::inline_bytes_max);
        const std::string shortest_outside = text_of_size(record::inline_bytes_max + 1);
        const auto before = sapwood::test::allocations();
        const auto alive_before = sapwood::test::allocations_alive();
        {
            const record inside(level::info, 1, longest_inside);
            CHECK(sapwood::test::allocations() == before);
            CHECK(inside.message() == longest_inside);

            const record outside(level::info, 1, shortest_outside);
            CHECK(sapwood::test::allocations() == before + 1);
            CHECK(outside.message() == shortest_outside);
        }
        CHECK(sapwood::test::allocations_alive() == alive_before);
    }

    TEST_CASE("a moved record takes everything along and leaves no message behind") {
        for (const std::size_t size : std::initializer_list<std::size_t>{0, 1, 104, 105, 5000}) {
            CAPTURE(size);
            const std::string text = text_of_size(size);
            record from(level::error, 3, text, some_time);
            const record to(std::move(from));
            CHECK(to.message() == text);
            CHECK(to.when() == some_time);
            CHECK(to.importance() == level::error);
            CHECK(to.producer() == 3);
            CHECK(from.message().empty()); // NOLINT(bugprone-use-after-move): the claim
        }
    }

    TEST_CASE("assignment frees the message that was there") {
        const auto alive_before = sapwood::test::allocations_alive();
        {
            record item(level::info, 1, text_of_size(200));
            item = record(level::info, 2, text_of_size(300));
            CHECK(item.message() == text_of_size(300));
            item = record(level::info, 3, "short");
            CHECK(item.message() == "short");
            auto& same = item;
            item = std::move(same);
            CHECK(item.message() == "short");
        }
        CHECK(sapwood::test::allocations_alive() == alive_before);
    }

    TEST_CASE("a message past the maximum is refused with both sizes") {
        const std::size_t bytes = record::message_bytes_max + 1;
        const auto too_long = std::make_unique_for_overwrite<char[]>(bytes); // never looked at
        CHECK_THROWS_WITH_AS(record(level::info, 1, std::string_view(too_long.get(), bytes)),
                             "a record of 67108865 bytes is longer than the 67108864 allowed",
                             std::length_error);
    }

    TEST_CASE("a record that finds no memory leaks none") {
        const std::string text = text_of_size(1000);
        const auto alive_before = sapwood::test::allocations_alive();
        {
            const sapwood::test::failing_allocations none(1);
            CHECK_THROWS_AS(record(level::info, 1, text), std::bad_alloc);
        }
        CHECK(sapwood::test::allocations_alive() == alive_before);
    }

    TEST_CASE("make_record formats like fmt") {
        CHECK(sapwood::make_record(level::info, 1, "{} of {:.1f}", "oak", 2.5).message() ==
              "oak of 2.5");
        const std::string long_text = text_of_size(2000);
        CHECK(sapwood::make_record(level::info, 1, "<{}>", long_text).message() ==
              "<" + long_text + ">");
    }

    TEST_CASE("a level is written in lower case") {
        CHECK(to_string(level::trace) == "trace");
        CHECK(to_string(level::debug) == "debug");
        CHECK(to_string(level::info) == "info");
        CHECK(to_string(level::warning) == "warning");
        CHECK(to_string(level::error) == "error");
        CHECK(to_string(level::critical) == "critical");
    }
}
