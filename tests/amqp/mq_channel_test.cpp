// Channels: what was given up leaves nothing behind, numbers or closes; what is never answered.
#include "fake_broker.hpp"
#include "support/action_lines.hpp"
#include "support/co_test.hpp"
#include "support/sockets.hpp"

#include <sapwood/amqp/connection.hpp>
#include <sapwood/amqp/errors.hpp>

#include <sapwood/event_loop.hpp>
#include <sapwood/spawn.hpp>

#include <doctest/doctest.h>
#include <optional>
#include <string>
#include <vector>

namespace {

using namespace std::chrono_literals;
using sapwood::task;
using sapwood::amqp::connect;
using sapwood::amqp::errc;
using sapwood::test::failure_of;
using sapwood::test::fake_broker;
using sapwood::test::is_cancelled;
using sapwood::test::until;

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

    CO_TEST_CASE("where closes cross the number is free when ours is answered") {
        fake_broker broker;
        broker.does.channel_max = 1;
        auto mq = co_await connect(broker.options());
        for (const bool is_dropped : {false, true}) {
            broker.methods.clear();
            broker.does.is_mute = false;
            auto on = co_await opened(mq);
            broker.does.is_mute = true;
            sapwood::join_handle<void> closing;
            if (is_dropped) {
                on = {};
            } else {
                closing = sapwood::spawn(on.close());
            }
            co_await until([&] { return broker.count(AMQP_CHANNEL_CLOSE_METHOD) == 1; });
            const amqp_channel_close_t close{404, amqp_cstring_bytes("NOT_FOUND"), 60, 40};
            broker.say(1, AMQP_CHANNEL_CLOSE_METHOD, &close);
            co_await until([&] { return broker.count(AMQP_CHANNEL_CLOSE_OK_METHOD) == 1; });
            if (closing) {
                const auto [code, text] =
                    co_await failure_of([&]() -> task<> { co_await closing; });
                CHECK(code == errc::not_found);
            }
            const auto [code, text] = co_await failure_of([&] { return mq.open_channel(); });
            CHECK(code == errc::no_channel_left);
            const amqp_channel_close_ok_t ok{};
            broker.say(1, AMQP_CHANNEL_CLOSE_OK_METHOD, &ok);
        }
        broker.does.is_mute = false;
        auto on = co_await opened(mq);
        CHECK((co_await on.declare_queue({.name = "q"})).name == "q");
        CHECK(mq.times_up() == 1);
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

    CO_TEST_CASE("what channels need of one another is there again before they go on") {
        fake_broker broker;
        auto mq = co_await connect(broker.options());
        auto first = co_await mq.open_channel();
        auto second = co_await mq.open_channel();
        co_await second.declare_exchange({.name = "x"});
        const auto own = co_await first.declare_queue({.exclusive = true});
        co_await second.bind({.queue = own.name, .exchange = "x"});
        (void)co_await second.declare_queue({.name = "theirs"});
        auto from = co_await first.consume("theirs");
        broker.does.holds_confirms = true;
        (void)first.publish_nowait("", "theirs", "x", {.message_id = "id"});
        co_await until([&] { return broker.count(AMQP_BASIC_PUBLISH_METHOD) == 1; });
        broker.does.holds_confirms = false;
        broker.methods.clear();
        broker.queues.clear();
        broker.hang_up();
        co_await until([&] { return mq.times_up() >= 2; });
        co_await first.confirmed(); // and was not given back
        CHECK(broker.methods == std::vector<amqp_method_number_t>{
                                    AMQP_CONNECTION_START_OK_METHOD, AMQP_CONNECTION_TUNE_OK_METHOD,
                                    AMQP_CONNECTION_OPEN_METHOD, AMQP_CHANNEL_OPEN_METHOD,
                                    AMQP_CONFIRM_SELECT_METHOD, AMQP_CHANNEL_OPEN_METHOD,
                                    AMQP_CONFIRM_SELECT_METHOD, AMQP_EXCHANGE_DECLARE_METHOD,
                                    AMQP_QUEUE_DECLARE_METHOD, AMQP_QUEUE_BIND_METHOD,
                                    AMQP_QUEUE_DECLARE_METHOD, AMQP_BASIC_QOS_METHOD,
                                    AMQP_BASIC_CONSUME_METHOD, AMQP_BASIC_PUBLISH_METHOD});
        CHECK((co_await from.next())->props().message_id == "id");
        co_await mq.close();
        co_await broker.end();
    }

    CO_TEST_CASE("what one channel deletes another one does not declare again") {
        fake_broker broker;
        auto mq = co_await connect(broker.options());
        auto first = co_await mq.open_channel();
        auto second = co_await mq.open_channel();
        for (const char* const name : {"gone", "stays"}) {
            co_await first.declare_exchange({.name = name});
            (void)co_await first.declare_queue({.name = name});
        }
        for (const char* const exchange : {"gone", "stays"}) {
            for (const char* const queue : {"gone", "stays"}) {
                co_await first.bind({.queue = queue, .exchange = exchange});
            }
        }
        co_await second.delete_exchange("gone");
        (void)co_await second.delete_queue("gone");
        const auto count_again = [&](std::uint64_t times) -> task<std::size_t> {
            broker.methods.clear();
            broker.hang_up();
            co_await until([&] { return mq.times_up() >= times; });
            CHECK(broker.count(AMQP_EXCHANGE_DECLARE_METHOD) == 1);
            CHECK(broker.count(AMQP_QUEUE_DECLARE_METHOD) == 1);
            co_return broker.count(AMQP_QUEUE_BIND_METHOD);
        };
        CHECK(co_await count_again(2) == 1);
        co_await second.unbind({.queue = "stays", .exchange = "stays"});
        CHECK(co_await count_again(3) == 0);
        co_await mq.close();
        co_await broker.end();
    }

    CO_TEST_CASE("a consumer that goes while it is begun again is cancelled") {
        fake_broker broker;
        auto mq = co_await connect(broker.options());
        auto on = co_await mq.open_channel();
        std::optional<sapwood::amqp::consumer> from;
        from.emplace(co_await on.consume("q", {.tag = "t"}));
        broker.methods.clear();
        broker.does.is_mute = true;
        broker.hang_up();
        const auto asked = [&](amqp_method_number_t what) {
            return until([&broker, what] { return broker.count(what) == 1; });
        };
        co_await asked(AMQP_CHANNEL_OPEN_METHOD);
        const amqp_channel_open_ok_t opened{};
        broker.say(1, AMQP_CHANNEL_OPEN_OK_METHOD, &opened);
        co_await asked(AMQP_CONFIRM_SELECT_METHOD);
        const amqp_confirm_select_ok_t selected{};
        broker.say(1, AMQP_CONFIRM_SELECT_OK_METHOD, &selected);
        co_await asked(AMQP_BASIC_CONSUME_METHOD);
        from.reset();
        co_await sapwood::sleep_for(1s);
        CHECK(broker.count(AMQP_BASIC_CANCEL_METHOD) == 1);
        const amqp_basic_qos_ok_t ok{};
        broker.say(1, AMQP_BASIC_QOS_OK_METHOD, &ok);
        const amqp_basic_consume_ok_t begun{amqp_cstring_bytes("t")};
        broker.say(1, AMQP_BASIC_CONSUME_OK_METHOD, &begun);
        co_await until([&] { return mq.times_up() >= 2; });
        broker.does.is_mute = false;
        co_await mq.close();
        co_await broker.end();
    }

    CO_TEST_CASE("behind its close nothing is said on a channel") {
        fake_broker broker;
        auto mq = co_await connect(broker.options());
        auto on = co_await mq.open_channel();
        (void)co_await on.declare_queue({.name = "q"});
        co_await on.publish("", "q", "x");
        std::optional<sapwood::amqp::consumer> from;
        from.emplace(co_await on.consume("q"));
        auto got = co_await from->next();
        REQUIRE(got.has_value());
        broker.does.is_mute = true;
        auto closing = sapwood::spawn(on.close());
        co_await until([&] { return broker.count(AMQP_CHANNEL_CLOSE_METHOD) > 0; });
        const std::size_t before = broker.methods.size();
        CHECK_FALSE(co_await got->ack());
        (void)on.publish_nowait("", "q", "late");
        from.reset();
        co_await sapwood::sleep_for(1s);
        CHECK(broker.methods.size() == before);
        const amqp_channel_close_ok_t ok{};
        broker.say(1, AMQP_CHANNEL_CLOSE_OK_METHOD, &ok);
        co_await closing;
        CHECK(on.take_failures().size() == 1); // who published it is told
        co_await mq.close();
        co_await broker.end();
    }

    CO_TEST_CASE("an exclusive queue that stays somebody else's is its channel's end alone") {
        fake_broker broker;
        auto mq = co_await connect(broker.options());
        auto on = co_await mq.open_channel();
        auto other = co_await mq.open_channel();
        const auto own = co_await on.declare_queue({.name = "own", .exclusive = true});
        broker.does.locks_declares = 1'000'000;
        const auto began = sapwood::event_loop::current().now();
        broker.hang_up();
        co_await until([&] { return mq.times_up() >= 2; });
        const auto waited = sapwood::event_loop::current().now() - began;
        CHECK(waited >= 1min);
        CHECK(waited < 2min);
        CHECK(on.is_closed());
        broker.does.locks_declares = 0;
        (void)co_await other.declare_queue({.name = "q"});
        co_await other.publish("", "q", "x");
        co_await mq.close();
        co_await broker.end();
    }

    CO_TEST_CASE("a channel that the next broker has no number for is over, and others go on") {
        fake_broker broker;
        auto mq = co_await connect(broker.options());
        auto on = co_await mq.open_channel();
        auto other = co_await mq.open_channel();
        (void)co_await on.declare_queue({.name = "q"});
        broker.does.channel_max = 1;
        broker.hang_up();
        co_await until([&] { return mq.times_up() >= 2; });
        CHECK(broker.count(AMQP_CHANNEL_OPEN_METHOD) == 3);
        CHECK(other.is_closed());
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

    CO_TEST_CASE("what a connection tells later is in no action of who has made it") {
        fake_broker broker;
        sapwood::test::action_log all;
        auto options = broker.options();
        options.on_event = [&](const sapwood::amqp::connection_event&) { all.log.info("told"); };
        std::optional<sapwood::amqp::connection> mq;
        {
            auto action = all.log.start_action("startup");
            mq.emplace(co_await connect(options));
            action.succeed();
        }
        broker.hang_up();
        co_await until([&] { return mq->times_up() == 2; });
        CHECK(all.outline() ==
              std::vector<std::string>{"startup+@1", "startups@2", "told", "told"});
        co_await mq->close();
        co_await broker.end();
    }
}
