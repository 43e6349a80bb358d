// What a connection is to be answered, of records that are kept, late, or lost.
#include "collector/served.hpp"
#include "support/allocations.hpp"
#include "support/co_test.hpp"

#include <collector/http_answers.hpp>

#include <doctest/doctest.h>
#include <string>

namespace {

using sapwood::level;
using sapwood::record;
using sapwood::task;
using sapwood::collector::ack_level;
using sapwood::collector::http_answers;
using sapwood::collector::intake;
using sapwood::collector::named_log;
using sapwood::collector::named_log_options;
using sapwood::collector::native_interface;
using sapwood::collector::pending_answer;
using sapwood::test::count_of;
using sapwood::test::has;

struct one_log {
    /// end() must be awaited.
    task<> begin() {
        named_log_options options;
        options.name = "app";
        options.path = directory / "app.log";
        shared.logs.push_back(co_await named_log::open(std::move(options)));
        log().log().on_loss([](const std::string&) {});
    }

    [[nodiscard]] named_log& log() { return shared.logs.front(); }

    task<> end() { co_await log().log().close(); }

    sapwood::test::temporary_directory directory;
    intake shared{{}};
};

} // namespace

TEST_SUITE("http_answers") {
    CO_TEST_CASE("answers behind one that waits are bounded by their bytes, not only by how many") {
        one_log at;
        co_await at.begin();
        {
            http_answers answers(at.shared);
            auto& waits = answers.wait_for({}, native_interface, at.log(), ack_level::durable);
            waits.first = waits.last = co_await at.log().log().append(record(level::info, 0, "a"));
            waits.is_given = true;
            const sapwood::lsn place = waits.last; // it moves where others come behind it
            const std::string page(10'000, 'x');
            std::size_t said = 0;
            for (; !answers.is_full(); ++said) {
                answers.say({}, {.status = 200, .body = page});
            }
            CHECK(said == 7); // 64 KiB
            CHECK(at.shared.counts.unsent_bytes > said * page.size());
            co_await at.log().log().durable(place);
            answers.settle();
            CHECK(at.shared.counts.unsent_bytes == answers.bytes().size());
            CHECK(count_of(answers.bytes(), page) == said);
            answers.sent();
            CHECK(at.shared.counts.unsent_bytes == 0);
            CHECK_FALSE(answers.is_full());
            answers.say({}, {.status = 200, .body = page});
            CHECK_FALSE(answers.is_full());
            CHECK(at.shared.counts.unsent_bytes > page.size());
        }
        CHECK(at.shared.counts.unsent_bytes == 0);
        co_await at.end();
    }

    CO_TEST_CASE("one that has nothing to wait for stands behind those that wait") {
        one_log at;
        co_await at.begin();
        http_answers answers(at.shared);
        answers.say({}, {.status = 200, .body = "first"});
        auto& waits = answers.wait_for({}, native_interface, at.log(), ack_level::durable);
        waits.first = waits.last = co_await at.log().log().append(record(level::info, 0, "a"));
        waits.is_given = true;
        answers.fail({.closes = true}, native_interface, 400, "third");
        answers.settle();
        CHECK(answers.bytes().ends_with("first"));
        REQUIRE(answers.has_pending());
        co_await at.log().log().durable(answers.awaited().last);
        answers.settle();
        CHECK_FALSE(answers.has_pending());
        const std::string text(answers.bytes());
        CHECK(text.find("success") < text.find("third"));
        CHECK(text.find("success") > text.find("first"));
        co_await at.end();
    }

    CO_TEST_CASE("records that are not all given are never acknowledged") {
        one_log at;
        co_await at.begin();
        http_answers answers(at.shared);
        auto& waits = answers.wait_for({}, native_interface, at.log(), ack_level::accepted);
        waits.first = waits.last = co_await at.log().log().append(record(level::info, 0, "a"));
        co_await at.log().log().durable(waits.last);
        answers.settle();
        CHECK(answers.bytes().empty());
        answers.give_up();
        CHECK(answers.bytes().starts_with("HTTP/1.1 503 "));
        CHECK(has(answers.bytes(), "Connection: close\r\n"));
        co_await at.end();
    }

    CO_TEST_CASE("one record of several that is lost for want of memory is not acknowledged") {
        one_log at;
        co_await at.begin();
        http_answers answers(at.shared);
        sapwood::pipeline& log = at.log().log();
        pending_answer& several =
            answers.wait_for({}, native_interface, at.log(), ack_level::durable);
        record large(level::info, 0, std::string(2u << 20, 'x')); // a batch has to grow for it
        several.first = co_await log.append(std::move(large));
        {
            const sapwood::test::failing_allocations none(1);
            while (log.counts().lines_lost == 0) {
                co_await sapwood::yield();
            }
        }
        several.last = co_await log.append(record(level::info, 0, "small"));
        several.is_given = true;
        pending_answer& other =
            answers.wait_for({}, native_interface, at.log(), ack_level::durable);
        other.first = other.last = co_await log.append(record(level::info, 0, "another's"));
        other.is_given = true;
        co_await log.durable(answers.last_waiting().last);
        answers.settle();
        CHECK(count_of(answers.bytes(), "HTTP/1.1 503 ") == 1);
        CHECK(count_of(answers.bytes(), "HTTP/1.1 200 ") == 1);
        CHECK(answers.bytes().find("HTTP/1.1 503 ") < answers.bytes().find("HTTP/1.1 200 "));
        co_await at.end();
    }
}
