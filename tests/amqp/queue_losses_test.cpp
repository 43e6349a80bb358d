// A queue that a collector consumes, where records are lost or their ids have to be found again:
// what was not kept is never acknowledged, and each message is one line.
#include "collector/served.hpp"
#include "consumed_queue.hpp"
#include "fake_broker.hpp"
#include "support/allocations.hpp"
#include "support/co_test.hpp"

#include <collector/message_ids.hpp>

#include <sapwood/event.hpp>
#include <sapwood/run.hpp>

#include <algorithm>
#include <atomic>
#include <doctest/doctest.h>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace {

using sapwood::level;
using sapwood::record;
using sapwood::task;
using sapwood::amqp::recent_ids;
using sapwood::collector::log_form;
using sapwood::collector::recent_lines_limits;
using sapwood::test::consuming;
using sapwood::test::done;
using sapwood::test::fake_broker;
using sapwood::test::has;
using sapwood::test::limited_files;
using sapwood::test::lines_in;
using sapwood::test::put_message;
using sapwood::test::served;
using sapwood::test::until;

using texts = std::vector<std::string>;

std::string line_of(int id, std::size_t bytes = 1) {
    return fmt::format("2026-11-27 1 info [amqp logs message_id={}] {}\n", id,
                       std::string(bytes, 'x'));
}

/// Of the queue "logs", of the ids from 0 on that `limits` let it find.
std::vector<int> found_in(const std::string& path, const recent_lines_limits& limits) {
    recent_ids ids(1000);
    read_message_ids(path, log_form::text, "logs", limits, ids);
    std::vector<int> found;
    for (int i = 0; i < 100; ++i) {
        if (!ids.insert("logs message_id=" + std::to_string(i))) {
            found.push_back(i);
        }
    }
    return found;
}

std::vector<int> from_to(int first, int last) {
    std::vector<int> all;
    for (int i = first; i <= last; ++i) {
        all.push_back(i);
    }
    return all;
}

/// With records that are longer than a batch, which then has to grow.
sapwood::collector::collector_options with_long_records(sapwood::collector::collector_options of) {
    of.logs[0].batch_bytes = 512u << 10;
    of.logs[0].queue_bytes = 1u << 20;
    of.limits.json.record_bytes_max = 2u << 20;
    return of;
}

} // namespace

TEST_SUITE("queue_losses") {
    TEST_CASE("ids are read until there are as many as may come again, however long the lines") {
        const sapwood::test::temporary_directory directory;
        std::ofstream log(directory / "app.log");
        for (int i = 0; i < 30; ++i) {
            log << line_of(i, 50'000) << "2026-11-27 1 info [http a] " << std::string(9000, 'y')
                << "\n";
        }
        log << "2026-11-27 1 info [amqp logs message_id=99] not whole";
        log.close();
        for (const std::size_t piece :
             {std::size_t{100}, std::size_t{4096}, std::size_t{65536}, std::size_t{1} << 20}) {
            CAPTURE(piece);
            recent_lines_limits limits{.bytes = 1000, .ids_least = 20, .piece_bytes = piece};
            const auto some = found_in(directory / "app.log", limits);
            CHECK(std::ranges::includes(some, from_to(10, 29)));
            CHECK((piece > 10'000 || some == from_to(10, 29)));
            limits.ids_least = 1000;
            CHECK(found_in(directory / "app.log", limits) == from_to(0, 29));
            limits.bytes_most = 10 * 59'100;
            CHECK(found_in(directory / "app.log", limits) == from_to(20, 29));
        }
    }

    TEST_CASE("told to end, nobody waits for the rest of a long log") {
        const sapwood::test::temporary_directory directory;
        std::ofstream(directory / "app.log") << line_of(1);
        recent_ids ids(3);
        std::atomic<bool> told_to_end = true;
        read_message_ids(directory / "app.log", log_form::text, "logs", {}, ids, &told_to_end);
        CHECK(ids.insert("logs message_id=1"));
        told_to_end = false;
        read_message_ids(directory / "app.log", log_form::text, "logs", {}, ids, &told_to_end);
        CHECK_FALSE(ids.insert("logs message_id=1"));
    }

    TEST_CASE("of ids that are read those of the oldest files are the first to be forgotten") {
        const sapwood::test::temporary_directory directory;
        std::ofstream(directory / "app.log") << line_of(3) << line_of(4);
        std::ofstream(directory / "app.log.1") << line_of(1) << line_of(2);
        recent_ids ids(3);
        read_message_ids(directory / "app.log", log_form::text, "logs", {}, ids);
        CHECK_FALSE(ids.insert("logs message_id=4"));
        CHECK_FALSE(ids.insert("logs message_id=3"));
        CHECK_FALSE(ids.insert("logs message_id=2"));
        CHECK(ids.insert("logs message_id=1"));
    }

    TEST_CASE("the newest ids may be forgotten, and no other is") {
        recent_ids ids(5);
        for (int i = 0; i < 12; ++i) {
            CHECK(ids.insert(std::to_string(i)));
        }
        ids.forget_newest(2);
        for (int i = 7; i <= 9; ++i) {
            CHECK_FALSE(ids.insert(std::to_string(i)));
        }
        CHECK(ids.insert("11"));
        CHECK(ids.insert("10"));
        ids.forget_newest(1);
        CHECK(ids.insert("10"));
        CHECK_FALSE(ids.insert("11"));
        ids.forget_newest(100);
        CHECK(ids.insert("11"));
    }

    CO_TEST_CASE("after a failure an id is known whose line is not in the log any more") {
        const sapwood::test::temporary_directory directory;
        fake_broker broker;
        std::ofstream(directory / "app.log.1") << line_of(1);
        served at(consuming(broker, directory / "."));
        co_await at.begin();
        put_message(broker, "logs", "x", "2");
        co_await until([&] { return done(broker) == 1; });
        std::filesystem::remove(std::string(directory / "app.log.1"));
        const amqp_channel_close_t close{541, amqp_cstring_bytes("INTERNAL_ERROR"), 0, 0};
        broker.say(1, AMQP_CHANNEL_CLOSE_METHOD, &close);
        co_await until([&] { return at.it->shared().queues[0].connections == 2; });
        put_message(broker, "logs", "x", "1");
        put_message(broker, "logs", "x", "2");
        put_message(broker, "logs", "x", "3");
        broker.hang_up();
        co_await until([&] { return done(broker) == 4; });
        CHECK(at.it->shared().queues[0].duplicates == 2);
        co_await at.end();
        CHECK(lines_in(directory / ".") ==
              texts{"amqp logs message_id=2] x", "amqp logs message_id=3] x"});
        co_await broker.end();
    }

    // Not in virtual time, whose ring needs memory.
    TEST_CASE("a message whose record is lost for want of memory comes again") {
        sapwood::run([]() -> task<> {
            const sapwood::test::temporary_directory directory;
            fake_broker broker;
            auto options = with_long_records(consuming(broker, directory / "."));
            served at(options);
            std::optional<sapwood::test::failing_allocations> none;
            sapwood::event has_recovered;
            co_await at.begin();
            co_await until([&] { return at.it->shared().queues[0].is_up; });
            sapwood::pipeline* const log = &at.it->shared().logs.front().log();
            {
                const limited_files short_ones(100);
                log->on_health([&](const sapwood::log_health& now) {
                    if (!now.is_degraded()) {
                        none.emplace(1);
                        has_recovered.set();
                    }
                });
                (void)co_await log->append(record(level::info, 0, std::string(200, 'a')));
                co_await until([&] { return log->counts().retries > 0; });
                (void)co_await log->append(record(level::info, 0, std::string(600'000, 'b')));
                co_await until([&] { return log->counts().queued == 0; });
                put_message(broker, "logs", std::string(300'000, 'x'), "1");
                put_message(broker, "logs", std::string(1'200'000, 'x'),
                            "2"); // a batch has to grow
                put_message(broker, "logs", "small",
                            "3"); // waits until the first one is in the file
                broker.hang_up(); // has it look at its queues
                co_await until([&] { return log->counts().queued == 2; });
            }
            co_await has_recovered.wait();
            while (log->counts().lines_lost == 0) {
                co_await sapwood::yield();
            }
            none.reset();
            log->on_health({});
            co_await until([&] { return done(broker) == 3; });
            co_await at.end();
            int lines = 0;
            for (const std::string& line : lines_in(directory / ".")) {
                lines += line.starts_with("amqp logs message_id=") ? 1 : 0;
            }
            CHECK(lines == 3);
            CHECK(has(sapwood::test::contents_of(directory / "app.log"), " message_id=2] xxx"));
            co_await broker.end();
        });
    }

    // Nor this one. With a log that is synced at intervals the record before has the time to be
    // asked for again.
    TEST_CASE("what comes again behind a record that is lost waits for its line to be durable") {
        sapwood::run([]() -> task<> {
            const sapwood::test::temporary_directory directory;
            fake_broker broker;
            auto options = with_long_records(consuming(broker, directory / "."));
            options.logs[0].durable = sapwood::durability::interval(std::chrono::seconds(2));
            options.queues[0].prefetch = 2; // each is a batch
            served at(options);
            co_await at.begin();
            co_await until([&] { return at.it->shared().queues[0].is_up; });
            sapwood::pipeline* const log = &at.it->shared().logs.front().log();
            std::optional<sapwood::test::failing_allocations> none;
            log->on_health([&](const sapwood::log_health& now) {
                if (!now.is_degraded()) {
                    none.emplace(1);
                }
            });
            {
                const limited_files short_ones(100);
                (void)co_await log->append(record(level::info, 0, std::string(200, 'a')));
                co_await until([&] { return log->counts().retries > 0; });
                (void)co_await log->append(record(level::info, 0, std::string(600'000, 'b')));
                co_await until([&] { return log->counts().queued == 0; });
                put_message(broker, "logs", std::string(300'000, 'x'), "1");
                put_message(broker, "logs", std::string(1'200'000, 'x'), "2"); // has to grow
                broker.dispatch_all();
                co_await until([&] { return log->counts().queued == 2; });
            }
            while (log->counts().lines_lost == 0) {
                co_await sapwood::yield();
            }
            none.reset();
            log->on_health({});
            const amqp_channel_close_t close{541, amqp_cstring_bytes("INTERNAL_ERROR"), 0, 0};
            broker.say(1, AMQP_CHANNEL_CLOSE_METHOD, &close);
            std::uint64_t durable_then = 0;
            co_await until([&] {
                durable_then = to_number(log->counts().durable);
                return done(broker) > 0;
            });
            CHECK(durable_then >= 3);
            CHECK(at.it->shared().queues[0].duplicates == 1);
            co_await until([&] { return done(broker) == 2; });
            co_await at.end();
            co_await broker.end();
        });
    }
}
