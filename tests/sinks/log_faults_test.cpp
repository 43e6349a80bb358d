// What a log meets that is not a disk's: memory that is lacking, and functions of the program's
// that throw. Nothing of it ends the log, and what is lost is counted and told.
#include "support/allocations.hpp"
#include "support/co_test.hpp"
#include "support/log_lines.hpp"

#include <sapwood/log_stats.hpp>
#include <sapwood/logger.hpp>
#include <sapwood/memory_log_sink.hpp>
#include <sapwood/sleep.hpp>

#include <chrono>
#include <cstddef>
#include <doctest/doctest.h>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

namespace {

using namespace sapwood;
using namespace std::chrono_literals;
using test::lines_of;
using strings = std::vector<std::string>;

/// No std::exception.
struct oddity {};

std::unique_ptr<log_layout> bare() {
    return std::make_unique<text_layout>(test::bare_form);
}

/// Throws for some messages, behind half of a line.
class odd_layout final : public log_layout {
  public:
    void append(const log_record& record, log_buffer& to) override {
        to.append("half a line ");
        if (record.message.starts_with("odd")) {
            throw oddity();
        }
        form_.append(record, to);
    }

  private:
    text_layout form_{test::bare_form};
};

bool adds_up(const log_stats& all) {
    bool holds = all.accepted == all.dropped() + all.taken && all.in_rings == 0;
    for (const auto& each : all.outputs) {
        holds = holds && each.in_flight == 0 &&
                all.taken + all.notes + each.notes ==
                    each.written + each.unwanted + each.held_back + each.lost;
    }
    return holds;
}

/// Records that lines of an output's own say are missing.
std::uint64_t told_as_lost(const strings& lines) {
    std::uint64_t lost = 0;
    for (const auto& line : lines) {
        if (line.find(" missing here: ") != line.npos && line.find(" of thread ") == line.npos) {
            lost += std::stoull(line.substr(line.find(' ') + 1));
        }
    }
    return lost;
}

} // namespace

TEST_SUITE("log_faults") {

    TEST_CASE("a record whose filter throws anything is written") {
        const test::memory_log to;
        auto options = to.options();
        options.outputs.front().filter = [](const log_record& record) -> bool {
            if (record.message == "odd") {
                throw oddity();
            }
            return record.message != "refused";
        };
        const logger log(std::move(options));
        log.info("odd");
        log.info("refused");
        log.info("plain");
        log.flush_blocking();
        CHECK(to.lines() == strings{"info odd", "info plain"});
    }

    TEST_CASE("a form that throws anything loses its records only, counted and told") {
        const test::memory_log good;
        const test::memory_log odd;
        auto options = good.options();
        options.outputs.push_back({.sink = std::make_unique<memory_log_sink>(odd.memory),
                                   .form = std::make_unique<odd_layout>()});
        const logger log(std::move(options));
        log.info("one");
        log.info("odd 1");
        log.info("odd 2");
        log.info("two");
        log.flush_blocking();
        CHECK(good.lines() == strings{"info one", "info odd 1", "info odd 2", "info two"});
        auto lines = odd.lines();
        REQUIRE(lines.size() == 3);
        CHECK(lines[0] == "half a line info one");
        std::sort(lines.begin(), lines.end()); // perhaps told before the last one comes
        CHECK(lines[1] == "half a line info two");
        CHECK(lines[2] == "half a line warning 2 records are missing here: memory was to have "
                          "them, and their form failed or had no memory \\(log)");
        CHECK(log.stats().outputs[1].lost == 2);
        CHECK(adds_up(log.stats()));
    }

    TEST_CASE("a sink that throws anything is tried again, and stops no other") {
        const test::memory_log good;
        std::string text;
        int failures = 0;
        {
            auto options = good.options();
            options.outputs.push_back(
                {.sink = std::make_unique<callback_log_sink>([&](std::string_view lines) {
                     if (++failures < 3) {
                         throw oddity();
                     }
                     text += lines;
                 }),
                 .form = bare()});
            const logger log(std::move(options));
            log.info("one");
            CHECK_THROWS_AS(log.flush_blocking(), std::system_error);
            CHECK(good.lines() == strings{"info one"});
            while (log.stats().outputs[1].written == 0) {
                std::this_thread::yield();
            }
            log.info("two");
            log.flush_blocking();
            CHECK(log.stats().outputs[1].failures == 2);
        }
        CHECK(good.lines() == strings{"info one", "info two"});
        CHECK(text == "info one\ninfo two\n");
    }

    CO_TEST_CASE("without memory no log ends, and nothing is lost that is not told") {
        std::size_t struck = 0;
        for (std::size_t nth = 1; nth <= 80; ++nth) {
            CAPTURE(nth);
            const test::memory_log to;
            auto options = to.options();
            options.ring_bytes = 4096;
            options.full.policy = log_full_policy::drop_newest;
            options.outputs.push_back({.sink = std::make_unique<null_log_sink>(),
                                       .recent = {.records_max = 100, .trigger = level::critical},
                                       .limits = {.repeats_within = 1h}});
            const logger log = co_await logger::on_this_loop(options);
            const logger other = log.child("other");
            for (int round = 0; round < 3; ++round) {
                for (int i = 0; i < 150; ++i) { // more than a ring holds
                    log.info("number {}", i);
                    other.debug("number {}", i);
                }
                log.dump_recent();
                log.reopen();
                const test::failing_allocations failing(nth);
                for (int turn = 0; turn < 8; ++turn) {
                    co_await yield();
                }
                struck += failing.struck() ? 1 : 0;
            }
            co_await sleep_for(10s); // virtual: whatever has failed is tried again
            co_await log.flush();
            const auto lines = to.lines();
            const log_stats stats = log.stats();
            CHECK(stats.accepted == 900);
            CHECK(adds_up(stats));
            CHECK(stats.outputs[0].lost == told_as_lost(lines));
            CHECK((stats.outputs[0].lost > 0 || test::missing_in(lines) == stats.dropped()));
            co_await log.close();
        }
        CHECK(struck > 20);
    }
}
