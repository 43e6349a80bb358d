// Several tasks that publish on one channel: each gets on, and is told of what it has published.
#include "fake_broker.hpp"
#include "support/co_test.hpp"
#include "support/sockets.hpp"

#include <sapwood/amqp/connection.hpp>
#include <sapwood/amqp/errors.hpp>

#include <sapwood/spawn.hpp>

#include <doctest/doctest.h>
#include <string>

namespace {

using sapwood::task;
using sapwood::amqp::channel;
using sapwood::amqp::connect;
using sapwood::amqp::errc;
using sapwood::amqp::publication;
using sapwood::test::failure_of;
using sapwood::test::fake_broker;
using sapwood::test::until;

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

    CO_TEST_CASE("who waits for his messages is told of those, whoever else is told of what") {
        fake_broker broker;
        broker.does.holds_confirms = true;
        auto mq = co_await connect(broker.options());
        auto to = co_await mq.open_channel();
        (void)co_await to.declare_queue({.name = "q"});
        const auto good = to.publish_nowait("", "q", "x");
        const auto bad = to.publish_nowait("", "no", "y");
        const auto worse = to.publish_nowait("", "nobody", "z");
        auto one = sapwood::spawn(to.confirmed(good));
        auto two = sapwood::spawn(to.confirmed(bad));
        auto again = sapwood::spawn(to.confirmed(bad));
        auto three = sapwood::spawn(to.confirmed(worse));
        co_await until([&] { return broker.count(AMQP_BASIC_PUBLISH_METHOD) == 3; });
        broker.confirm_held();
        co_await one; // what it has published is there
        for (auto* const each : {&two, &again}) {
            const auto [code, text] = co_await failure_of([&]() -> task<> { co_await *each; });
            CHECK(code == errc::no_route);
            CHECK(text.starts_with("1 message was not published; the first: "));
            CHECK(text.find("'no'") != text.npos);
        }
        const auto [code, text] = co_await failure_of([&]() -> task<> { co_await three; });
        CHECK(code == errc::no_route);
        CHECK(text.starts_with("2 messages were not published; the first: "));
        co_await to.confirmed(worse); // told once
        CHECK(to.take_failures().size() == 2);
        co_await mq.close();
        co_await broker.end();
    }

    CO_TEST_CASE("who takes the failures takes none from those who wait") {
        fake_broker broker;
        auto mq = co_await connect(broker.options());
        auto to = co_await mq.open_channel();
        (void)co_await to.declare_queue({.name = "q"});
        (void)to.publish_nowait("", "no", "x");
        co_await until([&] { return to.unconfirmed() == 0; });
        broker.does.holds_confirms = true;
        const auto open = to.publish_nowait("", "q", "y");
        auto waiting = sapwood::spawn(to.confirmed(open));
        co_await until([&] { return broker.count(AMQP_BASIC_PUBLISH_METHOD) == 2; });
        CHECK(to.take_failures().size() == 1);
        broker.confirm_held();
        const auto [code, text] = co_await failure_of([&]() -> task<> { co_await waiting; });
        CHECK(code == errc::no_route);
        CHECK(text.starts_with("1 message was not published; the first: "));
        co_await mq.close();
        co_await broker.end();
    }

    CO_TEST_CASE("what failed behind the message that somebody waits for, the next one is told") {
        fake_broker broker;
        auto mq = co_await connect(broker.options());
        auto to = co_await mq.open_channel();
        (void)co_await to.declare_queue({.name = "q"});
        const auto good = to.publish_nowait("", "q", "x");
        const auto bad = to.publish_nowait("", "no", "y");
        co_await until([&] { return to.unconfirmed() == 0; });
        co_await to.confirmed(good);
        const auto [code, text] = co_await failure_of([&] { return to.confirmed(bad); });
        CHECK(code == errc::no_route);
        co_await mq.close();
        co_await broker.end();
    }

    CO_TEST_CASE("however many have failed, none of them is forgotten") {
        fake_broker broker;
        auto mq = co_await connect(broker.options());
        auto to = co_await mq.open_channel();
        publication last = publication::none;
        for (int i = 0; i < 1100; ++i) {
            last = to.publish_nowait("", "no", "x");
        }
        co_await until([&] { return to.unconfirmed() == 0; });
        const auto [early, words] =
            co_await failure_of([&] { return to.confirmed(static_cast<publication>(10)); });
        CHECK(words.starts_with("10 messages were"));
        const auto [code, text] = co_await failure_of([&] { return to.confirmed(last); });
        CHECK(text.starts_with("1090 messages were"));
        co_await to.confirmed();
        co_await mq.close();
        co_await broker.end();
    }
}
