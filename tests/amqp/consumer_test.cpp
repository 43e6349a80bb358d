// Consuming: prefetch, settling, and what a lost connection makes of both.
#include "fake_broker.hpp"
#include "support/co_test.hpp"
#include "support/sockets.hpp"

#include <sapwood/amqp/connection.hpp>
#include <sapwood/amqp/errors.hpp>
#include <sapwood/amqp/recent_ids.hpp>

#include <sapwood/spawn.hpp>

#include <algorithm>
#include <doctest/doctest.h>
#include <optional>
#include <string>
#include <vector>

namespace {

using sapwood::task;
using sapwood::amqp::connect;
using sapwood::amqp::connection_event;
using sapwood::amqp::delivery;
using sapwood::amqp::errc;
using sapwood::test::failure_of;
using sapwood::test::fake_broker;
using sapwood::test::until;

using texts = std::vector<std::string>;

void fill(fake_broker& broker, const std::string& queue, const texts& bodies) {
    for (const std::string& each : bodies) {
        sapwood::test::put_message(broker, queue, each, "id-" + each);
    }
}

texts done(fake_broker& broker, const std::string& queue) {
    texts found;
    for (const auto& each : broker.queues[queue].done) {
        found.push_back(each.body);
    }
    return found;
}

} // namespace

TEST_SUITE("consumer") {
    CO_TEST_CASE("with a prefetch of one the next message comes when one is acknowledged") {
        fake_broker broker;
        fill(broker, "q", {"a", "b"});
        auto mq = co_await connect(broker.options());
        auto on = co_await mq.open_channel();
        auto from = co_await on.consume("q", {.prefetch = 1});
        auto first = co_await from.next();
        REQUIRE(first.has_value());
        CHECK(first->body() == "a");
        CHECK(first->routing_key() == "q");
        CHECK(first->props().message_id == "id-a");
        CHECK(first->props().is_persistent);
        CHECK_FALSE(first->is_redelivered());
        CHECK(broker.queues["q"].ready.size() == 1);
        CHECK(co_await first->ack());
        CHECK_FALSE(co_await first->ack()); // the second time is none
        auto second = co_await from.next();
        REQUIRE(second.has_value());
        CHECK(second->body() == "b");
        CHECK(co_await second->reject());
        co_await from.cancel();
        CHECK_FALSE((co_await from.next()).has_value());
        CHECK(done(broker, "q") == texts{"a"});
        CHECK(broker.queues["q"].dead.size() == 1);
        co_await mq.close();
        co_await broker.end();
    }

    CO_TEST_CASE("a batch is acknowledged by its last, and asks for no more than the prefetch") {
        fake_broker broker;
        broker.does.body_piece_bytes = 3;
        const std::string longer(10, 'x');
        fill(broker, "q", {"a", "", longer, "d", "e"});
        auto mq = co_await connect(broker.options());
        auto on = co_await mq.open_channel();
        auto from = co_await on.consume("q", {.prefetch = 4});
        std::vector<delivery> batch;
        std::size_t got = 0;
        while (got < 4) {
            got += co_await from.next_many(batch, 100);
        }
        REQUIRE(batch.size() == 4);
        CHECK(batch[1].body().empty());
        CHECK(batch[2].body() == longer);
        CHECK(co_await batch[1].ack());
        CHECK(co_await batch[3].ack_through());
        CHECK_FALSE(co_await batch[0].ack()); // it was among them
        auto last = co_await from.next();
        REQUIRE(last.has_value());
        CHECK(last->body() == "e");
        CHECK(done(broker, "q") == texts{"", "a", longer, "d"});
        co_await mq.close();
        co_await broker.end();
    }

    CO_TEST_CASE("of a body that is too long the rest is dropped, and it is rejected, and told") {
        fake_broker broker;
        broker.does.body_piece_bytes = 30;
        const std::string longer(100, 'x');
        fill(broker, "q", {longer, "y"});
        fill(broker, "cuts", {longer, std::string(50, 'z')});
        auto options = broker.options();
        std::vector<std::string> told;
        options.on_event = [&](const connection_event& what) {
            CHECK(what.what == connection_event::kind::rejected);
            told.push_back(what.text);
        };
        options.message_bytes_max = 99;
        auto mq = co_await connect(options);
        auto on = co_await mq.open_channel();
        auto from = co_await on.consume("q", {.tag = "mine"});
        auto got = co_await from.next();
        REQUIRE(got.has_value());
        CHECK(got->body() == "y");
        CHECK_FALSE(got->is_cut());
        CHECK(co_await got->ack());
        REQUIRE(told.size() == 1);
        CHECK(told[0].find("it has 100 bytes, and consumer 'mine' takes 99") != told[0].npos);

        auto cut = co_await on.consume(
            "cuts", {.body_bytes_max = 50, .too_long = sapwood::amqp::when_too_long::cut});
        auto first = co_await cut.next();
        REQUIRE(first.has_value());
        CHECK(first->is_cut());
        CHECK(first->body() == std::string(50, 'x'));
        CHECK(first->body_bytes() == 100);
        CHECK(co_await first->reject());
        auto second = co_await cut.next();
        REQUIRE(second.has_value());
        CHECK_FALSE(second->is_cut());
        CHECK(co_await second->ack());
        co_await on.close();
        CHECK(broker.queues["q"].dead.size() == 1);
        CHECK(broker.queues["cuts"].dead.size() == 1);
        CHECK(mq.times_up() == 1);
        co_await mq.close();
        co_await broker.end();
    }

    CO_TEST_CASE("a message whose headers nobody can read is delivered without them") {
        fake_broker broker;
        fill(broker, "q", {"x"});
        sapwood::amqp::table deep;
        for (int i = 0; i < 20; ++i) {
            sapwood::amqp::table around;
            around.push_back({"in", std::move(deep)});
            deep = std::move(around);
        }
        auto mq = co_await connect(broker.options());
        auto on = co_await mq.open_channel();
        auto from = co_await on.consume("q");
        co_await on.publish("", "q", "deep", {.headers = &deep, .message_id = "mine"});
        auto first = co_await from.next();
        REQUIRE(first.has_value());
        CHECK_FALSE(first->props().are_headers_left_out);
        auto second = co_await from.next();
        REQUIRE(second.has_value());
        CHECK(second->props().are_headers_left_out);
        CHECK(second->props().headers.empty());
        CHECK(second->props().message_id == "mine");
        CHECK(second->body() == "deep");
        CHECK(co_await second->ack_through());
        co_await on.close();
        CHECK(done(broker, "q").size() == 2);
        CHECK(mq.times_up() == 1);
        co_await mq.close();
        co_await broker.end();
    }

    CO_TEST_CASE("a message has nothing of those before it") {
        fake_broker broker;
        broker.queues["q"];
        auto mq = co_await connect(broker.options());
        auto on = co_await mq.open_channel();
        auto from = co_await on.consume("q");
        const sapwood::amqp::table headers{{"a", "b"}};
        const std::string longer(100, 'x');
        const sapwood::amqp::publish_options all{.content_type = longer,
                                                 .content_encoding = longer,
                                                 .headers = &headers,
                                                 .priority = 3,
                                                 .correlation_id = longer,
                                                 .reply_to = longer,
                                                 .expiration = std::chrono::hours(1),
                                                 .timestamp = 4,
                                                 .type = longer,
                                                 .app_id = longer};
        co_await on.publish("", "q", longer, all);
        {
            auto first = co_await from.next();
            REQUIRE(first.has_value());
            CHECK(first->body() == longer);
            CHECK(first->props().headers.size() == 1);
            CHECK(first->props().expiration == "3600000");
            CHECK(co_await first->ack());
        }
        for (int i = 0; i < 3; ++i) {
            co_await on.publish("", "q", "", {.persistent = false});
            auto next = co_await from.next();
            REQUIRE(next.has_value());
            const auto& has = next->props();
            CHECK(next->body().empty());
            CHECK_FALSE(next->is_cut());
            CHECK(has.headers.empty());
            CHECK_FALSE(has.is_persistent);
            CHECK(has.priority == 0);
            CHECK(has.timestamp == 0);
            CHECK(has.content_type + has.content_encoding + has.correlation_id + has.reply_to +
                      has.expiration + has.type + has.app_id ==
                  "");
            CHECK(co_await next->ack());
        }
        co_await mq.close();
        co_await broker.end();
    }

    CO_TEST_CASE("who acknowledges what the broker has taken back has his channel closed") {
        fake_broker broker;
        fill(broker, "q", {"a"});
        auto mq = co_await connect(broker.options());
        auto on = co_await mq.open_channel();
        auto from = co_await on.consume("q");
        auto got = co_await from.next();
        REQUIRE(got.has_value());
        broker.forget_deliveries();
        CHECK(co_await got->ack()); // it was sent
        const auto [code, text] = co_await failure_of([&] { return from.next(); });
        CHECK(code == errc::precondition_failed);
        CHECK(text.find("unknown delivery tag 1") != text.npos);
        CHECK(on.is_closed());
        CHECK(broker.queues["q"].done.empty());
        co_await mq.close();
        co_await broker.end();
    }

    CO_TEST_CASE("a delivery of an old connection is never acknowledged on a new one") {
        fake_broker broker;
        fill(broker, "q", {"a", "b"});
        auto mq = co_await connect(broker.options());
        auto on = co_await mq.open_channel();
        auto from = co_await on.consume("q", {.prefetch = 10});
        auto old = co_await from.next();
        REQUIRE(old.has_value());
        broker.hang_up();
        co_await until([&] { return mq.times_up() >= 2; });
        CHECK_FALSE(co_await old->ack());
        CHECK(broker.count(AMQP_BASIC_ACK_METHOD) == 0);
        for (const char* const body : {"a", "b"}) {
            auto again = co_await from.next();
            REQUIRE(again.has_value());
            CHECK(again->body() == body);
            CHECK(again->is_redelivered());
            CHECK(co_await again->ack());
        }
        co_await on.close();
        CHECK(done(broker, "q") == texts{"a", "b"});
        co_await mq.close();
        co_await broker.end();
    }

    CO_TEST_CASE("what was declared is declared again on the next connection, in its order") {
        fake_broker broker;
        auto mq = co_await connect(broker.options());
        auto on = co_await mq.open_channel();
        co_await on.declare_exchange({.name = "x", .kind = sapwood::amqp::exchange_kind::topic});
        (void)co_await on.declare_queue({.name = "q"});
        (void)co_await on.declare_queue({.name = "q"}); // once is enough
        (void)co_await on.declare_queue({.name = "other", .passive = true});
        co_await on.bind({.queue = "q", .exchange = "x", .routing_key = "a.*"});
        (void)co_await on.declare_queue({.name = "gone"});
        (void)co_await on.delete_queue("gone");
        const auto own = co_await on.declare_queue({.exclusive = true});
        CHECK(own.name.starts_with("sapwood."));
        auto from = co_await on.consume("q");
        broker.methods.clear();
        broker.hang_up();
        co_await until([&] { return mq.times_up() >= 2; });
        CHECK(broker.methods ==
              std::vector<amqp_method_number_t>{
                  AMQP_CONNECTION_START_OK_METHOD, AMQP_CONNECTION_TUNE_OK_METHOD,
                  AMQP_CONNECTION_OPEN_METHOD, AMQP_CHANNEL_OPEN_METHOD, AMQP_CONFIRM_SELECT_METHOD,
                  AMQP_EXCHANGE_DECLARE_METHOD, AMQP_QUEUE_DECLARE_METHOD, AMQP_QUEUE_BIND_METHOD,
                  AMQP_QUEUE_DECLARE_METHOD, AMQP_BASIC_QOS_METHOD, AMQP_BASIC_CONSUME_METHOD});
        CHECK(broker.queues.contains(own.name));
        co_await mq.close();
        co_await broker.end();
    }

    CO_TEST_CASE(
        "an exclusive queue that the broker still takes for the old connection's is waited "
        "for") {
        fake_broker broker;
        auto mq = co_await connect(broker.options());
        auto on = co_await mq.open_channel();
        const auto own = co_await on.declare_queue({.exclusive = true});
        auto from = co_await on.consume(own.name);
        broker.does.locks_declares = 2;
        broker.hang_up();
        co_await until([&] { return mq.times_up() >= 2; });
        CHECK(broker.connections() == 4);
        CHECK_FALSE(on.is_closed());
        co_await on.publish("", own.name, "x");
        CHECK((co_await from.next()).has_value());
        broker.does.locks_consumes = 2; // the same of who consumes exclusively
        broker.hang_up();
        co_await until([&] { return mq.times_up() >= 3; });
        CHECK(broker.does.locks_consumes == 0);
        CHECK_FALSE(on.is_closed());
        co_await on.publish("", own.name, "x");
        CHECK((co_await from.next()).has_value());
        // For another one it is what it says.
        broker.does.locks_declares = 1;
        const auto [code, text] =
            co_await failure_of([&] { return on.declare_queue({.name = "theirs"}); });
        CHECK(code == errc::resource_locked);
        CHECK(on.is_closed());
        co_await mq.close();
        co_await broker.end();
    }

    CO_TEST_CASE("the newest message ids are remembered, once each") {
        sapwood::amqp::recent_ids ids(2);
        CHECK(ids.insert("a"));
        CHECK(ids.insert("b"));
        CHECK_FALSE(ids.insert("a"));
        CHECK(ids.insert("c"));
        CHECK(ids.size() == 2);
        CHECK(ids.insert("a"));
        CHECK_FALSE(ids.insert("c"));
        CHECK(ids.insert(""));
        CHECK(ids.insert(""));
        co_return;
    }

    CO_TEST_CASE("of many ids the newest are remembered, and no other") {
        constexpr int remembered = 50;
        sapwood::amqp::recent_ids ids(remembered);
        int mistakes = 0;
        for (int i = 0; i < 1000; ++i) {
            mistakes += ids.insert("id-" + std::to_string(i)) ? 0 : 1;
            for (int back = 0; back < std::min(remembered, i + 1); ++back) {
                mistakes += ids.insert("id-" + std::to_string(i - back)) ? 1 : 0;
            }
        }
        CHECK(mistakes == 0);
        CHECK(ids.size() == remembered);
        CHECK(ids.insert("id-" + std::to_string(999 - remembered)));
        CHECK(ids.insert("id-0"));
        co_return;
    }

    CO_TEST_CASE("a consumer whose queue is gone is told so; one that is closed just ends") {
        fake_broker broker;
        auto mq = co_await connect(broker.options());
        auto on = co_await mq.open_channel();
        auto from = co_await on.consume("q", {.tag = "mine"});
        auto other = co_await on.consume("q2");
        const amqp_basic_cancel_t cancel{amqp_cstring_bytes("mine"), 1};
        broker.say(1, AMQP_BASIC_CANCEL_METHOD, &cancel);
        const auto [code, text] = co_await failure_of([&] { return from.next(); });
        CHECK(code == errc::consumer_ended);
        CHECK(text.find("'mine'") != text.npos);
        auto waiting = sapwood::spawn(other.next());
        co_await mq.close();
        CHECK_FALSE((co_await waiting).has_value());
        co_await broker.end();
    }

    CO_TEST_CASE(
        "a delivery that is longer than it says, or in the middle of one, breaks all off") {
        using namespace std::string_view_literals;
        fake_broker broker;
        auto mq = co_await connect(broker.options());
        auto on = co_await mq.open_channel();
        auto from = co_await on.consume("q", {.tag = "t"});
        std::uint64_t times = 1;
        const std::string header("\2\0\1\0\0\0\16\0\x3c\0\0\0\0\0\0\0\0\0\1\0\0\xce", 22);
        const std::string body("\3\0\1\0\0\0\1x\xce", 9);
        for (const std::string& wrong :
             {header + std::string("\3\0\1\0\0\0\2xx\xce", 10), header + header, body,
              header + body.substr(0, 8) + "x", header + body + body}) {
            amqp_basic_deliver_t delivered{};
            delivered.consumer_tag = amqp_cstring_bytes("t");
            delivered.delivery_tag = 5;
            broker.say(1, AMQP_BASIC_DELIVER_METHOD, &delivered);
            broker.say(wrong);
            ++times;
            co_await until([&] { return mq.times_up() >= times; });
        }
        for (int i = 0; i < 2; ++i) { // the same tag twice
            amqp_basic_deliver_t delivered{};
            delivered.consumer_tag = amqp_cstring_bytes("t");
            delivered.delivery_tag = 5;
            broker.say(1, AMQP_BASIC_DELIVER_METHOD, &delivered);
            broker.say(header + body);
        }
        co_await until([&] { return mq.times_up() > times; });
        fill(broker, "q", {"good"});
        co_await on.publish("", "q", "x"); // has it look at its queues
        auto got = co_await from.next();
        REQUIRE(got.has_value());
        CHECK(got->body() == "good");
        co_await mq.close();
        co_await broker.end();
    }

    CO_TEST_CASE("a broker that delivers more than was asked for is hung up on") {
        fake_broker broker;
        auto options = broker.options();
        options.reconnect = false;
        auto mq = co_await connect(options);
        auto on = co_await mq.open_channel();
        auto from = co_await on.consume("q", {.prefetch = 1, .tag = "t"});
        for (std::uint64_t i = 1; i <= 3; ++i) {
            amqp_basic_deliver_t delivered{};
            delivered.consumer_tag = amqp_cstring_bytes("t");
            delivered.delivery_tag = i;
            broker.say(1, AMQP_BASIC_DELIVER_METHOD, &delivered);
            broker.say(std::string_view("\2\0\1\0\0\0\16\0\x3c\0\0\0\0\0\0\0\0\0\0\0\0\xce", 22));
        }
        std::string said;
        try {
            while ((co_await from.next()).has_value()) {
            }
        } catch (const std::system_error& ended) {
            said = ended.what();
        }
        CHECK(said.find("more to consumer 't' than its prefetch") != said.npos);
        co_await mq.close();
        co_await broker.end();
    }
}
