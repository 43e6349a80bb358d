// A queue that a collector consumes, where records are lost: what was not kept is never
// acknowledged.
#include "collector/served.hpp"
#include "consumed_queue.hpp"
#include "fake_broker.hpp"
#include "support/allocations.hpp"
#include "support/co_test.hpp"

#include <sapwood/event.hpp>
#include <sapwood/run.hpp>

#include <doctest/doctest.h>
#include <optional>
#include <string>

namespace {

using sapwood::level;
using sapwood::record;
using sapwood::task;
using sapwood::test::consuming;
using sapwood::test::done;
using sapwood::test::fake_broker;
using sapwood::test::has;
using sapwood::test::limited_files;
using sapwood::test::lines_in;
using sapwood::test::put_message;
using sapwood::test::served;
using sapwood::test::until;

} // namespace

TEST_SUITE("queue_losses") {
    // Not in virtual time, whose ring needs memory.
    TEST_CASE("a message whose record is lost for want of memory comes again") {
        sapwood::run([]() -> task<> {
            const sapwood::test::temporary_directory directory;
            fake_broker broker;
            auto options = consuming(broker, directory / ".");
            options.logs[0].batch_bytes = 512u << 10;
            options.logs[0].queue_bytes = 1u << 20;
            options.limits.json.record_bytes_max = 2u << 20;
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
}
