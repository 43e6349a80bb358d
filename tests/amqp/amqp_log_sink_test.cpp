// A logger whose output is a broker: what is confirmed is written, and only that.
#include "fake_broker.hpp"
#include "support/co_test.hpp"
#include "support/sockets.hpp"

#include <sapwood/amqp/amqp_log_sink.hpp>
#include <sapwood/logger.hpp>
#include <sapwood/memory_log_sink.hpp>
#include <sapwood/sleep.hpp>

#include <doctest/doctest.h>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using sapwood::amqp_log_sink;
using sapwood::amqp_log_sink_options;
using sapwood::logger;
using sapwood::logger_options;
using sapwood::task;
using sapwood::test::fake_broker;
using sapwood::test::until;

amqp_log_sink_options into(const fake_broker& broker) {
    amqp_log_sink_options made;
    made.routing_key = "logs";
    made.connection = broker.options();
    made.give_up_after = 1h;
    return made;
}

/// With a second output, so that nobody waits for this one where it fails. A write may take as long
/// as the sink is given: while it connects again, back-off included, it has not failed.
logger_options outputs(amqp_log_sink_options to) {
    logger_options options;
    const auto longest = to.give_up_after;
    options.outputs.push_back(
        {.sink = std::make_unique<amqp_log_sink>(std::move(to)), .stuck_after = longest});
    options.outputs.push_back({.sink = std::make_unique<sapwood::null_log_sink>()});
    return options;
}

std::vector<std::string> bodies(fake_broker& broker) {
    std::vector<std::string> found;
    for (const auto& each : broker.queues["logs"].ready) {
        found.push_back(each.body.substr(each.body.find("info ") + 5));
    }
    return found;
}

using texts = std::vector<std::string>;

} // namespace

TEST_SUITE("amqp_log_sink") {
    CO_TEST_CASE("each record is a message, and flushed means confirmed") {
        fake_broker broker;
        broker.does.holds_confirms = true;
        {
            auto options = outputs(into(broker));
            const logger log = co_await logger::on_this_loop(options);
            log.info("one");
            log.info("two\nlines");
            auto flushing = sapwood::spawn(log.flush());
            co_await until([&] { return broker.queues["logs"].ready.size() == 2; });
            CHECK_FALSE(flushing.done());
            CHECK(log.stats().outputs[0].written == 0);
            broker.does.holds_confirms = false;
            broker.confirm_held();
            co_await flushing;
            CHECK(log.stats().outputs[0].written == 2);
            CHECK(bodies(broker) == texts{"one", R"(two\nlines)"});
            co_await log.close();
        }
        co_await broker.end();
    }

    CO_TEST_CASE("what a lost connection had not confirmed is published again, by the same ids") {
        fake_broker broker;
        // Each connection gets further than the one before, whenever it comes.
        broker.does.on_connection = [&](std::uint64_t number) {
            broker.does.takes_at_most = 6000 * number;
        };
        {
            auto to = into(broker);
            // Longer than the second after which an output is stuck where nothing else was said.
            to.connection.retry_first = to.connection.retry_max = 10s;
            auto options = outputs(std::move(to));
            const logger log = co_await logger::on_this_loop(options);
            for (int i = 0; i < 300; ++i) {
                log.info("{}", i);
            }
            co_await log.flush();
            CHECK(broker.connections() > 2);
            std::set<std::string> ids;
            for (const auto& each : broker.queues["logs"].ready) {
                ids.insert(each.id);
            }
            const texts found = bodies(broker);
            CHECK(std::set<std::string>(found.begin(), found.end()).size() == 300);
            CHECK(ids.size() == 300);
            CHECK(log.stats().outputs[0].written == 300);
            CHECK(log.stats().outputs[0].lost == 0);
            co_await log.close();
        }
        co_await broker.end();
    }

    CO_TEST_CASE("what no queue takes is not written, and comes again when one does") {
        fake_broker broker;
        {
            auto to = into(broker);
            to.declare = false;
            auto options = outputs(std::move(to));
            const logger log = co_await logger::on_this_loop(options);
            log.info("one");
            co_await until([&] { return log.stats().outputs[0].failures >= 3; });
            CHECK(log.stats().outputs[0].written == 0);
            (void)broker.queues["logs"];
            log.info("two");
            co_await until([&] { return log.stats().outputs[0].written == 2; });
            CHECK(bodies(broker) == texts{"one", "two"});
            co_await log.close();
        }
        co_await broker.end();
    }

    CO_TEST_CASE("a write that was given up goes on where it was, and sends nothing twice") {
        fake_broker broker;
        {
            auto to = into(broker);
            to.give_up_after = 1s;
            amqp_log_sink sink(to);
            co_await sink.open();
            broker.does.holds_confirms = true;
            std::string lines = "a info a\na info b\n";
            bool is_given_up = false;
            try {
                co_await sink.write(lines);
            } catch (const std::system_error& why) {
                is_given_up = why.code() == std::errc::timed_out;
            }
            CHECK(is_given_up);
            CHECK(bodies(broker) == texts{"a", "b"});
            lines += "a info c\n";
            auto writing = sapwood::spawn(sink.write(lines));
            co_await until([&] { return broker.queues["logs"].ready.size() == 3; });
            broker.confirm_held();
            co_await writing;
            CHECK(bodies(broker) == texts{"a", "b", "c"});
            co_await sink.close();
        }
        co_await broker.end();
    }

    CO_TEST_CASE(
        "while the broker is away lines are lost as others are, and every one is counted") {
        fake_broker broker;
        {
            auto to = into(broker);
            to.give_up_after = 1s;
            auto options = outputs(std::move(to));
            options.outputs[0].batch_bytes = 4096;
            options.outputs[0].stuck_after = 100ms;
            const logger log = co_await logger::on_this_loop(options);
            log.info("before");
            co_await log.flush();
            broker.does.holds_confirms = true;
            for (int i = 0; i < 1000; ++i) {
                log.info("{}", i);
                if (i % 50 == 0) {
                    co_await sapwood::sleep_for(100ms);
                }
            }
            co_await until([&] { return log.stats().outputs[0].lost > 0; });
            broker.does.holds_confirms = false;
            broker.confirm_held();
            co_await until([&] {
                const auto out = log.stats().outputs[0];
                return out.in_flight == 0;
            });
            co_await log.flush();
            const auto out = log.stats().outputs[0];
            CHECK(out.written + out.lost == 1001 + out.notes);
            CHECK(out.notes > 0); // the gap is told
            std::set<std::string> ids;
            for (const auto& each : broker.queues["logs"].ready) {
                ids.insert(each.id);
            }
            CHECK(ids.size() == broker.queues["logs"].ready.size());
            CHECK(ids.size() == out.written);
            co_await log.close();
        }
        co_await broker.end();
    }

    CO_TEST_CASE("a log starts without its broker, unless that must be there") {
        fake_broker broker;
        auto to = into(broker);
        co_await broker.end();
        to.connection.connect_within = 1s;
        {
            auto options = outputs(to);
            const logger log = co_await logger::on_this_loop(options);
            log.info("x");
            co_await until([&] { return log.stats().outputs[0].failures > 0; });
            const auto [why, text] =
                co_await sapwood::test::failure_of([&] { return log.close(); });
            CHECK(why);
            CHECK(log.stats().outputs[0].lost == 1);
        }
        to.must_connect = true;
        amqp_log_sink sink(to);
        const auto [code, words] = co_await sapwood::test::failure_of([&] { return sink.open(); });
        CHECK(code == std::errc::connection_refused);
    }

    TEST_CASE("options that cannot be meant are refused, and a sink says who it is") {
        amqp_log_sink_options options;
        options.url = "amqp://me:secret@h/v";
        CHECK_THROWS_WITH((void)amqp_log_sink(options), doctest::Contains("routing_key"));
        options.routing_key = "q";
        CHECK(amqp_log_sink(options).describe() == "amqp://me@h:5672/v, queue q");
        options.exchange = "x";
        CHECK(amqp_log_sink(options).describe() == "amqp://me@h:5672/v, exchange x");
        options.give_up_after = 0s;
        CHECK_THROWS_WITH((void)amqp_log_sink(options), doctest::Contains("give_up_after"));
        options.give_up_after = 1s;
        options.content_type = std::string(256, 'x');
        CHECK_THROWS_WITH((void)amqp_log_sink(options), doctest::Contains("content_type"));
        options.content_type.clear();
        options.connection.frame_bytes_max = 100;
        CHECK_THROWS_WITH((void)amqp_log_sink(options), doctest::Contains("frame_bytes_max"));
        options.url = "http://h";
        CHECK_THROWS_AS((void)amqp_log_sink(options), std::invalid_argument);
    }
}
