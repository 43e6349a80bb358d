// What is given up, or never answered: channels and consumers are over then, and nobody waits on
// them for ever.
#include "fake_broker.hpp"
#include "support/co_test.hpp"
#include "support/sockets.hpp"

#include <sapwood/amqp/connection.hpp>
#include <sapwood/amqp/errors.hpp>

#include <sapwood/event_loop.hpp>
#include <sapwood/spawn.hpp>

#include <doctest/doctest.h>
#include <system_error>

namespace {

using sapwood::task;
using sapwood::amqp::connect;
using sapwood::amqp::errc;
using sapwood::test::failure_of;
using sapwood::test::fake_broker;
using sapwood::test::is_cancelled;
using sapwood::test::until;

} // namespace

TEST_SUITE("mq_giving_up") {
    CO_TEST_CASE("a channel whose close is given up, or never answered, is over") {
        for (const bool is_given_up : {true, false}) {
            fake_broker broker;
            auto mq = co_await connect(broker.options());
            auto on = co_await mq.open_channel();
            auto from = co_await on.consume("q");
            auto waiting = sapwood::spawn(from.next());
            broker.does.is_mute = true;
            auto closing = sapwood::spawn(on.close());
            co_await until([&] { return broker.count(AMQP_CHANNEL_CLOSE_METHOD) > 0; });
            if (is_given_up) {
                closing.cancel();
                CHECK(co_await is_cancelled(closing));
            } else {
                const auto [code, text] =
                    co_await failure_of([&]() -> task<> { co_await closing; });
                CHECK(code == std::errc::timed_out);
            }
            CHECK(on.is_closed());
            co_await until([&] { return waiting.done(); });
            CHECK_FALSE((co_await waiting).has_value());
            const auto [code, text] = co_await failure_of([&] { return on.publish("", "q", "x"); });
            CHECK(code == errc::closed);
            const auto [late, words] =
                co_await failure_of([&]() -> task<> { (void)co_await on.declare_queue({}); });
            CHECK(late == errc::closed);
            CHECK(broker.count(AMQP_QUEUE_DECLARE_METHOD) == 0);
            broker.does.is_mute = false;
            co_await mq.close();
            co_await broker.end();
        }
    }

    CO_TEST_CASE("a consumer whose cancelling is given up, or never answered, has ended") {
        for (const bool is_given_up : {true, false}) {
            fake_broker broker;
            auto mq = co_await connect(broker.options());
            auto on = co_await mq.open_channel();
            auto from = co_await on.consume("q");
            auto waiting = sapwood::spawn(from.next());
            broker.does.is_mute = true;
            auto cancelling = sapwood::spawn(from.cancel());
            co_await until([&] { return broker.count(AMQP_BASIC_CANCEL_METHOD) > 0; });
            if (is_given_up) {
                cancelling.cancel();
                CHECK(co_await is_cancelled(cancelling));
            } else {
                const auto [code, text] =
                    co_await failure_of([&]() -> task<> { co_await cancelling; });
                CHECK(code == std::errc::timed_out);
            }
            co_await until([&] { return waiting.done(); });
            CHECK_FALSE((co_await waiting).has_value());
            broker.does.is_mute = false;
            co_await from.cancel(); // nothing more
            on = {};
            co_await mq.close();
            co_await broker.end();
        }
    }

    CO_TEST_CASE("without a connection a consumer is cancelled at once, and not begun again") {
        fake_broker broker;
        auto mq = co_await connect(broker.options());
        auto on = co_await mq.open_channel();
        auto from = co_await on.consume("q");
        auto waiting = sapwood::spawn(from.next());
        broker.does.refuses_login = 403;
        broker.hang_up();
        co_await until([&] { return !mq.is_up(); });
        const auto began = sapwood::event_loop::current().now();
        co_await from.cancel();
        CHECK(sapwood::event_loop::current().now() == began);
        CHECK_FALSE((co_await waiting).has_value());
        broker.does.refuses_login = 0;
        co_await until([&] { return mq.is_up(); });
        (void)co_await on.declare_queue({.name = "q"});
        CHECK(broker.count(AMQP_BASIC_CONSUME_METHOD) == 1);
        co_await mq.close();
        co_await broker.end();
    }
}
