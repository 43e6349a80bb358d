// Channels: what was given up leaves nothing behind, numbers or closes; what is never answered.
#include "fake_broker.hpp"
#include "support/co_test.hpp"

#include <sapwood/amqp/connection.hpp>
#include <sapwood/amqp/errors.hpp>

#include <sapwood/spawn.hpp>

#include <doctest/doctest.h>

namespace {

using namespace std::chrono_literals;
using sapwood::task;
using sapwood::amqp::connect;
using sapwood::amqp::errc;
using sapwood::test::fake_broker;
using sapwood::test::until;

template <class Handle>
task<bool> is_cancelled(Handle& of) {
    bool was_cancelled = false;
    try {
        co_await of;
    } catch (const sapwood::cancelled&) {
        was_cancelled = true;
    }
    co_return was_cancelled;
}

/// As soon as there is a number for it.
task<sapwood::amqp::channel> opened(sapwood::amqp::connection& on) {
    for (int tries = 0;; ++tries) {
        try {
            co_return co_await on.open_channel();
        } catch (const std::system_error& failure) {
            if (failure.code() != errc::no_channel_left || tries == 1000) {
                throw;
            }
        }
        co_await sapwood::sleep_for(1ms);
    }
}

} // namespace

TEST_SUITE("mq_channel") {
    CO_TEST_CASE("the number of a channel whose opening was given up is another's afterwards") {
        fake_broker broker;
        broker.does.channel_max = 1;
        auto mq = co_await connect(broker.options());
        for (const bool is_answered : {false, true}) {
            broker.does.is_mute = true;
            auto opening = sapwood::spawn(mq.open_channel());
            const auto before = broker.count(AMQP_CHANNEL_OPEN_METHOD);
            co_await until([&] { return broker.count(AMQP_CHANNEL_OPEN_METHOD) > before; });
            broker.does.is_mute = false;
            if (is_answered) { // before it is given up, but for the rest
                const amqp_channel_open_ok_t ok{};
                broker.does.is_mute = true;
                broker.say(1, AMQP_CHANNEL_OPEN_OK_METHOD, &ok);
                const auto selects = broker.count(AMQP_CONFIRM_SELECT_METHOD);
                co_await until([&] { return broker.count(AMQP_CONFIRM_SELECT_METHOD) > selects; });
                broker.does.is_mute = false;
            }
            const auto closes = broker.count(AMQP_CHANNEL_CLOSE_METHOD);
            opening.cancel();
            CHECK(co_await is_cancelled(opening));
            co_await until([&] { return broker.count(AMQP_CHANNEL_CLOSE_METHOD) > closes; });
            auto on = co_await opened(mq);
            CHECK((co_await on.declare_queue({.name = "q"})).name == "q");
            co_await on.close();
        }
        CHECK(mq.times_up() == 1);
        co_await mq.close();
        co_await broker.end();
    }

    CO_TEST_CASE("a close that is given up is not said twice") {
        fake_broker broker;
        broker.does.channel_max = 1;
        auto mq = co_await connect(broker.options());
        {
            auto on = co_await mq.open_channel();
            broker.does.is_mute = true;
            auto closing = sapwood::spawn(on.close());
            co_await until([&] { return broker.count(AMQP_CHANNEL_CLOSE_METHOD) > 0; });
            closing.cancel();
            CHECK(co_await is_cancelled(closing));
        }
        broker.does.is_mute = false;
        const amqp_channel_close_ok_t ok{};
        broker.say(1, AMQP_CHANNEL_CLOSE_OK_METHOD, &ok);
        auto on = co_await opened(mq);
        CHECK(broker.count(AMQP_CHANNEL_CLOSE_METHOD) == 1);
        CHECK((co_await on.declare_queue({.name = "q"})).name == "q");
        co_await mq.close();
        co_await broker.end();
    }

    CO_TEST_CASE("a connection on which nothing is answered any more is made again") {
        fake_broker broker;
        auto options = broker.options();
        options.answer_within = 3s;
        auto mq = co_await connect(options);
        auto on = co_await mq.open_channel();
        (void)co_await on.declare_queue({.name = "q"});
        broker.does.on_connection = [&](std::uint64_t number) {
            broker.does.is_mute = number == 2;
        };
        broker.hang_up();
        co_await until([&] { return mq.times_up() >= 2; });
        CHECK(broker.connections() == 3);
        co_await on.publish("", "q", "x");
        co_await mq.close();
        co_await broker.end();
    }

    CO_TEST_CASE("a close that is cancelled has done nothing before it has said goodbye") {
        fake_broker broker;
        broker.does.holds_confirms = true;
        auto mq = co_await connect(broker.options());
        auto on = co_await mq.open_channel();
        (void)co_await on.declare_queue({.name = "q"});
        (void)on.publish_nowait("", "q", "x");
        auto closing = sapwood::spawn(mq.close());
        co_await until([&] { return !broker.queues["q"].ready.empty(); });
        closing.cancel();
        CHECK(co_await is_cancelled(closing));
        broker.does.holds_confirms = false;
        broker.confirm_held();
        co_await on.publish("", "q", "y");
        CHECK(broker.queues["q"].ready.size() == 2);
        co_await mq.close();
        CHECK_FALSE(mq.is_up());
        co_await broker.end();
    }
}
