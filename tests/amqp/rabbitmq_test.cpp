// What only a real RabbitMQ shows: its alarms, its dead letters, its full queues, its TLS, a
// cluster. Runs by 'tests/amqp/rabbitmq run', one broker for all; left out where there is none.
#include "fake_broker.hpp"
#include "support/shell.hpp"
#include "support/sockets.hpp"

#include <sapwood/amqp.hpp>

#include <tls/tls_context.hpp>

#include <sapwood/run.hpp>
#include <sapwood/run_blocking.hpp>
#include <sapwood/timeout.hpp>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <doctest/doctest.h>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using namespace std::chrono_literals;
using sapwood::task;
using sapwood::amqp::connect;
using sapwood::amqp::connection_options;
using sapwood::amqp::errc;
using sapwood::amqp::parse_address;
using sapwood::amqp::publication;
using sapwood::test::failure_of;
using sapwood::test::shell;
using sapwood::test::until;

bool has(std::string_view text, std::string_view what) {
    return text.find(what) != text.npos;
}

std::string setting(const char* name) {
    const char* const value = std::getenv(name);
    return value == nullptr ? "" : value;
}

std::string url() {
    return setting("SAPWOOD_AMQP_URL");
}

std::string directory() {
    return setting("SAPWOOD_RABBITMQ");
}

/// `verb` of tests/amqp/rabbitmq.
std::string script(const std::string& verb) {
    return shell(setting("SAPWOOD_RABBITMQ_SCRIPT") + " " + verb + " >/dev/null 2>&1; echo $?");
}

std::string script_says(const std::string& verb) {
    std::string said = shell(setting("SAPWOOD_RABBITMQ_SCRIPT") + " " + verb);
    return said.substr(0, said.find('\n'));
}

std::string evaluated(const std::string& erlang) {
    return shell(setting("SAPWOOD_RABBITMQ_SCRIPT") + " eval " + directory() + " '" + erlang + "'");
}

/// As long as it lives, the broker is short of something.
class alarm {
  public:
    alarm(const std::string& on, std::string off) : off_(std::move(off)) {
        REQUIRE(evaluated(on) == "{ok, ok}");
    }

    alarm(const alarm&) = delete;
    alarm& operator=(const alarm&) = delete;

    ~alarm() { (void)evaluated(off_); }

  private:
    std::string off_;
};

template <class Body>
void run_with_broker(Body body) {
    sapwood::run([&]() -> task<> { co_await sapwood::timeout(400s, body()); });
}

/// Why, and in which queue, a message died.
std::string death_of(const sapwood::amqp::delivery& letter) {
    const auto* const deaths = sapwood::amqp::find(letter.props().headers, "x-death");
    REQUIRE(deaths != nullptr);
    const auto& all = std::get<sapwood::amqp::list>(deaths->value);
    REQUIRE_FALSE(all.empty());
    const auto& last = std::get<sapwood::amqp::table>(all.front().value);
    return std::string(sapwood::amqp::text_of(last, "reason")) + " in " +
           std::string(sapwood::amqp::text_of(last, "queue"));
}

task<std::uint32_t> length_of(sapwood::amqp::channel& on, std::string_view queue) {
    const auto info = co_await on.declare_queue({.name = queue, .passive = true});
    co_return info.messages;
}

/// While the broker has this alarm a publisher waits, and afterwards it goes on.
task<> publish_through(std::string on_alarm, std::string off_alarm) {
    auto mq = co_await connect(url());
    auto on = co_await mq.open_channel();
    const auto queue = co_await on.declare_queue({.exclusive = true});
    co_await on.publish("", queue.name, "before");
    std::uint32_t published = 1;
    sapwood::join_handle<void> waiting;
    {
        const alarm raised(on_alarm, off_alarm);
        // The broker's connections hear of it a little later: what comes before is still taken.
        for (bool is_taken = true; is_taken; ++published) {
            waiting = sapwood::spawn(on.publish("", queue.name, "meanwhile"));
            co_await until([&] { return mq.is_blocked() || waiting.done(); });
            is_taken = waiting.done();
            if (is_taken) {
                co_await waiting;
            }
        }
        CHECK(mq.is_blocked());
        CHECK(on.publish_nowait("", queue.name, "no room") == publication::none);
        CHECK_FALSE(waiting.done());
    }
    co_await waiting;
    CHECK_FALSE(mq.is_blocked());
    CHECK(co_await length_of(on, queue.name) == published);
    CHECK(mq.times_up() == 1);
    co_await mq.close();
}

/// What comes of a queue, by message id, until all of `wanted` has.
task<std::set<std::string>> drain(sapwood::amqp::channel& on, std::string_view queue,
                                  std::set<std::string> wanted) {
    std::set<std::string> ids;
    auto from = co_await on.consume(queue);
    std::vector<sapwood::amqp::delivery> batch;
    while (!std::ranges::includes(ids, wanted)) {
        batch.clear();
        if (co_await from.next_many(batch, 256) == 0) {
            throw std::runtime_error("the consumer ended early");
        }
        for (const auto& each : batch) {
            ids.insert(each.props().message_id);
        }
        co_await batch.back().ack_through();
    }
    co_return ids;
}

std::set<std::string> names(const std::string& prefix, int count) {
    std::set<std::string> all;
    for (int i = 0; i < count; ++i) {
        all.insert(prefix + std::to_string(i));
    }
    return all;
}

task<> publish_one(sapwood::amqp::channel& to, const std::string& queue, std::string id,
                   std::set<std::string>& ids) {
    while (to.publish_nowait("", queue, "x", {.message_id = id}) == publication::none) {
        co_await to.room();
    }
    ids.insert(std::move(id));
}

/// Publishes so many, by ids that begin so, and waits until all are confirmed.
task<> publish_many(sapwood::amqp::channel& to, std::string queue, std::string prefix, int count,
                    std::set<std::string>& ids) {
    for (int i = 0; i < count; ++i) {
        co_await publish_one(to, queue, prefix + std::to_string(i), ids);
    }
    co_await to.confirmed();
}

/// The same, until it has been enough.
task<> publish_until(const bool& is_enough, sapwood::amqp::channel& to, std::string queue,
                     std::string prefix, std::set<std::string>& ids) {
    int next = 0;
    while (!is_enough) {
        co_await publish_one(to, queue, prefix + std::to_string(next), ids);
        ++next;
    }
    co_await to.confirmed();
}

} // namespace

TEST_SUITE("rabbitmq" * doctest::skip(std::getenv("SAPWOOD_AMQP_URL") == nullptr)) {
    TEST_CASE("what is rejected, and what is too old, is among the dead letters, with its death") {
        run_with_broker([]() -> task<> {
            auto mq = co_await connect(url());
            auto on = co_await mq.open_channel();
            (void)co_await on.declare_queue({.name = "dead"});
            (void)co_await on.declare_queue(
                {.name = "alive", .dead_letter_exchange = "", .dead_letter_routing_key = "dead"});
            (void)co_await on.declare_queue({.name = "short of time",
                                             .message_ttl = 1ms,
                                             .dead_letter_exchange = "",
                                             .dead_letter_routing_key = "dead"});
            auto letters = co_await on.consume("dead");
            {
                auto from = co_await on.consume("alive");
                co_await on.publish("", "alive", "poison");
                auto got = co_await from.next();
                REQUIRE(got.has_value());
                CHECK(co_await got->reject());
                auto letter = co_await letters.next();
                REQUIRE(letter.has_value());
                CHECK(letter->body() == "poison");
                CHECK(letter->props().message_id == got->props().message_id);
                CHECK(death_of(*letter) == "rejected in alive");
                CHECK(co_await letter->ack());
            }
            co_await on.publish("", "short of time", "late");
            auto letter = co_await letters.next();
            REQUIRE(letter.has_value());
            CHECK(letter->body() == "late");
            CHECK(death_of(*letter) == "expired in short of time");
            CHECK(co_await letter->ack());
            co_await mq.close();
        });
    }

    TEST_CASE("what a full queue refuses is published again until it has room") {
        run_with_broker([]() -> task<> {
            connection_options options;
            options.to = parse_address(url());
            options.retry_first = options.retry_max = 5ms;
            auto mq = co_await connect(options);
            auto on = co_await mq.open_channel();
            auto other = co_await mq.open_channel();
            (void)co_await on.declare_queue({.name = "full",
                                             .length_max = 1,
                                             .full = sapwood::amqp::when_full::reject_publish});
            std::set<std::string> ids;
            auto publishing = sapwood::spawn(publish_many(on, "full", "full ", 20, ids));
            co_await until([&] { return on.unconfirmed() > 0; });
            CHECK(co_await length_of(other, "full") <= 1);
            CHECK_FALSE(publishing.done());
            const auto wanted = names("full ", 20);
            const auto got = co_await drain(other, "full", wanted);
            co_await publishing;
            CHECK(got == ids);
            co_await mq.close();
        });
    }

    TEST_CASE("a fanout exchange gives each message to each of its queues") {
        run_with_broker([]() -> task<> {
            auto mq = co_await connect(url());
            auto on = co_await mq.open_channel();
            co_await on.declare_exchange(
                {.name = "to all", .kind = sapwood::amqp::exchange_kind::fanout});
            // Nobody listens yet, which is an error unless its publisher does not mind.
            co_await on.publish("to all", "", "early", {.mandatory = false});
            const auto [code, text] =
                co_await failure_of([&] { return on.publish("to all", "", "early"); });
            CHECK(code == errc::no_route);
            const std::set<std::string> wanted{"id"};
            const auto one = co_await on.declare_queue({.exclusive = true});
            const auto other = co_await on.declare_queue({.exclusive = true});
            co_await on.bind({.queue = one.name, .exchange = "to all"});
            co_await on.bind({.queue = other.name, .exchange = "to all", .routing_key = "any"});
            co_await on.publish("to all", "whichever", "x", {.message_id = "id"});
            for (const auto& queue : {one.name, other.name}) {
                CHECK(co_await drain(on, queue, wanted) == wanted);
            }
            co_await on.delete_exchange("to all");
            co_await mq.close();
        });
    }

    TEST_CASE("while the broker's memory is short a publisher waits, and then goes on") {
        run_with_broker([] {
            return publish_through("vm_memory_monitor:set_vm_memory_high_watermark({absolute, 9})",
                                   "vm_memory_monitor:set_vm_memory_high_watermark(0.4)");
        });
    }

    TEST_CASE("while the broker's disk is full a publisher waits, and then goes on") {
        run_with_broker([] {
            return publish_through("rabbit_disk_monitor:set_disk_free_limit(1000000000000000000)",
                                   "rabbit_disk_monitor:set_disk_free_limit(1000000)");
        });
    }

    TEST_CASE("who is gone between his sync and his ack gets it again, and knows it by its id") {
        run_with_broker([]() -> task<> {
            auto mq = co_await connect(url());
            auto on = co_await mq.open_channel();
            (void)co_await on.declare_queue({.name = "gone"});
            std::set<std::string> published;
            co_await publish_many(on, "gone", "gone ", 100, published);
            sapwood::amqp::recent_ids written(1000);
            {
                auto first = co_await connect(url());
                auto channel = co_await first.open_channel();
                auto from = co_await channel.consume("gone", {.prefetch = 64});
                std::vector<sapwood::amqp::delivery> batch;
                while (batch.size() < 64) {
                    (void)co_await from.next_many(batch, 64);
                }
                for (const auto& each : batch) {
                    CHECK(written.insert(each.props().message_id));
                }
            }
            auto from = co_await on.consume("gone", {.prefetch = 64});
            std::size_t again = 0;
            for (int i = 0; i < 100; ++i) {
                auto got = co_await from.next();
                REQUIRE(got.has_value());
                const bool is_new = written.insert(got->props().message_id);
                CHECK(is_new != got->is_redelivered());
                again += is_new ? 0 : 1;
                CHECK(co_await got->ack());
            }
            CHECK(again == 64);
            co_await mq.close();
        });
    }

    TEST_CASE("headers that are too deep do not come again for ever") {
        run_with_broker([]() -> task<> {
            auto mq = co_await connect(url());
            auto on = co_await mq.open_channel();
            const auto queue = co_await on.declare_queue({.exclusive = true});
            sapwood::amqp::table deep;
            for (int i = 0; i < 20; ++i) {
                sapwood::amqp::table around;
                around.push_back({"in", std::move(deep)});
                deep = std::move(around);
            }
            co_await on.publish("", queue.name, "deep", {.headers = &deep});
            auto from = co_await on.consume(queue.name);
            auto got = co_await from.next();
            REQUIRE(got.has_value());
            CHECK(got->body() == "deep");
            CHECK(got->props().are_headers_left_out);
            CHECK(co_await got->ack());
            CHECK(mq.times_up() == 1);
            co_await mq.close();
        });
    }

    TEST_CASE("a queue of one channel and its consumer on another one are there again together") {
        run_with_broker([]() -> task<> {
            connection_options options;
            options.to = parse_address(url());
            options.name = "to be ended";
            auto mq = co_await connect(options);
            auto on = co_await mq.open_channel();
            auto other = co_await mq.open_channel();
            const auto queue = co_await other.declare_queue({.exclusive = true});
            auto from = co_await on.consume(queue.name);
            CHECK(has(evaluated("[rabbit_networking:close_connection(P, \"test\") || P <- "
                                "rabbit_networking:connections(), [{client_properties, L}] <- "
                                "[rabbit_networking:connection_info(P, [client_properties])], "
                                "lists:keyfind(<<\"connection_name\">>, 1, L) =:= "
                                "{<<\"connection_name\">>, longstr, <<\"to be ended\">>}]"),
                      "[ok]"));
            co_await until([&] { return mq.times_up() >= 2; });
            co_await on.publish("", queue.name, "x");
            auto got = co_await from.next();
            REQUIRE(got.has_value());
            CHECK(got->body() == "x");
            CHECK(co_await got->ack());
            co_await mq.close();
        });
    }

    TEST_CASE("of several hosts the first that lives is taken") {
        run_with_broker([]() -> task<> {
            connection_options options;
            options.to = parse_address(url());
            options.to.hosts.insert(options.to.hosts.begin(), {"127.0.0.1", "1"});
            auto mq = co_await connect(options);
            auto on = co_await mq.open_channel();
            CHECK((co_await on.declare_queue({.exclusive = true})).messages == 0);
            co_await mq.close();
        });
    }

    TEST_CASE("RabbitMQ's own TLS: it is looked at, and our certificate may be our login") {
        if (!sapwood::tls_context::is_built()) {
            MESSAGE("skipped: this sapwood was built without OpenSSL");
            return;
        }
        const std::string tls = directory() + "/tls";
        const std::string port =
            shell("sed -n s/^tls_port=//p " + directory() + "/settings | tr -d '\\n'");
        const std::string at = "amqps://guest:guest@localhost:" + port + "/?cacertfile=" + tls;
        const std::string certificate =
            "&certfile=" + tls + "/client.pem&keyfile=" + tls + "/client.key";
        REQUIRE_FALSE(port.empty()); // made with SAPWOOD_RABBITMQ_TLS
        run_with_broker([&]() -> task<> {
            const std::string secured = at + "/ca.pem";
            auto mq = co_await connect(secured);
            auto on = co_await mq.open_channel();
            (void)co_await on.declare_queue({.name = "secured"});
            const std::string body(300'000, 'x');
            co_await on.publish("", "secured", body);
            auto from = co_await on.consume("secured");
            auto got = co_await from.next();
            REQUIRE(got.has_value());
            const bool is_whole = got->body() == body; // not shown: it is long
            CHECK(is_whole);
            CHECK(co_await got->ack());
            co_await mq.close();
            const std::string plain = "amqp://guest:guest@localhost:" + port;
            CHECK(has((co_await failure_of([&] { return connect(plain); })).second, "amqps://"));
            const std::string wrong = at + "/client.pem";
            auto [code, text] = co_await failure_of([&] { return connect(wrong); });
            CHECK(code == errc::not_trusted);
            const std::string external = secured + certificate + "&auth_mechanism=external";
            std::tie(code, text) = co_await failure_of([&] { return connect(external); });
            CHECK(code == errc::access_refused);
            CHECK(has(text, "the broker refuses our certificate as a login"));
            (void)evaluated(
                R"(rabbit_auth_backend_internal:add_user(<<"client">>, <<"-">>, <<>>))");
            (void)evaluated(R"(rabbit_auth_backend_internal:set_permissions()"
                            R"(<<"client">>, <<"/">>, <<".*">>, <<".*">>, <<".*">>, <<>>))");
            auto known = co_await connect(external);
            co_await known.close();
        });
    }

    TEST_CASE("a quorum queue waits for a node that was killed, and loses nothing confirmed") {
        const std::string other = directory() + "b";
        REQUIRE(script("join " + other + " " + directory()) == "0\n");
        run_with_broker([&]() -> task<> {
            connection_options options;
            options.to = parse_address(url());
            auto mq = co_await connect(options);
            auto on = co_await mq.open_channel();
            auto reader = co_await mq.open_channel();
            (void)co_await on.declare_queue(
                {.name = "quorum", .kind = sapwood::amqp::queue_kind::quorum});
            std::set<std::string> ids;
            co_await publish_many(on, "quorum", "before ", 500, ids);
            bool is_killed = false;
            auto publishing =
                sapwood::spawn(publish_until(is_killed, on, "quorum", "meanwhile ", ids));
            // Another one publishes by the node that is killed, and goes on by the one that lives.
            const std::string there = script_says("url " + other);
            options.to.hosts.insert(options.to.hosts.begin(), parse_address(there).hosts.front());
            auto moving = co_await connect(options);
            auto by_both = co_await moving.open_channel();
            std::set<std::string> moved;
            co_await publish_many(by_both, "quorum", "there ", 500, moved);
            auto going_on =
                sapwood::spawn(publish_until(is_killed, by_both, "quorum", "moving ", moved));
            const auto kill = [&] { return script("kill " + other); };
            CHECK(co_await sapwood::run_blocking(kill) == "0\n");
            auto [code, text] = co_await failure_of([&] {
                return sapwood::timeout(300ms,
                                        on.publish("", "quorum", "x", {.message_id = "alone"}));
            });
            CHECK(code == std::errc::timed_out); // one of two is no majority
            CHECK_FALSE(publishing.done());
            CHECK_FALSE(going_on.done());
            co_await until([&] { return moving.times_up() == 2; });
            is_killed = true;
            const auto start = [&] { return script("start " + other); };
            CHECK(co_await sapwood::run_blocking(start) == "0\n");
            co_await publishing;
            co_await on.confirmed();
            co_await going_on;
            ids.merge(moved);
            auto got = co_await drain(reader, "quorum", ids);
            got.erase("alone"); // given up, and published if it was in the window already
            CHECK(got == ids);
            co_await moving.close();
            co_await mq.close();
        });
        CHECK(script("stop " + other) == "0\n");
    }
}
