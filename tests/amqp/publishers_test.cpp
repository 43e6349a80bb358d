// Several tasks that publish on one channel: each gets on, and is told of what it has published.
#include "fake_broker.hpp"
#include "support/co_test.hpp"

#include <sapwood/amqp/connection.hpp>

#include <sapwood/spawn.hpp>

#include <doctest/doctest.h>
#include <string>

namespace {

using sapwood::task;
using sapwood::amqp::channel;
using sapwood::amqp::connect;
using sapwood::amqp::publication;
using sapwood::test::fake_broker;

/// How often it was refused.
task<int> publish_by_turns(channel& to, int count, int refusals_max) {
    int refusals = 0;
    for (int i = 0; i < count && refusals < refusals_max; ++i) {
        while (refusals < refusals_max && to.publish_nowait("", "q", "x") == publication::none) {
            ++refusals;
            co_await to.room();
        }
    }
    co_return refusals;
}

} // namespace

TEST_SUITE("publishers") {
    CO_TEST_CASE("tasks that wait for room on one channel get on, in turns") {
        constexpr int refusals_max = 1000;
        fake_broker broker;
        auto options = broker.options();
        options.window_messages = 1;
        auto mq = co_await connect(options);
        auto to = co_await mq.open_channel();
        (void)co_await to.declare_queue({.name = "q"});
        auto one = sapwood::spawn(publish_by_turns(to, 20, refusals_max));
        auto other = sapwood::spawn(publish_by_turns(to, 20, refusals_max));
        auto third = sapwood::spawn(publish_by_turns(to, 20, refusals_max));
        CHECK(co_await one <= 40);
        CHECK(co_await other <= 40);
        CHECK(co_await third <= 40);
        co_await to.confirmed();
        CHECK(broker.queues["q"].ready.size() == 60);
        co_await mq.close();
        co_await broker.end();
    }

    CO_TEST_CASE("who waits for room has his turn among those who wait to publish") {
        fake_broker broker;
        auto options = broker.options();
        options.window_messages = 1;
        auto mq = co_await connect(options);
        auto to = co_await mq.open_channel();
        (void)co_await to.declare_queue({.name = "q"});
        int publishing = 3;
        const auto publish_on = [&]() -> task<> {
            for (int i = 0; i < 200; ++i) {
                co_await to.publish("", "q", "y");
            }
            --publishing;
        };
        auto one = sapwood::spawn(publish_on);
        auto other = sapwood::spawn(publish_on);
        auto third = sapwood::spawn(publish_on);
        auto turns = sapwood::spawn(publish_by_turns(to, 20, 1000));
        CHECK(co_await turns <= 20);
        CHECK(publishing == 3);
        co_await one;
        co_await other;
        co_await third;
        co_await mq.close();
        co_await broker.end();
    }
}
