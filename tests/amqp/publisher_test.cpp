// Publishing: what a confirm means, what is sent again, and who waits for what.
#include "fake_broker.hpp"
#include "support/co_test.hpp"
#include "support/sockets.hpp"

#include <sapwood/amqp/connection.hpp>
#include <sapwood/amqp/errors.hpp>

#include <sapwood/event.hpp>
#include <sapwood/result.hpp>
#include <sapwood/spawn.hpp>
#include <sapwood/timeout.hpp>

#include <doctest/doctest.h>
#include <string>
#include <vector>

namespace {

using namespace std::chrono_literals;
using sapwood::task;
using sapwood::amqp::channel;
using sapwood::amqp::connect;
using sapwood::amqp::connection_event;
using sapwood::amqp::errc;
using sapwood::amqp::publication;
using sapwood::test::failure_of;
using sapwood::test::fake_broker;
using sapwood::test::until;

std::vector<std::string> bodies(const std::deque<fake_broker::message>& of) {
    std::vector<std::string> found;
    for (const auto& each : of) {
        found.push_back(each.body);
    }
    return found;
}

using texts = std::vector<std::string>;

/// Lets what was sent go there and back, some times.
task<> turns(int count = 40) {
    for (int i = 0; i < count; ++i) {
        co_await sapwood::yield();
    }
}

} // namespace

TEST_SUITE("publisher") {
    CO_TEST_CASE("a publication returns when it is confirmed, and not before") {
        fake_broker broker;
        broker.does.holds_confirms = true;
        auto mq = co_await connect(broker.options());
        auto to = co_await mq.open_channel();
        (void)co_await to.declare_queue({.name = "q"});
        auto publishing = sapwood::spawn(to.publish("", "q", "text"));
        co_await until([&] { return !broker.queues["q"].ready.empty(); });
        co_await turns();
        CHECK_FALSE(publishing.done());
        CHECK(to.unconfirmed() == 1);
        broker.confirm_held();
        co_await publishing;
        CHECK(to.unconfirmed() == 0);
        CHECK(bodies(broker.queues["q"].ready) == texts{"text"});
        co_await mq.close();
        co_await broker.end();
    }

    CO_TEST_CASE("confirms may come for all at once, and last first") {
        for (const bool together : {true, false}) {
            fake_broker broker;
            broker.does.holds_confirms = true;
            auto mq = co_await connect(broker.options());
            auto to = co_await mq.open_channel();
            (void)co_await to.declare_queue({.name = "q"});
            for (std::uint64_t i = 1; i <= 5; ++i) {
                CHECK(to.publish_nowait("", "q", "x") == static_cast<publication>(i));
            }
            auto confirmed = sapwood::spawn(to.confirmed(static_cast<publication>(3)));
            co_await until([&] { return broker.queues["q"].ready.size() >= 5; });
            CHECK_FALSE(confirmed.done());
            broker.confirm_held(together);
            co_await confirmed;
            co_await to.confirmed();
            CHECK(to.unconfirmed() == 0);
            co_await mq.close();
            co_await broker.end();
        }
    }

    CO_TEST_CASE("there is room when there is room for the bytes of what was refused") {
        fake_broker broker;
        broker.does.holds_confirms = true;
        auto options = broker.options();
        options.window_bytes = 1000;
        auto mq = co_await connect(options);
        auto to = co_await mq.open_channel();
        (void)co_await to.declare_queue({.name = "q"});
        const std::string body(600, 'x');
        CHECK(to.publish_nowait("", "q", body) == static_cast<publication>(1));
        CHECK(to.publish_nowait("", "q", body) == publication::none);
        auto room = sapwood::spawn(to.room());
        co_await until([&] { return !broker.queues["q"].ready.empty(); });
        co_await turns();
        CHECK_FALSE(room.done());
        broker.confirm_held();
        co_await room;
        CHECK(to.publish_nowait("", "q", body) == static_cast<publication>(2));
        co_await until([&] { return broker.queues["q"].ready.size() == 2; });
        broker.confirm_held();
        co_await to.confirmed();
        co_await mq.close();
        co_await broker.end();
    }

    CO_TEST_CASE("a message that no queue takes is an error, unless its publisher does not mind") {
        fake_broker broker;
        auto mq = co_await connect(broker.options());
        auto to = co_await mq.open_channel();
        const auto [code, text] = co_await failure_of([&] { return to.publish("", "no", "x"); });
        CHECK(code == errc::no_route);
        CHECK(text.find("routing key 'no'") != text.npos);
        co_await to.publish("", "no", "x", {.mandatory = false});

        (void)to.publish_nowait("", "no", "y", {.message_id = "mine"});
        const auto [later, words] = co_await failure_of([&] { return to.confirmed(); });
        CHECK(later == errc::no_route);
        CHECK(words.find("1 message was not published") != words.npos);
        const auto failures = to.take_failures();
        REQUIRE(failures.size() == 1);
        CHECK(failures[0].message_id == "mine");
        co_await to.confirmed(); // told once
        co_await mq.close();
        co_await broker.end();
    }

    CO_TEST_CASE("what the broker refuses is published again until it is taken") {
        fake_broker broker;
        broker.does.refuses_every = 2;
        auto mq = co_await connect(broker.options());
        auto to = co_await mq.open_channel();
        (void)co_await to.declare_queue({.name = "q"});
        for (const char* const each : {"a", "b", "c"}) {
            (void)to.publish_nowait("", "q", each);
        }
        co_await to.confirmed();
        CHECK(bodies(broker.queues["q"].ready) == texts{"a", "c", "b"});
        CHECK(broker.count(AMQP_BASIC_PUBLISH_METHOD) > 3);
        co_await mq.close();
        co_await broker.end();
    }

    CO_TEST_CASE("what came back is known by its exchange, its key and its id, the oldest first") {
        fake_broker broker;
        auto mq = co_await connect(broker.options());
        auto to = co_await mq.open_channel();
        (void)co_await to.declare_queue({.name = "q"});
        broker.does.holds_confirms = true;
        (void)to.publish_nowait("", "q", "1", {.message_id = "same"});
        (void)to.publish_nowait("x", "no", "2", {.mandatory = false, .message_id = "same"});
        (void)to.publish_nowait("", "no", "3", {.message_id = "same"});
        (void)to.publish_nowait("", "no", "4", {.mandatory = false, .message_id = "same"});
        auto confirmed = sapwood::spawn(to.confirmed());
        co_await until([&] { return broker.count(AMQP_BASIC_PUBLISH_METHOD) == 4; });
        co_await turns();
        broker.confirm_held();
        const auto [code, text] = co_await failure_of([&]() -> task<> { co_await confirmed; });
        CHECK(code == errc::no_route);
        const auto failures = to.take_failures();
        REQUIRE(failures.size() == 1);
        CHECK(failures[0].number == static_cast<publication>(3));
        co_await mq.close();
        co_await broker.end();
    }

    CO_TEST_CASE("what the broker refuses together is published again, but not while it blocks") {
        fake_broker broker;
        broker.does.holds_confirms = true;
        auto mq = co_await connect(broker.options());
        auto to = co_await mq.open_channel();
        (void)co_await to.declare_queue({.name = "q"});
        (void)to.publish_nowait("", "q", "1");
        (void)to.publish_nowait("", "q", "2");
        co_await until([&] { return broker.queues["q"].ready.size() == 2; });
        const amqp_connection_blocked_t blocked{amqp_cstring_bytes("low on disk")};
        broker.say(0, AMQP_CONNECTION_BLOCKED_METHOD, &blocked);
        broker.queues["q"].ready.clear();
        broker.refuse_held();
        broker.does.holds_confirms = false;
        co_await sapwood::sleep_for(1h);
        CHECK(mq.is_blocked());
        CHECK(broker.count(AMQP_BASIC_PUBLISH_METHOD) == 2);
        const amqp_connection_unblocked_t unblocked{};
        broker.say(0, AMQP_CONNECTION_UNBLOCKED_METHOD, &unblocked);
        co_await to.confirmed();
        CHECK(bodies(broker.queues["q"].ready) == texts{"1", "2"});
        co_await mq.close();
        co_await broker.end();
    }

    CO_TEST_CASE("a full window holds publishers up, in their order") {
        fake_broker broker;
        broker.does.holds_confirms = true;
        auto options = broker.options();
        options.window_messages = 2;
        auto mq = co_await connect(options);
        auto to = co_await mq.open_channel();
        (void)co_await to.declare_queue({.name = "q"});
        (void)to.publish_nowait("", "q", "1");
        (void)to.publish_nowait("", "q", "2");
        CHECK(to.publish_nowait("", "q", "no room") == publication::none);
        auto third = sapwood::spawn(to.publish("", "q", "3"));
        auto fourth = sapwood::spawn(to.publish("", "q", "4"));
        co_await turns();
        CHECK(bodies(broker.queues["q"].ready) == texts{"1", "2"});
        while (!third.done() || !fourth.done()) {
            broker.confirm_held();
            co_await sapwood::yield();
        }
        co_await third;
        co_await fourth;
        CHECK(bodies(broker.queues["q"].ready) == texts{"1", "2", "3", "4"});
        co_await mq.close();
        co_await broker.end();
    }

    CO_TEST_CASE("a message that is larger than the window goes alone") {
        fake_broker broker;
        auto options = broker.options();
        options.window_bytes = 1000;
        auto mq = co_await connect(options);
        auto to = co_await mq.open_channel();
        (void)co_await to.declare_queue({.name = "q"});
        co_await to.publish("", "q", std::string(300'000, 'x'));
        CHECK(broker.queues["q"].ready.front().body == std::string(300'000, 'x'));
        co_await mq.close();
        co_await broker.end();
    }

    CO_TEST_CASE("a publisher that gave up leaves its message whole, and on its way") {
        fake_broker broker;
        broker.does.holds_confirms = true;
        auto mq = co_await connect(broker.options());
        auto to = co_await mq.open_channel();
        (void)co_await to.declare_queue({.name = "q"});
        const auto [code, text] = co_await failure_of([&] {
            return sapwood::detail::call([&]() -> task<> {
                co_await sapwood::timeout(1s, to.publish("", "q", "left alone"));
            });
        });
        CHECK(code == std::errc::timed_out);
        CHECK(to.unconfirmed() == 1);
        broker.does.holds_confirms = false;
        broker.confirm_held();
        co_await to.publish("", "q", "next");
        co_await to.confirmed();
        CHECK(bodies(broker.queues["q"].ready) == texts{"left alone", "next"});
        co_await mq.close();
        co_await broker.end();
    }

    CO_TEST_CASE("while the broker blocks publishers nothing is published") {
        fake_broker broker;
        auto options = broker.options();
        std::vector<connection_event::kind> told;
        options.on_event = [&](const connection_event& what) { told.push_back(what.what); };
        auto mq = co_await connect(options);
        auto to = co_await mq.open_channel();
        (void)co_await to.declare_queue({.name = "q"});
        const amqp_connection_blocked_t blocked{amqp_cstring_bytes("low on disk")};
        broker.say(0, AMQP_CONNECTION_BLOCKED_METHOD, &blocked);
        co_await until([&] { return mq.is_blocked(); });
        CHECK(to.publish_nowait("", "q", "x") == publication::none);
        auto publishing = sapwood::spawn(to.publish("", "q", "waits"));
        co_await turns();
        CHECK(broker.queues["q"].ready.empty());
        const amqp_connection_unblocked_t unblocked{};
        broker.say(0, AMQP_CONNECTION_UNBLOCKED_METHOD, &unblocked);
        co_await publishing;
        CHECK(bodies(broker.queues["q"].ready) == texts{"waits"});
        CHECK(told ==
              std::vector{connection_event::kind::blocked, connection_event::kind::unblocked});
        co_await mq.close();
        co_await broker.end();
    }

    CO_TEST_CASE("what was not confirmed is published again on the next connection, in order") {
        fake_broker broker;
        broker.does.holds_confirms = true;
        auto options = broker.options();
        options.retry_first = 0s; // it is up again before time goes on
        sapwood::event lost;
        options.on_event = [&](const connection_event& what) {
            if (what.what == connection_event::kind::down) {
                lost.set();
            }
        };
        auto mq = co_await connect(options);
        auto to = co_await mq.open_channel();
        (void)co_await to.declare_queue({.name = "q"});
        auto awaited = sapwood::spawn(to.publish("", "q", "1"));
        co_await until([&] { return to.unconfirmed() > 0; });
        (void)to.publish_nowait("", "q", "2");
        co_await until([&] { return broker.queues["q"].ready.size() >= 2; });
        const auto first = broker.queues["q"].ready;
        broker.queues["q"].ready.clear(); // what was not confirmed, a broker may lose
        broker.does.holds_confirms = false;
        broker.hang_up();
        co_await lost.wait();
        CHECK_FALSE(mq.is_up());
        (void)to.publish_nowait("", "q", "3"); // without a connection
        co_await awaited;
        co_await to.confirmed();
        CHECK(bodies(broker.queues["q"].ready) == texts{"1", "2", "3"});
        CHECK(broker.queues["q"].ready[0].id == first[0].id);
        CHECK(mq.times_up() == 2);
        co_await mq.close();
        co_await broker.end();
    }

    CO_TEST_CASE("a channel that the broker closes tells all who wait, and is over") {
        fake_broker broker;
        broker.does.holds_confirms = true;
        auto mq = co_await connect(broker.options());
        auto to = co_await mq.open_channel();
        (void)co_await to.declare_queue({.name = "q"});
        auto publishing = sapwood::spawn(to.publish("x", "q", "1"));
        co_await until([&] { return to.unconfirmed() > 0; });
        const amqp_channel_close_t close{404, amqp_cstring_bytes("NOT_FOUND - no exchange 'x'"), 60,
                                         40};
        broker.say(1, AMQP_CHANNEL_CLOSE_METHOD, &close);
        const auto [code, text] = co_await failure_of([&]() -> task<> { co_await publishing; });
        CHECK(code == errc::not_found);
        CHECK(text.find("no exchange 'x'") != text.npos);
        CHECK(to.is_closed());
        CHECK_THROWS_AS((void)to.publish_nowait("", "q", "2"), std::system_error);

        broker.does.holds_confirms = false;
        auto another = co_await mq.open_channel();
        co_await another.publish("", "q", "3");
        CHECK(mq.times_up() == 1);
        co_await mq.close();
        co_await broker.end();
    }

    CO_TEST_CASE("a confirm of what was never sent breaks the connection, and is no confirm") {
        fake_broker broker;
        broker.does.holds_confirms = true;
        auto mq = co_await connect(broker.options());
        auto to = co_await mq.open_channel();
        (void)co_await to.declare_queue({.name = "q"});
        auto publishing = sapwood::spawn(to.publish("", "q", "1"));
        co_await until([&] { return !broker.queues["q"].ready.empty(); });
        const amqp_basic_ack_t ack{7, 1};
        broker.say(1, AMQP_BASIC_ACK_METHOD, &ack);
        co_await until([&] { return mq.times_up() >= 2; });
        CHECK_FALSE(publishing.done());
        broker.does.holds_confirms = false;
        co_await until([&] { return broker.queues["q"].ready.size() >= 2; });
        broker.confirm_held();
        co_await publishing;
        co_await mq.close();
        co_await broker.end();
    }
}
