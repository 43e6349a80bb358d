// The life of a connection: greetings, hosts, heartbeats, losses, its end; and random faults, in
// which nothing that was confirmed may be lost.
#include "fake_broker.hpp"
#include "support/co_test.hpp"
#include "support/sockets.hpp"

#include <amqp/link.hpp>
#include <sapwood/amqp/connection.hpp>
#include <sapwood/amqp/errors.hpp>

#include <sapwood/event_loop.hpp>
#include <sapwood/sim_random.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>
#include <sapwood/timeout.hpp>

#include <doctest/doctest.h>
#include <set>
#include <string>
#include <system_error>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace std::string_view_literals;
using sapwood::task;
using sapwood::amqp::connect;
using sapwood::amqp::connection_event;
using sapwood::amqp::connection_options;
using sapwood::amqp::errc;
using sapwood::test::failure_of;
using sapwood::test::fake_broker;
using sapwood::test::until;

bool has(std::string_view text, std::string_view what) {
    return text.find(what) != text.npos;
}

/// What a broker that does this makes of an attempt to connect.
task<std::pair<std::error_code, std::string>> refusal(const fake_broker::behaviour& does) {
    fake_broker broker;
    broker.does = does;
    const connection_options options = broker.options();
    auto said = co_await failure_of([&] { return connect(options); });
    co_await broker.end();
    co_return said;
}

/// A port that nobody listens on any more.
std::string dead_port() {
    const sapwood::tcp_listener probe(sapwood::test::loopback());
    return std::to_string(probe.local_endpoint().port());
}

task<> until_up_again(const sapwood::amqp::connection& mq, std::uint64_t times) {
    co_await until([&] { return mq.times_up() >= times; });
}

/// A round of random faults: publishes `count` messages, and consumes and acknowledges what comes.
class faulty_round {
  public:
    explicit faulty_round(std::uint64_t seed) : chance_(seed) {}

    task<> run() {
        broker_.queues["q"];
        broker_.does.refuses_every = chance_.below(2) * chance_.between(3, 20);
        broker_.does.body_piece_bytes = chance_.between(1, 40);
        broker_.does.on_connection = [this](std::uint64_t number) { plan(number); };
        auto options = broker_.options();
        options.retry_first = 1ms;
        options.window_messages = chance_.between(1, 40);
        co_await connected(options);
        auto producer = co_await mq_.open_channel();
        auto on = co_await mq_.open_channel();
        (void)co_await producer.declare_queue({.name = "q"});
        auto from = co_await on.consume(
            "q", {.prefetch = static_cast<std::uint16_t>(chance_.between(1, 30))});
        auto consuming = sapwood::spawn(consume(from));
        co_await publish(producer);
        while (seen_.size() < count) {
            co_await sapwood::sleep_for(1ms);
        }
        co_await mq_.close();
        co_await consuming;
        co_await broker_.end();
        check();
    }

    [[nodiscard]] std::uint64_t connections() const noexcept { return broker_.connections(); }

  private:
    static constexpr std::size_t count = 60;

    /// The first connections break, after so many bytes in either direction.
    void plan(std::uint64_t number) {
        constexpr std::size_t never = ~std::size_t{0};
        const bool breaks = number < 6;
        broker_.does.sends_at_most = breaks ? chance_.between(1, 4000) : never;
        broker_.does.takes_at_most = breaks ? chance_.between(1, 9000) : never;
    }

    task<> connected(const connection_options& options) {
        while (true) {
            try {
                mq_ = co_await connect(options);
                co_return;
            } catch (const std::system_error&) { // cut off in the greeting
            }
        }
    }

    task<> publish(sapwood::amqp::channel& to) {
        for (std::size_t i = 0; i < count; ++i) {
            const std::string body = "message " + std::to_string(i);
            if (chance_.one_in(2)) {
                co_await to.publish("", "q", body);
            } else {
                while (to.publish_nowait("", "q", body) == sapwood::amqp::publication::none) {
                    co_await to.room();
                }
            }
        }
        co_await to.confirmed();
    }

    /// As a log does: what it has seen it has, whatever becomes of the acknowledgement.
    task<> consume(sapwood::amqp::consumer& from) {
        std::vector<sapwood::amqp::delivery> batch;
        while (co_await from.next_many(batch, chance_.between(1, 20)) > 0) {
            for (const auto& each : batch) {
                if (seen_.insert(each.props().message_id).second) {
                    bodies_.insert(std::string(each.body()));
                }
            }
            co_await batch.back().ack_through();
            batch.clear();
        }
    }

    void check() {
        CHECK(seen_.size() == count);
        CHECK(bodies_.size() == count);
    }

    sapwood::sim_random chance_;
    fake_broker broker_;
    sapwood::amqp::connection mq_;
    /// By message id: what comes twice is one.
    std::set<std::string> seen_;
    std::set<std::string> bodies_;
};

} // namespace

TEST_SUITE("mq_connection") {
    CO_TEST_CASE("a broker that refuses the login is quoted, and no password with it") {
        fake_broker::behaviour does;
        does.refuses_login = 403;
        const auto [code, text] = co_await refusal(does);
        CHECK(code == errc::access_refused);
        CHECK(has(text, "refuses user 'guest'"));
        CHECK(has(text, "Login was refused"));
        CHECK_FALSE(has(text, "guest:guest"));
    }

    CO_TEST_CASE("who is no broker is said to be none") {
        fake_broker::behaviour http;
        http.greeting = "HTTP/1.1 400 Bad Request\r\n\r\n";
        CHECK(has((co_await refusal(http)).second, "is this an AMQP server?"));
        fake_broker::behaviour other;
        other.greeting = std::string("AMQP\0\1\0\0", 8);
        CHECK(has((co_await refusal(other)).second, "another version of AMQP"));
        fake_broker::behaviour rude;
        rude.takes_at_most = 0;
        CHECK((co_await refusal(rude)).first == errc::connection_lost);
        fake_broker::behaviour tiny;
        tiny.frame_max = 100;
        CHECK(has((co_await refusal(tiny)).second, "100 bytes at most"));
    }

    CO_TEST_CASE("hosts are tried in turn, and where none will do each is told of") {
        fake_broker broker;
        auto options = broker.options();
        const auto alive = options.to.hosts.front();
        options.to.hosts = {{"127.0.0.1", dead_port()}, alive};
        auto mq = co_await connect(options);
        CHECK(mq.is_up());
        co_await mq.close();
        co_await mq.close(); // nothing
        CHECK_FALSE(mq.is_up());
        co_await broker.end();
        const auto [code, text] = co_await failure_of([&] { return connect(options); });
        CHECK(code == std::errc::connection_refused);
        CHECK(has(text, options.to.hosts[0].port));
        CHECK(has(text, options.to.hosts[1].port));
    }

    CO_TEST_CASE("a broker that says nothing for two heartbeats is given up") {
        fake_broker broker;
        auto options = broker.options();
        options.heartbeat = 2s;
        std::vector<std::string> told;
        options.on_event = [&](const connection_event& what) { told.push_back(what.text); };
        auto mq = co_await connect(options);
        co_await until_up_again(mq, 2);
        REQUIRE_FALSE(told.empty());
        CHECK(has(told.front(), "silent"));
        co_await mq.close();
        co_await broker.end();
    }

    CO_TEST_CASE("a connection that is idle says that it lives") {
        fake_broker broker;
        auto options = broker.options();
        options.heartbeat = 2s;
        auto mq = co_await connect(options);
        for (int i = 0; i < 10; ++i) {
            co_await sapwood::sleep_for(1s);
            broker.say("\10\0\0\0\0\0\0\xce"sv);
            for (int j = 0; j < 20; ++j) {
                co_await sapwood::yield();
            }
        }
        CHECK(mq.times_up() == 1);
        CHECK(broker.heartbeats >= 4);
        co_await mq.close();
        co_await broker.end();
    }

    CO_TEST_CASE("what a broker does not answer ends in time, and its late answer is nobody's") {
        fake_broker broker;
        auto options = broker.options();
        options.heartbeat = 0s;
        options.answer_within = 3s;
        auto mq = co_await connect(options);
        auto on = co_await mq.open_channel();
        broker.does.is_mute = true;
        const auto [code, text] =
            co_await failure_of([&] { return on.declare_queue({.name = "late"}); });
        CHECK(code == std::errc::timed_out);
        CHECK(has(text, "declare queue 'late'"));
        broker.does.is_mute = false;
        const amqp_queue_declare_ok_t late{amqp_cstring_bytes("late"), 1, 1};
        broker.say(1, AMQP_QUEUE_DECLARE_OK_METHOD, &late);
        const auto info = co_await on.declare_queue({.name = "next"});
        CHECK(info.name == "next");
        co_await mq.close();
        co_await broker.end();
    }

    CO_TEST_CASE("what is asked while the connection is down is asked on the next one") {
        fake_broker broker;
        auto mq = co_await connect(broker.options());
        auto on = co_await mq.open_channel();
        broker.does.is_mute = true;
        auto asking = sapwood::spawn(on.declare_queue({.name = "q"}));
        co_await until([&] { return broker.count(AMQP_QUEUE_DECLARE_METHOD) > 0; });
        broker.does.is_mute = false;
        broker.hang_up();
        auto opening = sapwood::spawn(mq.open_channel());
        CHECK((co_await asking).name == "q");
        auto another = co_await opening;
        CHECK((co_await another.declare_queue({.name = "r"})).name == "r");
        CHECK(mq.times_up() == 2);
        co_await mq.close();
        co_await broker.end();
    }

    CO_TEST_CASE(
        "without reconnection a loss ends all that is on the connection, with its reason") {
        fake_broker broker;
        auto options = broker.options();
        options.reconnect = false;
        auto mq = co_await connect(options);
        auto on = co_await mq.open_channel();
        auto from = co_await on.consume("q");
        broker.does.holds_confirms = true;
        broker.queues["q2"];
        auto publishing = sapwood::spawn(on.publish("", "q2", "x"));
        co_await until([&] { return !broker.queues["q2"].ready.empty(); });
        const amqp_connection_close_t close{320, amqp_cstring_bytes("CONNECTION_FORCED - bye"), 0,
                                            0};
        broker.say(0, AMQP_CONNECTION_CLOSE_METHOD, &close);
        const auto [code, text] = co_await failure_of([&]() -> task<> { co_await publishing; });
        CHECK(code == errc::connection_forced);
        CHECK(has(text, "CONNECTION_FORCED - bye"));
        CHECK((co_await failure_of([&] { return from.next(); })).first == errc::connection_forced);
        CHECK((co_await failure_of([&] { return mq.open_channel(); })).first == errc::closed);
        co_await mq.close();
        co_await broker.end();
    }

    CO_TEST_CASE("nonsense breaks the connection, and the next one is as good as new") {
        fake_broker broker;
        auto mq = co_await connect(broker.options());
        auto to = co_await mq.open_channel();
        (void)co_await to.declare_queue({.name = "q"});
        std::uint64_t times = 1;
        for (const auto nonsense :
             {"\1\0\1\0\0\0\2xx\xce"sv, "\2\0\1\0\0\0\0\xce"sv, "\3\0\1\0\0\0\1x\xce"sv,
              "\1\0\7\0\0\0\4\0\x14\0\x0b\xce"sv, "\1\0\0\xff\xff\xff\xff"sv, "garbage garbage"sv,
              "\1\0\1\0\0\0\4\0\x32\0\x15\xce"sv, "\2\0\0\0\0\0\0\xce"sv}) {
            broker.say(nonsense);
            ++times;
            co_await until_up_again(mq, times);
            co_await to.publish("", "q", "x");
        }
        CHECK(broker.queues["q"].ready.size() == times - 1);
        co_await mq.close();
        co_await broker.end();
    }

    CO_TEST_CASE("a broker that wants answers without end and reads none is hung up on") {
        fake_broker broker;
        std::string told;
        auto options = broker.options();
        options.on_event = [&](const connection_event& what) {
            told = told.empty() ? what.text : told;
        };
        auto mq = co_await connect(options);
        auto on = co_await mq.open_channel();
        broker.does.on_connection = [&](std::uint64_t) { broker.does.is_deaf = false; };
        broker.does.is_deaf = true;
        std::string flows; // channel.flow: more than the kernel's buffers take
        for (int i = 0; i < 2'000'000; ++i) {
            flows += "\1\0\1\0\0\0\5\0\x14\0\x14\1\xce"sv;
        }
        broker.say(flows);
        co_await until([&] { return mq.times_up() >= 2; });
        CHECK(has(told, "more and more answers"));
        co_await mq.close();
        co_await broker.end();
    }

    CO_TEST_CASE("what channels that are over have published is no answer that nobody reads") {
        fake_broker broker;
        auto mq = co_await connect(broker.options());
        auto on = co_await mq.open_channel();
        (void)co_await on.declare_queue({.name = "q"});
        broker.does.holds_confirms = true;
        (void)on.publish_nowait("", "q", "x");
        co_await until([&] { return broker.queues["q"].ready.size() == 1; });
        {
            auto first = co_await mq.open_channel();
            auto second = co_await mq.open_channel();
            broker.does.is_deaf = true;
            // More than the kernel's buffers take: what comes behind it waits.
            (void)first.publish_nowait("", "q", std::string(32u << 20, 'x'));
            co_await sapwood::sleep_for(1s);
            (void)second.publish_nowait("", "q", std::string(8u << 20, 'x'));
        }
        broker.does.holds_confirms = false;
        broker.confirm_held();
        co_await until([&] { return on.unconfirmed() == 0 || !mq.is_up(); });
        CHECK(mq.is_up());
        broker.does.is_deaf = false;
        co_await until([&] { return broker.queues["q"].ready.size() == 3 || !mq.is_up(); });
        CHECK(mq.times_up() == 1);
        CHECK(mq.is_up());
        co_await mq.close();
        co_await broker.end();
    }

    CO_TEST_CASE("a connection that is closed while the lost one is ended is closed at once") {
        fake_broker broker;
        auto options = broker.options();
        options.retry_first = options.retry_max = 1h;
        sapwood::amqp::connection mq;
        sapwood::join_handle<void> closing;
        const auto& loop = sapwood::event_loop::current();
        options.on_event = [&](const connection_event& what) {
            if (what.what == connection_event::kind::down) {
                closing = sapwood::spawn(mq.close());
            }
        };
        mq = co_await connect(options);
        const auto began = loop.now();
        broker.hang_up();
        co_await until([&] { return static_cast<bool>(closing); });
        co_await closing;
        CHECK(loop.now() - began < 1s);
        CHECK_FALSE(mq.is_up());
        co_await broker.end();
    }

    TEST_CASE("a connection that is lost while much is written is one failure, and not two") {
        int unhandled = 0;
        sapwood::loop_options counting;
        counting.on_unhandled_exception = [&](const std::exception_ptr&) { ++unhandled; };
        const auto lose_many = []() -> task<> {
            for (int i = 0; i < 20; ++i) {
                fake_broker broker;
                auto mq = co_await connect(broker.options());
                auto to = co_await mq.open_channel();
                (void)co_await to.declare_queue({.name = "q"});
                broker.does.takes_at_most = 100'000;
                broker.does.on_connection = [&](std::uint64_t) {
                    broker.does.takes_at_most = ~std::size_t{0};
                };
                (void)to.publish_nowait("", "q", std::string(8u << 20, 'x'));
                co_await to.confirmed();
                CHECK(mq.times_up() == 2);
                co_await mq.close();
                co_await broker.end();
            }
        };
        sapwood::test::run_virtual(lose_many(), counting);
        CHECK(unhandled == 0);
    }

    CO_TEST_CASE("a link that was reset ends quietly, also with something to say") {
        fake_broker broker;
        const auto options = broker.options();
        auto made = co_await sapwood::amqp::detail::link::make(options.to.hosts.front(), options);
        broker.hang_up();
        auto writing = sapwood::spawn(made->write());
        made->out() += "what the broker answers with a reset";
        made->flush();
        co_await until([&] { return made->out().empty(); });
        co_await sapwood::test::settle();
        writing.cancel();
        CHECK_THROWS_AS(co_await writing, sapwood::cancelled);
        made->out() += "more";
        std::string failure;
        try {
            co_await made->end();
        } catch (const std::system_error& error) {
            failure = error.what();
        }
        CHECK(failure == "");
        co_await broker.end();
    }

    CO_TEST_CASE("handles that are destroyed at any time leave nothing behind") {
        fake_broker broker;
        broker.queues["q"];
        {
            auto mq = co_await connect(broker.options());
            auto on = co_await mq.open_channel();
            auto from = co_await on.consume("q");
            { auto dropped = co_await mq.open_channel(); }
            auto again = co_await mq.open_channel();
            co_await again.publish("", "q", "x");
            auto got = co_await from.next();
            REQUIRE(got.has_value());
            mq = {};
            CHECK(on.is_closed());
            CHECK_FALSE(co_await got->ack());
            CHECK_FALSE((co_await from.next()).has_value());
        }
        co_await broker.end();
    }

    CO_TEST_CASE("after a good connection the next attempt is as soon as after the first one") {
        fake_broker broker;
        auto options = broker.options();
        options.retry_first = 1s;
        options.retry_max = 1h;
        auto mq = co_await connect(options);
        auto& loop = sapwood::event_loop::current();
        for (std::uint64_t times = 2; times < 20; ++times) {
            co_await sapwood::sleep_for(1min);
            const auto began = loop.now();
            broker.hang_up();
            co_await until_up_again(mq, times);
            CHECK(loop.now() - began < 3s);
        }
        co_await mq.close();
        co_await broker.end();
    }

    CO_TEST_CASE("a connection that is gone tells nobody anything, also of what has come already") {
        for (int steps = 0; steps < 30; ++steps) {
            fake_broker broker;
            auto options = broker.options();
            bool is_gone = false;
            options.on_event = [&](const connection_event&) { CHECK_FALSE(is_gone); };
            {
                auto mq = co_await connect(options);
                const amqp_connection_blocked_t blocked{amqp_cstring_bytes("low on disk")};
                broker.say(0, AMQP_CONNECTION_BLOCKED_METHOD, &blocked);
                for (int i = 0; i < steps; ++i) {
                    co_await sapwood::yield();
                }
            }
            is_gone = true;
            co_await sapwood::sleep_for(1s);
            co_await broker.end();
        }
    }

    CO_TEST_CASE("options that cannot be meant are named") {
        connection_options options;
        CHECK_THROWS_WITH_AS((void)connect(options), "amqp::connection_options: to has no host",
                             std::invalid_argument);
        options.to = sapwood::amqp::parse_address("amqp://host");
        options.frame_bytes_max = 100;
        CHECK_THROWS_AS((void)connect(options), std::invalid_argument);
        CHECK_THROWS_AS((void)connect("host"), std::invalid_argument);
        co_return;
    }

    CO_TEST_CASE("200 rounds of random faults lose nothing and hang nowhere") {
        std::uint64_t connections = 0;
        for (std::uint64_t seed = 1; seed <= 200; ++seed) {
            CAPTURE(seed);
            faulty_round round(seed);
            co_await sapwood::timeout(std::chrono::hours(1), round.run());
            connections += round.connections();
        }
        CHECK(connections > 200 * 4); // most broke
    }
}
