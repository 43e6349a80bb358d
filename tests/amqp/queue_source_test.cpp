// A queue that a collector consumes: what is acknowledged, what stands in the log, and what becomes
// of both when something breaks.
#include "collector/served.hpp"
#include "consumed_queue.hpp"
#include "fake_broker.hpp"
#include "support/co_test.hpp"
#include "support/compressed.hpp"

#include <collector/message_ids.hpp>
#include <collector/settings.hpp>

#include <doctest/doctest.h>
#include <fstream>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace std::chrono_literals;
using sapwood::task;
using sapwood::collector::log_form;
using sapwood::test::consuming;
using sapwood::test::done;
using sapwood::test::fake_broker;
using sapwood::test::has;
using sapwood::test::limited_files;
using sapwood::test::lines_in;
using sapwood::test::put_message;
using sapwood::test::served;
using sapwood::test::until;
using sapwood::test::url_of;

using texts = std::vector<std::string>;

/// So many messages, at once.
void bring(fake_broker& broker, int count) {
    for (int i = 0; i < count; ++i) {
        put_message(broker, "logs", "x", "");
    }
    broker.dispatch_all();
}

} // namespace

TEST_SUITE("queue_source") {
    CO_TEST_CASE("a message is a line with its id, and is acknowledged when that is durable") {
        const sapwood::test::temporary_directory directory;
        fake_broker broker;
        put_message(broker, "logs", R"({"level":"error","msg":"paid"})", "1");
        put_message(broker, "logs", "plain\ntext", "2");
        put_message(broker, "logs", R"({"msg":)", "");
        served at(consuming(broker, directory / "."));
        co_await at.begin();
        std::uint64_t durable_then = 0;
        co_await until([&] {
            durable_then = to_number(at.it->shared().logs.front().log().counts().durable);
            return done(broker) > 0;
        });
        CHECK(durable_then >= 1);
        co_await until([&] { return done(broker) == 3; });
        co_await at.end();
        CHECK(lines_in(directory / ".") ==
              texts{R"(amqp logs message_id=1] {"level":"error","msg":"paid"})",
                    R"(amqp logs message_id=2] plain\ntext)", R"(amqp logs] {"msg":)"});
        CHECK(has(sapwood::test::contents_of(directory / "app.log"), " error [amqp"));
        co_await broker.end();
    }

    CO_TEST_CASE("messages that follow one another closely are synced and acknowledged together") {
        const sapwood::test::temporary_directory directory;
        fake_broker broker;
        served at(consuming(broker, directory / "."));
        co_await at.begin();
        co_await until([&] { return at.it->shared().queues[0].is_up; });
        constexpr std::size_t count = 100;
        for (std::size_t i = 0; i < count; ++i) {
            bring(broker, 1);
            co_await sapwood::sleep_for(100us);
        }
        co_await until([&] { return done(broker) == count; });
        CHECK(broker.count(AMQP_BASIC_ACK_METHOD) < count / 3);
        co_await at.end();
        co_await broker.end();
    }

    CO_TEST_CASE("a message that comes alone is acknowledged without waiting for others") {
        const sapwood::test::temporary_directory directory;
        fake_broker broker;
        served at(consuming(broker, directory / "."));
        co_await at.begin();
        co_await until([&] { return at.it->shared().queues[0].is_up; });
        bring(broker, 100);
        co_await until([&] { return done(broker) == 100; });
        bring(broker, 1);
        co_await until([&] { return done(broker) == 101; });
        for (std::size_t i = 1; i <= 10; ++i) {
            co_await sapwood::sleep_for(1s);
            const auto began = sapwood::event_loop::current().now();
            bring(broker, 1);
            while (done(broker) < 101 + i) {
                co_await sapwood::sleep_for(10us);
            }
            CHECK(sapwood::event_loop::current().now() - began < 1ms);
        }
        co_await at.end();
        co_await broker.end();
    }

    CO_TEST_CASE("a message that comes again is one line, also for a collector that starts anew") {
        const texts ids{"1", "a b", "a]b", R"(q"\=)", "\xff\n", "é"};
        for (const log_form form : {log_form::text, log_form::json, log_form::logfmt}) {
            const sapwood::test::temporary_directory directory;
            fake_broker broker;
            for (std::size_t round = 1; round <= 3; ++round) {
                for (const std::string& each : ids) {
                    put_message(broker, "logs", "x", each);
                    put_message(broker, "logs", R"({"message_id":"other"})", each);
                }
                served at(consuming(broker, directory / ".", form));
                co_await at.begin();
                co_await until([&] { return done(broker) == round * 2 * ids.size(); });
                CHECK(at.it->shared().queues[0].duplicates ==
                      (round == 1 ? ids.size() : 2 * ids.size()));
                co_await at.end();
                CHECK(lines_in(directory / ".").size() == ids.size());
            }
            co_await broker.end();
        }
    }

    TEST_CASE("nobody else's line has the id of a message") {
        using sapwood::collector::message_id_of;
        CHECK(message_id_of(log_form::text, "2026-11-27 1 info [amqp q message_id=7] x") ==
              "q message_id=7");
        CHECK(message_id_of(log_form::text, "2026-11-27 1 info [http a] [amqp q message_id=7] x") ==
              "");
        CHECK(message_id_of(log_form::text, "2026-11-27 1 info [amqp q] message_id=7] x") == "");
        CHECK(
            message_id_of(
                log_form::json,
                R"({"time":"","from":"http","record":{"a":1,"from":"amqp q","message_id":"7"}})") ==
            "");
        CHECK(message_id_of(log_form::json,
                            R"({"time":"","from":"amqp q","record":{"message_id":"7"}})") == "");
        CHECK(message_id_of(log_form::logfmt, R"(time= from="amqp q" message=" message_id=7")") ==
              "");
    }

    CO_TEST_CASE("two queues in one log may have messages of the same ids") {
        const sapwood::test::temporary_directory directory;
        fake_broker broker;
        const auto finished = [&](const char* queue) { return broker.queues[queue].done.size(); };
        for (std::size_t round = 1; round <= 2; ++round) {
            auto options = consuming(broker, directory / ".");
            options.queues.push_back(options.queues[0]);
            options.queues[1].queue = "logs2";
            put_message(broker, "logs", "a", "1");
            put_message(broker, "logs2", "b", round == 1 ? "2" : "1");
            served at(options);
            co_await at.begin();
            co_await until([&] { return finished("logs") == round && finished("logs2") == round; });
            CHECK(at.it->shared().queues[0].duplicates == round - 1);
            CHECK(at.it->shared().queues[1].duplicates == 0);
            co_await at.end();
        }
        CHECK(lines_in(directory / ".").size() == 3);
        co_await broker.end();
    }

    CO_TEST_CASE("a body is taken as a request's is: compressed, and with its trace") {
        const sapwood::test::temporary_directory directory;
        fake_broker broker;
        const sapwood::amqp::table headers{
            {"traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}};
        const bool can_undo =
            sapwood::collector::can_decompress(sapwood::collector::content_coding::gzip);
        const std::string body = R"({"a":1})";
        put_message(
            broker, "logs", can_undo ? *sapwood::test::gzipped(body) : body, "1",
            {.content_encoding = can_undo ? "gzip" : "", .headers = &headers, .app_id = "shop"});
        put_message(broker, "logs", "no gzip", "2", {.content_encoding = "gzip"});
        served at(consuming(broker, directory / "."));
        co_await at.begin();
        co_await until([&] { return done(broker) == 2; });
        co_await at.end();
        CHECK(lines_in(directory / ".") ==
              texts{R"(amqp logs message_id=1 app=shop] {"a":1,"trace_id":"0af7651916cd43dd8448)"
                    R"(eb211c80319c","span_id":"b7ad6b7169203331"})",
                    "amqp logs message_id=2] no gzip"});
        co_await broker.end();
    }

    CO_TEST_CASE("ids of files that the log was rotated into count, too") {
        const sapwood::test::temporary_directory directory;
        fake_broker broker;
        std::ofstream(directory / "app.log.1") << "2026-11-27 1 info [amqp logs message_id=1] x\n";
        std::ofstream(directory / "app.log.torn")
            << "2026-11-27 1 info [amqp logs message_id=2] x\n";
        put_message(broker, "logs", "again", "1");
        put_message(broker, "logs", "new", "2");
        served at(consuming(broker, directory / "."));
        co_await at.begin();
        co_await until([&] { return done(broker) == 2; });
        co_await at.end();
        CHECK(lines_in(directory / ".") == texts{"amqp logs message_id=2] new"});
        co_await broker.end();
    }

    CO_TEST_CASE("a message that is too long is cut in the log, and goes to the dead letters") {
        const sapwood::test::temporary_directory directory;
        fake_broker broker;
        put_message(broker, "logs", "ok", "1");
        put_message(broker, "logs", std::string(200, 'x'), "2");
        auto options = consuming(broker, directory / ".");
        options.limits.json.record_bytes_max = 100;
        for (int round = 1; round <= 2; ++round) {
            served at(options);
            co_await at.begin();
            co_await until([&] {
                return done(broker) == 1 &&
                       broker.queues["logs"].dead.size() == static_cast<std::size_t>(round);
            });
            CHECK(at.it->shared().queues[0].rejected == 1);
            co_await at.end();
            CHECK(lines_in(directory / ".") ==
                  texts{"amqp logs message_id=1] ok",
                        "amqp logs message_id=2 cut=true] " + std::string(100, 'x')});
            put_message(broker, "logs", std::string(200, 'x'), "2"); // somebody sends it again
        }
        co_await broker.end();
    }

    CO_TEST_CASE("of a compressed body no more is undone than a record has") {
        if (!sapwood::collector::can_decompress(sapwood::collector::content_coding::gzip)) {
            co_return;
        }
        const sapwood::test::temporary_directory directory;
        fake_broker broker;
        const std::string bomb = *sapwood::test::gzipped(std::string(33u << 20, 'x'));
        put_message(broker, "logs", bomb, "1", {.content_encoding = "gzip"});
        auto options = consuming(broker, directory / ".");
        options.limits.json.record_bytes_max = 100'000;
        REQUIRE(bomb.size() < options.limits.json.record_bytes_max);
        served at(options);
        co_await at.begin();
        co_await until([&] { return broker.queues["logs"].dead.size() == 1; });
        co_await at.end();
        const bool is_cut = lines_in(directory / ".") ==
                            texts{"amqp logs message_id=1 cut=true] " + std::string(100'000, 'x')};
        CHECK(is_cut); // not shown: it is long
        co_await broker.end();
    }

    CO_TEST_CASE("what comes again is acknowledged when its line is durable, and not before") {
        const sapwood::test::temporary_directory directory;
        fake_broker broker;
        put_message(broker, "logs", "x", "1");
        auto options = consuming(broker, directory / ".");
        options.logs[0].durable = sapwood::durability::interval(10s);
        served at(options);
        co_await at.begin();
        const auto& log = at.it->shared().logs.front().log();
        co_await until([&] { return to_number(log.counts().written) == 1; });
        const amqp_channel_close_t close{541, amqp_cstring_bytes("INTERNAL_ERROR"), 0, 0};
        broker.say(1, AMQP_CHANNEL_CLOSE_METHOD, &close);
        co_await until([&] { return done(broker) == 1; });
        CHECK(to_number(log.counts().durable) == 1);
        CHECK(at.it->shared().queues[0].duplicates == 1);
        co_await at.end();
        CHECK(lines_in(directory / ".").size() == 1);
        co_await broker.end();
    }

    CO_TEST_CASE("while the disk refuses records nothing is acknowledged, and little is held") {
        const sapwood::test::temporary_directory directory;
        fake_broker broker;
        for (int i = 0; i < 50; ++i) {
            put_message(broker, "logs", std::string(1000, 'x'), std::to_string(i));
        }
        auto options = consuming(broker, directory / ".");
        options.queues[0].prefetch = 5;
        served at(options);
        {
            const limited_files none(100);
            co_await at.begin();
            const auto& log = at.it->shared().logs.front().log();
            co_await until([&] { return log.counts().retries > 3; });
            CHECK(done(broker) == 0);
            CHECK(broker.queues["logs"].ready.size() == 45);
            CHECK(at.it->shared().queues[0].unsettled == 5);
        }
        co_await until([&] { return done(broker) == 50; });
        co_await at.end();
        CHECK(lines_in(directory / ".").size() == 50);
        co_await broker.end();
    }

    CO_TEST_CASE("told to end, it acknowledges what it has taken, and leaves the rest") {
        const sapwood::test::temporary_directory directory;
        fake_broker broker;
        for (int i = 0; i < 500; ++i) {
            put_message(broker, "logs", "x", std::to_string(i));
        }
        auto options = consuming(broker, directory / ".");
        options.queues[0].prefetch = 7;
        served at(options);
        co_await at.begin();
        co_await until([&] { return done(broker) > 20; });
        co_await at.end();
        CHECK(lines_in(directory / ".").size() == done(broker));
        CHECK(done(broker) + broker.queues["logs"].ready.size() == 500);
        CHECK(at.it->left().empty());
        co_await broker.end();
    }

    CO_TEST_CASE("a connection that breaks is made again, and each message is one line") {
        const sapwood::test::temporary_directory directory;
        fake_broker broker;
        for (int i = 0; i < 300; ++i) {
            put_message(broker, "logs", std::to_string(i), "id-" + std::to_string(i));
        }
        auto options = consuming(broker, directory / ".");
        options.queues[0].prefetch = 20;
        served at(options);
        broker.does.sends_at_most = 4000; // on each
        co_await at.begin();
        co_await until([&] { return done(broker) == 300; });
        CHECK(broker.connections() > 1);
        CHECK(at.it->shared().queues[0].connections == broker.connections());
        co_await at.end();
        const texts lines = lines_in(directory / ".");
        CHECK(std::set<std::string>(lines.begin(), lines.end()).size() == 300);
        CHECK(lines.size() == 300);
        co_await broker.end();
    }

    CO_TEST_CASE("a broker that is not there yet is waited for, and readyz says so") {
        const sapwood::test::temporary_directory directory;
        fake_broker broker;
        broker.does.refuses_login = 403;
        auto options = consuming(broker, directory / ".");
        options.listeners.emplace_back().at = sapwood::test::loopback();
        served at(options);
        co_await at.begin();
        co_await until([&] { return broker.connections() >= 2; });
        const std::string before =
            co_await at.exchange("GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        CHECK(has(before, "HTTP/1.1 200"));
        CHECK(has(before, "queue logs: not connected: "));
        CHECK_FALSE(has(before, "secret"));
        broker.does.refuses_login = 0;
        put_message(broker, "logs", "x", "1");
        co_await until([&] { return done(broker) == 1; });
        const std::string page =
            co_await at.exchange("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
        CHECK(has(page, "sapwood_collector_queue_up{queue=\"logs\"} 1\n"));
        CHECK(has(page, "sapwood_collector_queue_acknowledged_total{queue=\"logs\"} 1\n"));
        CHECK(has(page, "sapwood_collector_queue_unsettled{queue=\"logs\"} 0\n"));
        co_await at.end();
        co_await broker.end();
    }

    CO_TEST_CASE("told to end while its broker is away, it ends") {
        const sapwood::test::temporary_directory directory;
        fake_broker broker;
        broker.does.refuses_login = 403;
        served at(consuming(broker, directory / "."));
        co_await at.begin();
        co_await until([&] { return broker.connections() >= 2; });
        co_await at.end();
        CHECK(at.it->left().empty());
        CHECK(lines_in(directory / ".").empty());
        co_await broker.end();
    }

    CO_TEST_CASE("settings that are read again may name another broker") {
        const sapwood::test::temporary_directory directory;
        fake_broker one;
        fake_broker other;
        put_message(one, "logs", "x", "1");
        put_message(other, "logs", "y", "2");
        auto options = consuming(one, directory / ".");
        served at(options);
        co_await at.begin();
        co_await until([&] { return done(one) == 1; });
        at.it->reload(options);
        CHECK(one.connections() == 1);
        options.queues[0].url = url_of(other);
        CHECK(sapwood::collector::needs_restart(consuming(one, directory / "."), options).empty());
        at.it->reload(options);
        co_await until([&] { return done(other) == 1; });
        put_message(one, "logs", "x", "3");
        co_await at.end();
        CHECK(one.queues["logs"].ready.size() == 1);
        CHECK(lines_in(directory / ".").size() == 2);
        options.queues[0].queue = "others";
        CHECK(sapwood::collector::needs_restart(consuming(one, directory / "."), options) ==
              "queues");
        co_await one.end();
        co_await other.end();
    }
}
