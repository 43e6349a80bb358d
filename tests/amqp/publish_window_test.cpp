// publish_window: what is on its way, whatever memory is there for it.
#include "fake_broker.hpp"
#include "support/allocations.hpp"
#include "support/co_test.hpp"

#include <amqp/publish_window.hpp>
#include <sapwood/amqp/connection.hpp>
#include <sapwood/amqp/errors.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <doctest/doctest.h>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace {

using sapwood::task;
using sapwood::amqp::errc;
using sapwood::amqp::detail::confirmation;
using sapwood::amqp::detail::outgoing;
using sapwood::amqp::detail::outgoing_ptr;
using sapwood::amqp::detail::publish_window;
using sapwood::test::failing_allocations;
using sapwood::test::fake_broker;

constexpr std::size_t frame_bytes = 100;

/// Each with frames of its own letter.
std::vector<outgoing_ptr> messages(std::size_t count) {
    std::vector<outgoing_ptr> made;
    for (std::size_t i = 0; i < count; ++i) {
        made.push_back(std::make_shared<outgoing>());
        made.back()->frames.assign(frame_bytes, static_cast<char>('a' + i));
    }
    return made;
}

template <class Call>
bool has_memory(Call&& call) {
    try {
        call();
        return true;
    } catch (const std::bad_alloc&) {
        return false;
    }
}

} // namespace

TEST_SUITE("publish_window") {
    TEST_CASE("whatever allocation fails, tags are of the messages that they were sent as") {
        bool struck = true;
        for (std::size_t nth = 1; struck; ++nth) {
            CAPTURE(nth);
            constexpr std::size_t count = 20;
            const auto all = messages(count);
            std::array<bool, count> is_added{};
            publish_window window({.messages = count, .bytes = count * frame_bytes});
            std::string out;
            bool is_known = true;
            {
                const failing_allocations failing(nth);
                for (std::size_t i = 0; i < count; ++i) {
                    is_added[i] = has_memory([&] { window.add(all[i]); });
                    if (i % 3 == 2) {
                        (void)has_memory([&] { window.send(out); });
                    }
                    if (i == 10 && !out.empty()) {
                        is_known = window.confirm(1, false, true);
                        window.retry();
                    }
                }
                struck = failing.struck();
            }
            window.send(out);
            CHECK(is_known);
            const auto added = static_cast<std::size_t>(std::ranges::count(is_added, true));
            CHECK(window.unsettled() == added);
            CHECK(window.bytes() == added * frame_bytes);
            CHECK(window.last_number() == added);
            // The refused one is sent twice.
            const bool is_one_refused = out.size() > added * frame_bytes;
            CHECK(out.size() == (added + (is_one_refused ? 1 : 0)) * frame_bytes);
            for (std::size_t tag = is_one_refused ? 2 : 1; tag <= out.size() / frame_bytes; ++tag) {
                const auto which = static_cast<std::size_t>(out[(tag - 1) * frame_bytes] - 'a');
                CHECK_FALSE(all[which]->is_settled);
                CHECK(window.confirm(tag, false, false));
                CHECK(all[which]->is_settled);
            }
            CHECK(window.unsettled() == 0);
            CHECK(window.bytes() == 0);
            CHECK(window.are_settled(added));
        }
    }

    TEST_CASE("a message that is taken back was never there") {
        publish_window window({.messages = 10, .bytes = 1000});
        const auto all = messages(3);
        window.add(all[0]);
        window.add(all[1]);
        window.take_back();
        CHECK(window.unsettled() == 1);
        window.add(all[2]);
        CHECK(all[2]->number == 2);
        std::string out;
        window.send(out);
        CHECK(out == all[0]->frames + all[2]->frames);
    }

    TEST_CASE("all are refused, sent again, or told that they have failed without any memory") {
        constexpr std::size_t count = 50;
        const auto all = messages(count);
        publish_window window({.messages = count, .bytes = count * frame_bytes});
        for (const auto& each : all) {
            window.add(each);
        }
        all.front()->is_awaited = true;
        confirmation waiting(window, count);
        std::string out;
        window.send(out);
        const std::string why = "a text that is too long to be kept without memory";
        bool is_known = false;
        {
            const failing_allocations failing(1);
            is_known = window.confirm(count / 2, true, true);
            window.forget_sent();
            window.fail_all(errc::closed, why);
        }
        CHECK(is_known);
        for (const auto& each : all) {
            CHECK(each->is_settled);
            CHECK(each->why == errc::closed);
        }
        CHECK(window.unsettled() == 0);
        std::string words;
        try {
            waiting.require_none_failed();
        } catch (const std::system_error& failure) {
            words = failure.what();
        }
        CHECK(words.find("49 messages were not published") != words.npos);
    }

    CO_TEST_CASE("a channel is given up without any memory") {
        fake_broker broker;
        broker.does.holds_confirms = true;
        auto mq = co_await connect(broker.options());
        std::optional<sapwood::amqp::channel> on(co_await mq.open_channel());
        (void)co_await on->declare_queue({.name = "q"});
        auto publishing = sapwood::spawn(on->publish("", "q", "text"));
        co_await sapwood::test::until([&] { return !broker.queues["q"].ready.empty(); });
        {
            const failing_allocations failing(1);
            on.reset();
        }
        std::error_code why;
        try {
            co_await publishing;
        } catch (const std::system_error& failure) {
            why = failure.code();
        }
        CHECK(why == errc::closed);
        co_await mq.close();
        co_await broker.end();
    }
}
