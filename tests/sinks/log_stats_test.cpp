// log_stats: what a log counts, and the page of it.
#include "support/co_test.hpp"

#include <sapwood/log_stats.hpp>
#include <sapwood/logger.hpp>
#include <sapwood/loop_bell.hpp>
#include <sapwood/memory_log_sink.hpp>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstdint>
#include <doctest/doctest.h>
#include <map>
#include <memory>
#include <mutex>
#include <regex>
#include <set>
#include <span>
#include <sstream>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace sapwood;
using namespace std::chrono_literals;

log_output_options output_to(std::function<void(std::string_view)> call) {
    return {.sink = std::make_unique<callback_log_sink>(std::move(call)),
            .form = std::make_unique<text_layout>(text_layout_options{.pattern = "%v"})};
}

/// Stands still until it is opened.
class gate {
  public:
    void open() {
        const std::lock_guard lock(mutex_);
        is_open_ = true;
        changed_.notify_all();
    }

    void pass() {
        std::unique_lock lock(mutex_);
        entered_ = true;
        changed_.notify_all();
        changed_.wait(lock, [this] { return is_open_; });
    }

    void wait_until_entered() {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return entered_; });
    }

  private:
    std::mutex mutex_;
    std::condition_variable changed_;
    bool is_open_ = false;
    bool entered_ = false;
};

/// Has news when it is asked to reopen.
class telling_sink final : public log_sink {
  public:
    explicit telling_sink(std::string& to) : to_(to) {}

    task<> open() override { co_return; }

    task<> write(std::span<const char> lines) override {
        to_.append(lines.data(), lines.size());
        co_return;
    }

    task<log_news> tend(log_sink_requests asked) override {
        co_return asked.reopen ? log_news(level::info, "news") : log_news();
    }

    task<> close() override { co_return; }

    std::string describe() const override { return "telling sink"; }

  private:
    std::string& to_;
};

/// Takes its time when it is asked to reopen, until it is let go.
class slow_to_reopen final : public log_sink {
  public:
    task<> open() override {
        bell_ = detail::loop_bell::make();
        co_return;
    }

    task<> write(std::span<const char>) override { co_return; }

    task<log_news> tend(log_sink_requests asked) override {
        if (asked.reopen) {
            co_await bell_->rung().wait();
        }
        co_return log_news();
    }

    task<> close() override {
        bell_->retire();
        co_return;
    }

    std::string describe() const override { return "slow sink"; }

    /// Any thread.
    void let_go() { bell_->ring(); }

  private:
    std::shared_ptr<detail::loop_bell> bell_;
};

/// Nothing has come out that has not gone in, and nothing is counted twice.
bool adds_up(const log_stats& all) {
    constexpr std::uint64_t many = std::uint64_t{1} << 62; // what an underflow looks like
    bool holds = all.in_rings < many && all.accepted == all.dropped() + all.taken + all.in_rings;
    for (const auto& each : all.outputs) {
        holds = holds && each.in_flight < many &&
                all.taken + all.notes + each.notes <=
                    each.written + each.unwanted + each.held_back + each.lost + each.in_flight;
    }
    return holds;
}

void flush_until_it_works(const logger& log) {
    for (bool has_failed = true; has_failed;) {
        try {
            log.flush_blocking();
            has_failed = false;
        } catch (const std::system_error&) {
        }
    }
}

std::uint64_t lines_in(const std::string& text) {
    return static_cast<std::uint64_t>(std::count(text.begin(), text.end(), '\n'));
}

} // namespace

TEST_SUITE("log_stats") {

    TEST_CASE("every record is accounted for, of the log and of each output") {
        std::string all_text;
        std::string some_text;
        logger_options options{.name = "app"};
        options.outputs.push_back(output_to([&](std::string_view lines) { all_text += lines; }));
        options.outputs.push_back(output_to([&](std::string_view lines) { some_text += lines; }));
        options.outputs.back().at_least = level::warning;
        options.outputs.back().filter = [](const log_record& record) {
            return record.message != "filtered";
        };
        const logger log(std::move(options));
        log.debug("no record");
        log.info("one");
        log.warn("two");
        log.warn("filtered");
        log.flush_blocking();
        const log_stats stats = log.child("db").stats();
        CHECK(stats.name == "app");
        CHECK(stats.accepted == 3);
        CHECK(stats.dropped() == 0);
        CHECK(stats.taken == 3);
        CHECK(stats.in_rings == 0);
        CHECK(stats.notes == 0);
        CHECK(stats.threads_seen == 1);
        CHECK(stats.threads_alive == 1);
        CHECK(stats.ring_bytes == 512u << 10);
        CHECK(stats.ring_bytes_used == 0);
        CHECK(stats.ring_bytes_high > 0);
        CHECK(stats.ring_bytes_high < 512);
        CHECK(stats.flushes == 1);
        CHECK(stats.visits > 0);
        REQUIRE(stats.outputs.size() == 2);
        CHECK(stats.outputs[0].sink == "callback");
        CHECK(stats.outputs[0].written == 3);
        CHECK(stats.outputs[0].bytes_written == all_text.size());
        CHECK(stats.outputs[0].write_times.count() >= 1);
        CHECK(stats.outputs[0].write_times.sum >= stats.outputs[0].write_times.max);
        CHECK(stats.outputs[1].written == 1);
        CHECK(stats.outputs[1].unwanted == 2);
        CHECK(stats.outputs[1].in_flight == 0);
        CHECK(some_text == "two\n");
        CHECK(adds_up(stats));
    }

    TEST_CASE("accepted is written and dropped, whatever a full ring means") {
        for (const auto policy :
             {log_full_policy::block, log_full_policy::block_for, log_full_policy::drop_newest,
              log_full_policy::drop_oldest, log_full_policy::drop_below}) {
            CAPTURE(static_cast<int>(policy));
            gate door;
            std::string text;
            logger_options options{.ring_bytes = 4096, .full = {.policy = policy, .at_most = 1us}};
            options.outputs.push_back(output_to([&](std::string_view lines) {
                door.pass();
                text += lines;
            }));
            options.outputs.back().batch_bytes = 1;
            const logger log(std::move(options));
            log.info("first");
            door.wait_until_entered();
            std::thread producer([&] {
                for (int i = 0; i < 500; ++i) {
                    log.info("number {}", i);
                }
            });
            if (policy != log_full_policy::block) {
                producer.join();
                const log_stats full = log.stats();
                CHECK(full.accepted == 501);
                CHECK(full.in_rings > 0);
                CHECK(full.ring_bytes_used > 2048);
                CHECK(full.dropped() > 0);
                CHECK(adds_up(full));
                door.open();
            } else {
                door.open();
                producer.join();
            }
            log.flush_blocking();
            const log_stats stats = log.stats();
            CHECK(stats.accepted == 501);
            CHECK(stats.in_rings == 0);
            CHECK(stats.accepted == stats.outputs[0].written - stats.notes + stats.dropped());
            CHECK(stats.outputs[0].in_flight == 0);
            CHECK(lines_in(text) == stats.outputs[0].written);
            CHECK((stats.dropped_ring_full > 0) ==
                  (policy == log_full_policy::block_for || policy == log_full_policy::drop_newest));
            CHECK((stats.dropped_made_room > 0) == (policy == log_full_policy::drop_oldest));
            CHECK((stats.dropped_below_level > 0) == (policy == log_full_policy::drop_below));
            CHECK(adds_up(stats));
        }
    }

    TEST_CASE("numbers add up at every moment, on every thread") {
        logger_options options{.ring_bytes = 4096,
                               .full = {.policy = log_full_policy::drop_oldest}};
        options.outputs.push_back(output_to([](std::string_view) {}));
        options.outputs.push_back(output_to([](std::string_view) {}));
        options.outputs.back().at_least = level::error;
        const logger log(std::move(options));
        std::atomic<int> running{3};
        std::vector<std::thread> threads;
        for (int t = 0; t < 3; ++t) {
            threads.emplace_back([&] {
                for (int i = 0; i < 5'000; ++i) {
                    log.info("number {}", i);
                }
                --running;
            });
        }
        log_stats last;
        bool holds = true;
        bool grows = true;
        while (running > 0) {
            const log_stats now = log.stats();
            holds = holds && adds_up(now);
            grows = grows && now.accepted >= last.accepted && now.taken >= last.taken &&
                    now.dropped() >= last.dropped();
            last = now;
        }
        for (auto& each : threads) {
            each.join();
        }
        CHECK(holds);
        CHECK(grows);
        log.flush_blocking();
        last = log.stats();
        CHECK(last.accepted == 15'000);
        CHECK(last.taken + last.dropped() == 15'000);
        CHECK(last.outputs[0].written == last.taken + last.notes);
        CHECK(last.outputs[1].unwanted == last.taken); // but told of those that were dropped
        CHECK(last.outputs[1].written == last.notes);
    }

    TEST_CASE("a log's first notes are no records, whenever somebody looks") {
        // Whoever looks may be held up between any two numbers; a log that is fresh has few records
        // and, where its ring is small, many notes.
        std::atomic<bool> is_over{false};
        bool holds = true;
        bool grows = true;
        std::mutex changing;
        std::unique_ptr<const logger> shown;
        int round = 0;
        std::thread looking([&] {
            log_stats last;
            int looked_at = 0;
            while (!is_over) {
                const std::lock_guard lock(changing);
                if (shown != nullptr) {
                    const log_stats now = shown->stats();
                    last = std::exchange(looked_at, round) == round ? last : log_stats();
                    holds = holds && adds_up(now);
                    grows = grows && now.accepted >= last.accepted && now.taken >= last.taken;
                    last = now;
                }
            }
        });
        for (int i = 0; i < 100; ++i) {
            logger_options options{.ring_bytes = 4096,
                                   .full = {.policy = log_full_policy::drop_oldest}};
            options.outputs.push_back(output_to([](std::string_view) {}));
            const logger log(std::move(options));
            {
                const std::lock_guard lock(changing);
                shown = std::make_unique<const logger>(log);
                ++round;
            }
            for (int record = 0; record < 200; ++record) {
                log.info("number {}", record);
            }
            const std::lock_guard lock(changing);
            shown.reset();
        }
        is_over = true;
        looking.join();
        CHECK(holds);
        CHECK(grows);
    }

    TEST_CASE("what threads that have ended logged stays counted") {
        logger_options options;
        options.outputs.push_back(output_to([](std::string_view) {}));
        const logger log(std::move(options));
        for (int i = 0; i < 20; ++i) {
            std::thread([&] { log.info("number {}", i); }).join();
            log.flush_blocking();
        }
        const log_stats stats = log.stats();
        CHECK(stats.accepted == 20);
        CHECK(stats.threads_seen == 20);
        CHECK(stats.threads_alive == 0);
        CHECK(stats.outputs[0].written == 20);
    }

    TEST_CASE("failures are counted, and what they lose") {
        std::atomic<int> failures{2};
        logger_options options;
        options.outputs.push_back(output_to([](std::string_view) {}));
        options.outputs.push_back(output_to([&](std::string_view) {
            if (failures.fetch_sub(1) > 0) {
                throw std::system_error(ENOSPC, std::generic_category(), "test sink");
            }
        }));
        const logger log(std::move(options));
        log.info("one");
        CHECK_THROWS_AS(log.flush_blocking(), std::system_error);
        CHECK(log.stats().outputs[1].is_failing);
        while (failures >= 0) {
            std::this_thread::yield();
        }
        log.flush_blocking();
        const log_stats stats = log.stats();
        CHECK(stats.outputs[0].failures == 0);
        CHECK(stats.outputs[1].failures == 2);
        CHECK_FALSE(stats.outputs[1].is_failing);
        CHECK(stats.outputs[1].write_times.count() == 3);
        CHECK(stats.outputs[1].written == 1);
    }

    TEST_CASE("health says which outputs fail and why, until they work again") {
        std::atomic<int> first_error{0};
        std::atomic<int> second_error{0};
        const auto failing = [](std::atomic<int>& error) {
            return output_to([&error](std::string_view) {
                if (error != 0) {
                    throw std::system_error(error, std::generic_category(), "test sink");
                }
            });
        };
        logger_options options;
        options.outputs.push_back(output_to([](std::string_view) {}));
        options.outputs.push_back(failing(first_error));
        options.outputs.push_back(failing(second_error));
        const logger log(std::move(options));
        CHECK(!log.health().is_degraded());
        second_error = EIO;
        log.info("one");
        CHECK_THROWS_AS(log.flush_blocking(), std::system_error);
        log_health health = log.health();
        CHECK(health.is_degraded());
        CHECK(health.reason == std::errc::io_error);
        CHECK(health.text == "callback: test sink: Input/output error");
        CHECK(!log.stats().outputs[1].health.is_degraded());
        CHECK(log.stats().outputs[2].health.text == "test sink: Input/output error");
        first_error = ENOSPC;
        log.info("two");
        CHECK_THROWS_AS(log.flush_blocking(), std::system_error);
        health = log.health();
        CHECK(health.reason == std::errc::no_space_on_device);
        CHECK(health.text == "callback: test sink: No space left on device; callback: test sink: "
                             "Input/output error");
        first_error = 0;
        second_error = 0;
        flush_until_it_works(log);
        health = log.health();
        CHECK(!health.is_degraded());
        CHECK(!health.reason);
        CHECK(health.text.empty());
    }

    TEST_CASE("an output that fails for another reason, or whose text is long, is told as it is") {
        std::string text(1'000, 'x');
        std::atomic<int> error{EIO};
        std::atomic<int> failures{0};
        logger_options options;
        options.outputs.push_back(output_to([&](std::string_view) {
            if (const int how = error; how != 0) {
                ++failures;
                throw std::system_error(how, std::generic_category(), text);
            }
        }));
        const logger log(std::move(options));
        log.info("one");
        CHECK_THROWS_AS(log.flush_blocking(), std::system_error);
        CHECK(log.health().text == "callback: " + std::string(256, 'x'));
        error = ENOSPC;
        // One that had begun before, one that has failed since, and it is known: the next begins.
        for (const int before = failures; failures < before + 3;) {
            std::this_thread::yield();
        }
        CHECK(log.health().reason == std::errc::no_space_on_device);
        error = 0;
        flush_until_it_works(log);
        CHECK(!log.health().is_degraded());
    }

    TEST_CASE("an output that does not answer between two writes is told of, until it does") {
        logger_options options;
        auto sink = std::make_unique<slow_to_reopen>();
        slow_to_reopen& slow = *sink;
        options.outputs.push_back({.sink = std::move(sink), .stuck_after = 1ms});
        const logger log(std::move(options));
        log.reopen();
        CHECK_THROWS_AS(log.flush_blocking(), std::system_error);
        CHECK(log.health().reason == std::errc::timed_out);
        CHECK(log.health().text == "slow sink: it does not answer");
        slow.let_go();
        flush_until_it_works(log);
        CHECK(!log.health().is_degraded()); // though nothing was written since
    }

    TEST_CASE("health is of one piece, whenever another thread looks") {
        std::atomic<int> calls{0};
        logger_options options;
        options.outputs.push_back(output_to([&](std::string_view) {
            constexpr int errors[] = {EIO, ENOSPC, 0};
            if (const int error = errors[calls.fetch_add(1) % 3]; error != 0) {
                throw std::system_error(error, std::generic_category(), "test sink");
            }
        }));
        const logger log(std::move(options));
        std::atomic<bool> is_over{false};
        bool holds = true;
        std::thread looking([&] {
            while (!is_over) {
                const log_health now = log.health();
                holds = holds && now.is_degraded() == static_cast<bool>(now.reason) &&
                        now.text == (now.reason ? "callback: test sink: " + now.reason.message()
                                                : std::string());
            }
        });
        for (int record = 0; record < 5; ++record) {
            log.info("number {}", record);
            while (log.stats().outputs[0].written <= static_cast<std::uint64_t>(record)) {
                std::this_thread::yield();
            }
        }
        is_over = true;
        looking.join();
        CHECK(holds);
    }

    TEST_CASE("what a sink tells is a line of its own in the account, and in the log") {
        std::string text;
        logger_options options;
        options.outputs.push_back(
            {.sink = std::make_unique<telling_sink>(text),
             .form = std::make_unique<text_layout>(text_layout_options{.pattern = "%v"})});
        const logger log(std::move(options));
        log.info("one");
        log.flush_blocking();
        log.reopen();
        log.flush_blocking();
        log.info("two");
        log.flush_blocking();
        const log_stats stats = log.stats();
        CHECK(text == "one\nnews \\(log)\ntwo\n");
        CHECK(stats.outputs[0].notes == 1);
        CHECK(stats.outputs[0].written == 3);
        CHECK(stats.outputs[0].in_flight == 0);
        CHECK(stats.accepted == 2);
        CHECK(adds_up(stats));
    }

    TEST_CASE("a page has each family once, with its type, and buckets that grow") {
        log_stats one;
        one.name = "app";
        one.accepted = 5;
        one.dropped_made_room = 2;
        log_output_stats output;
        output.sink = "log file app.log";
        output.written = 3;
        output.notes = 2;
        output.is_failing = true;
        output.write_times.counts = {1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
        output.write_times.sum = 6s;
        output.write_times.max = 5'900ms;
        one.outputs.push_back(output);
        log_stats other;
        other.name = "audit";
        const log_stats both[] = {one, other};
        std::string page;
        write_metrics(page, both);

        std::istringstream in(page);
        std::set<std::string> families;
        std::string family;
        const std::regex sample(
            R"re(([a-z_]+)\{[a-z]+="([^"\\\n]|\\["\\n])*"(,[a-z]+="([^"\\\n]|\\["\\n])*")*\} [0-9.e+-]+)re");
        for (std::string line; std::getline(in, line);) {
            CAPTURE(line);
            if (line.starts_with("# HELP ")) {
                family = line.substr(7, line.find(' ', 7) - 7);
                REQUIRE(families.insert(family).second);
            } else if (line.starts_with("# TYPE ")) {
                REQUIRE(line.starts_with("# TYPE " + family + " "));
            } else {
                std::smatch parts;
                REQUIRE(std::regex_match(line, parts, sample));
                REQUIRE(parts[1].str().starts_with(family));
            }
        }
        const auto has = [&](const std::string& line) {
            return page.find(line + "\n") != std::string::npos;
        };
        CHECK(has("# TYPE sapwood_log_records_accepted_total counter"));
        CHECK(has("sapwood_log_records_accepted_total{log=\"app\"} 5"));
        CHECK(has("sapwood_log_records_accepted_total{log=\"audit\"} 0"));
        CHECK(has("sapwood_log_records_dropped_total{log=\"app\",reason=\"made_room\"} 2"));
        const std::string labels = "{log=\"app\",output=\"0\",sink=\"log file app.log\"";
        CHECK(has("sapwood_log_output_lines_total" + labels + "} 3"));
        CHECK(has("sapwood_log_output_notes_total" + labels + "} 2"));
        CHECK(has("sapwood_log_output_failing" + labels + "} 1"));
        CHECK(has("# TYPE sapwood_log_output_write_seconds histogram"));
        CHECK(has("sapwood_log_output_write_seconds_bucket" + labels + ",le=\"1e-05\"} 1"));
        CHECK(has("sapwood_log_output_write_seconds_bucket" + labels + ",le=\"0.001\"} 3"));
        CHECK(has("sapwood_log_output_write_seconds_bucket" + labels + ",le=\"5\"} 3"));
        CHECK(has("sapwood_log_output_write_seconds_bucket" + labels + ",le=\"+Inf\"} 4"));
        CHECK(has("sapwood_log_output_write_seconds_sum" + labels + "} 6"));
        CHECK(has("sapwood_log_output_write_seconds_count" + labels + "} 4"));
        CHECK(has("sapwood_log_output_write_seconds_max" + labels + "} 5.9"));
    }

    TEST_CASE("names on a page are escaped") {
        log_stats one;
        one.name = "a\"b\\c\nd \xc3\xa4";
        std::string page;
        write_metrics(page, one);
        CHECK(page.find("{log=\"a\\\"b\\\\c\\nd \xc3\xa4\"} 0\n") != std::string::npos);
        one.name = "\xff";
        page.clear();
        write_metrics(page, one);
        CHECK(page.find("{log=\"\\\\xff\"} 0\n") != std::string::npos);
    }
}
