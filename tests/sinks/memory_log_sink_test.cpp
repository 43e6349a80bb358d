// memory_log_sink, callback_log_sink and null_log_sink: lines that stay in the process.
#include "support/co_test.hpp"
#include "support/log_records.hpp"

#include <sapwood/memory_log_sink.hpp>

#include <algorithm>
#include <doctest/doctest.h>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

namespace {

using namespace sapwood;
using test::write_text;

} // namespace

TEST_SUITE("memory_log_sink") {

    CO_TEST_CASE("the newest lines stay in memory, whole, and those that went are counted") {
        const auto memory = std::make_shared<log_memory>(100);
        memory_log_sink sink(memory);
        co_await sink.open();
        std::string all;
        for (int i = 1000; i < 1500; ++i) {
            const std::string line = "line " + std::to_string(i) + "\n";
            all += line;
            co_await write_text(sink, line);
            const std::string text = memory->text();
            CHECK(text.size() <= 200);
            CHECK(text.size() >= std::min<std::size_t>(all.size(), 100));
            CHECK(all.ends_with(text));
            CHECK(text.starts_with("line "));
            CHECK(memory->lines_dropped() * line.size() + text.size() == all.size());
        }
        co_await sink.close();
    }

    CO_TEST_CASE("a function is given whole lines, and what it throws is the write's failure") {
        std::string got;
        callback_log_sink sink([&](std::string_view lines) {
            if (lines == "refused\n") {
                throw std::runtime_error("no");
            }
            got += lines;
        });
        co_await sink.open();
        co_await write_text(sink, "one\ntwo\n");
        bool is_refused = false;
        try {
            co_await write_text(sink, "refused\n");
        } catch (const std::runtime_error&) {
            is_refused = true;
        }
        CHECK(is_refused);
        co_await sink.close();
        CHECK(got == "one\ntwo\n");
    }

    CO_TEST_CASE("nobody gets what is written to the null sink") {
        null_log_sink sink;
        co_await sink.open();
        co_await write_text(sink, "one\n");
        CHECK(sink.describe() == "null");
        co_await sink.close();
    }
}
