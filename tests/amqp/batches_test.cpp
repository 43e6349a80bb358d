// Batches of messages: how long one is waited for, and for what it is not.
#include "fake_broker.hpp"
#include "support/co_test.hpp"

#include <sapwood/amqp/connection.hpp>
#include <sapwood/amqp/errors.hpp>

#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>

#include <doctest/doctest.h>
#include <string>
#include <vector>

namespace {

using namespace std::chrono_literals;
using sapwood::event_loop;
using sapwood::task;
using sapwood::amqp::connect;
using sapwood::amqp::delivery;
using sapwood::test::fake_broker;
using sapwood::test::until;

using batch = std::vector<delivery>;

/// So many into the queue "logs", at once.
void bring(fake_broker& broker, int count) {
    for (int i = 0; i < count; ++i) {
        sapwood::test::put_message(broker, "logs", "x", "");
    }
    broker.dispatch_all();
}

task<std::size_t> batch_of(sapwood::amqp::consumer& from, batch& out, std::size_t max,
                           sapwood::clock::duration linger) {
    co_return co_await from.next_many(out, max, linger);
}

/// A connection that consumes the queue "logs".
struct consuming_client {
    sapwood::amqp::connection mq;
    sapwood::amqp::channel on;
    sapwood::amqp::consumer from;

    static task<consuming_client> of(const fake_broker& broker, std::uint16_t prefetch) {
        auto mq = co_await connect(broker.options());
        auto on = co_await mq.open_channel();
        auto from = co_await on.consume("logs", {.prefetch = prefetch});
        co_return consuming_client{std::move(mq), std::move(on), std::move(from)};
    }
};

} // namespace

TEST_SUITE("batches") {
    CO_TEST_CASE("a batch is waited for until it is full, and for its time at most") {
        fake_broker broker;
        auto client = co_await consuming_client::of(broker, 10);
        const auto began = event_loop::current().now();
        batch first;
        auto filling = sapwood::spawn(batch_of(client.from, first, 4, 1h));
        bring(broker, 2);
        co_await sapwood::sleep_for(2s);
        bring(broker, 1);
        co_await sapwood::sleep_for(2s);
        CHECK_FALSE(filling.done());
        bring(broker, 3);
        CHECK(co_await filling == 4);
        CHECK(first.size() == 4);
        CHECK(event_loop::current().now() - began < 5s);
        CHECK(co_await client.from.next_many(first, 4) == 2);
        const auto then = event_loop::current().now();
        auto late = sapwood::spawn(batch_of(client.from, first, 4, 10s));
        bring(broker, 1);
        CHECK(co_await late == 1);
        CHECK(event_loop::current().now() - then >= 10s);
        CHECK(event_loop::current().now() - then < 11s);
        co_await client.mq.close();
        co_await broker.end();
    }

    CO_TEST_CASE("a message that comes alone, when none came for so long, waits for no other") {
        fake_broker broker;
        auto client = co_await consuming_client::of(broker, 10);
        batch some;
        for (std::size_t i = 1; i <= 3; ++i) {
            const auto began = event_loop::current().now();
            auto filling = sapwood::spawn(batch_of(client.from, some, 4, 10s));
            bring(broker, 1);
            CHECK(co_await filling == 1);
            CHECK(event_loop::current().now() - began < 1s);
            co_await sapwood::sleep_for(11s);
        }
        auto filling = sapwood::spawn(batch_of(client.from, some, 4, 10s));
        bring(broker, 1);
        CHECK(co_await filling == 1);
        co_await sapwood::sleep_for(9s);
        filling = sapwood::spawn(batch_of(client.from, some, 4, 10s));
        bring(broker, 1);
        co_await sapwood::sleep_for(9s);
        bring(broker, 1);
        CHECK(co_await filling == 2);
        co_await client.mq.close();
        co_await broker.end();
    }

    CO_TEST_CASE(
        "what the prefetch does not let come before others are settled is not waited for") {
        fake_broker broker;
        auto client = co_await consuming_client::of(broker, 5);
        const auto began = event_loop::current().now();
        batch first;
        batch second;
        bring(broker, 20);
        CHECK(co_await client.from.next_many(first, 3, 1h) == 3);
        CHECK(co_await client.from.next_many(second, 3, 1h) == 2);
        CHECK(event_loop::current().now() - began < 1h);
        CHECK(co_await first.back().ack_through());
        CHECK(co_await client.from.next_many(second, 100, 1h) == 3);
        CHECK(event_loop::current().now() - began < 1h);
        co_await client.mq.close();
        co_await broker.end();
    }

    CO_TEST_CASE(
        "a batch that is waited for ends with its connection, and the next is of another") {
        fake_broker broker;
        auto client = co_await consuming_client::of(broker, 10);
        const auto began = event_loop::current().now();
        batch old;
        auto filling = sapwood::spawn(batch_of(client.from, old, 4, 1h));
        bring(broker, 2);
        co_await sapwood::sleep_for(1s);
        broker.hang_up();
        CHECK(co_await filling >= 1);
        CHECK(event_loop::current().now() - began < 1h);
        co_await until([&] { return client.mq.times_up() == 2; });
        for (delivery& each : old) {
            CHECK_FALSE(each.is_redelivered());
            CHECK_FALSE(co_await each.ack());
        }
        batch again;
        CHECK(co_await client.from.next_many(again, 2, 1h) == 2);
        CHECK(again.front().is_redelivered());
        CHECK(co_await again.back().ack_through());
        co_await client.on.close();
        CHECK(broker.queues["logs"].done.size() == 2);
        co_await client.mq.close();
        co_await broker.end();
    }

    CO_TEST_CASE("a consumer that ends has nobody wait for more of a batch") {
        fake_broker broker;
        auto client = co_await consuming_client::of(broker, 10);
        const auto began = event_loop::current().now();
        batch some;
        auto filling = sapwood::spawn(batch_of(client.from, some, 4, 1h));
        bring(broker, 2);
        co_await sapwood::sleep_for(1s);
        co_await client.from.cancel();
        CHECK(co_await filling == 2);
        CHECK(co_await client.from.next_many(some, 4, 1h) == 0);
        CHECK(event_loop::current().now() - began < 1h);
        co_await client.mq.close();
        co_await broker.end();
    }

    CO_TEST_CASE("who is cancelled while he waits for more has what came, and is stopped then") {
        fake_broker broker;
        auto client = co_await consuming_client::of(broker, 10);
        const auto began = event_loop::current().now();
        batch some;
        std::size_t got = 0;
        const auto take = [&]() -> task<> {
            got = co_await client.from.next_many(some, 4, 1h);
            co_await sapwood::sleep_for(1h);
        };
        auto filling = sapwood::spawn(take());
        bring(broker, 2);
        co_await sapwood::sleep_for(1s);
        filling.cancel();
        CHECK_THROWS_AS(co_await filling, sapwood::cancelled);
        CHECK(got == 2);
        CHECK(some.size() == 2);
        CHECK(event_loop::current().now() - began < 1h);
        co_await client.mq.close();
        co_await broker.end();
    }
}
