// Rings that are full: what each policy does with records, to the last one. Accepted is written or
// dropped and told, and the numbers in the gap lines are those of the records that are missing.
//
// SAPWOOD_TEST_STRESS_SECONDS=10 has 64 threads log for so long; without it they do for a moment.
#include "support/co_test.hpp" // shows vectors
#include "support/log_lines.hpp"

#include <sapwood/logger.hpp>
#include <sapwood/run.hpp>
#include <sapwood/sleep.hpp>

#include <array>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <memory>
#include <semaphore>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

namespace {

using namespace sapwood;
using namespace std::chrono_literals;

constexpr std::uint64_t records = 2'000;

constexpr std::array policies{log_full_policy::block, log_full_policy::block_for,
                              log_full_policy::drop_newest, log_full_policy::drop_oldest,
                              log_full_policy::drop_below};

/// A log into memory whose sink takes nothing until it is let go.
struct held_log {
    std::shared_ptr<log_memory> memory = std::make_shared<log_memory>(64u << 20);
    std::binary_semaphore entered{0};
    std::binary_semaphore let_go{0};
    bool is_first = true;

    logger_options options(log_full_policy policy) {
        logger_options made;
        made.outputs.push_back(
            {.sink = std::make_unique<callback_log_sink>([this](std::string_view lines) {
                 if (is_first) {
                     is_first = false;
                     entered.release();
                     let_go.acquire();
                 }
                 memory->append(lines);
             }),
             .form = std::make_unique<text_layout>(test::bare_form),
             .batch_bytes = 1});
        made.ring_bytes = 4096;
        made.full = {.policy = policy, .at_most = 1us};
        return made;
    }
};

struct account {
    std::uint64_t written = 0;
    std::uint64_t told = 0;
    /// Each number once, written or told, in order.
    bool is_exact = true;
    /// What tells of a gap says why, and that the log says so.
    bool has_reasons = true;

    void add(std::string_view line) {
        const auto number_behind = [&](std::string_view words) {
            std::uint64_t number = ~std::uint64_t{0};
            if (const auto at = line.find(words); at != line.npos) {
                const std::string_view text = line.substr(at + words.size());
                std::from_chars(text.data(), text.data() + text.size(), number);
            }
            return number;
        };
        if (line.find(" are missing here, numbers ") != line.npos) {
            const std::uint64_t first = number_behind("numbers ");
            const std::uint64_t last = number_behind(" to ");
            is_exact = is_exact && first == written + told && last >= first;
            told += last - first + 1;
            has_reasons = has_reasons && line.find(" because ") != line.npos &&
                          line.ends_with(log_record::own_mark);
        } else {
            is_exact = is_exact && number_behind("number ") == written + told;
            ++written;
        }
    }
};

account account_of(const held_log& log) {
    account all;
    for (const auto& line : test::lines_of(log.memory->text())) {
        all.add(line);
    }
    return all;
}

std::chrono::milliseconds stress_time() {
    const char* const setting = std::getenv("SAPWOOD_TEST_STRESS_SECONDS");
    const char* const ring = std::getenv("SAPWOOD_RING");
    // It is about threads, not about rings: once is enough.
    const bool is_second_run = ring != nullptr && std::string_view(ring) == "poll";
    return setting != nullptr && !is_second_run ? std::chrono::seconds(std::atoi(setting)) : 50ms;
}

} // namespace

TEST_SUITE("log_full") {

    TEST_CASE("a thread's records are written or told, each once, whatever the policy") {
        for (const auto policy : policies) {
            CAPTURE(static_cast<int>(policy));
            held_log to;
            {
                const logger log(to.options(policy));
                std::thread producer([&] {
                    log.info("number {}", 0);
                    to.entered.acquire(); // nothing is taken from now on
                    if (policy == log_full_policy::block) {
                        to.let_go.release(); // or it would wait for ever
                    }
                    for (std::uint64_t i = 1; i < records; ++i) {
                        log.info("number {}", i);
                    }
                    if (policy != log_full_policy::block) {
                        to.let_go.release();
                    }
                });
                producer.join();
            }
            const account all = account_of(to);
            CHECK(all.is_exact);
            CHECK(all.has_reasons);
            CHECK(all.written + all.told == records);
            CHECK((all.told == 0) == (policy == log_full_policy::block));
        }
    }

    TEST_CASE("a thread waits as long as block_for says before a record is dropped") {
        held_log to;
        auto options = to.options(log_full_policy::block_for);
        options.full.at_most = 20ms;
        const logger log(std::move(options));
        log.info("number {}", 0);
        to.entered.acquire();
        auto longest = clock::duration::zero();
        for (std::uint64_t i = 1; log.stats().dropped() == 0; ++i) {
            const auto began = clock::now();
            log.info("number {}", i);
            longest = clock::now() - began;
        }
        CHECK(longest >= 20ms);
        to.let_go.release();
    }

    TEST_CASE("every output is told that records are missing, whatever it takes") {
        held_log to;
        const test::memory_log errors;
        const test::memory_log filtered;
        {
            auto options = to.options(log_full_policy::drop_newest);
            options.outputs.push_back(std::move(errors.options().outputs.front()));
            options.outputs.back().at_least = level::critical;
            options.outputs.push_back(std::move(filtered.options().outputs.front()));
            options.outputs.back().filter = [](const log_record&) { return false; };
            const logger log(std::move(options));
            log.info("number {}", 0);
            to.entered.acquire();
            for (std::uint64_t i = 1; i < records; ++i) {
                log.info("number {}", i);
            }
            to.let_go.release();
        }
        const std::uint64_t told = account_of(to).told;
        CHECK(told > 0);
        for (const auto* each : {&errors, &filtered}) {
            account all;
            for (const auto& line : each->lines()) {
                REQUIRE(line.find(" are missing here, numbers ") != line.npos);
                all.add(line);
            }
            CHECK(all.told == told);
        }
    }

    TEST_CASE("a gap says why, however many there are") {
        logger_options options;
        const auto memory = std::make_shared<log_memory>(64u << 20);
        options.outputs.push_back({.sink = std::make_unique<memory_log_sink>(memory),
                                   .form = std::make_unique<text_layout>(test::bare_form)});
        options.ring_bytes = 4096;
        options.full = {.policy = log_full_policy::drop_newest};
        account all;
        {
            const logger log(std::move(options));
            for (std::uint64_t i = 0; i < 20 * records; ++i) {
                log.info("number {}", i);
            }
        }
        for (const auto& line : test::lines_of(memory->text())) {
            all.add(line);
        }
        CHECK(all.is_exact);
        CHECK(all.has_reasons);
        CHECK(all.written + all.told == 20 * records);
    }

    TEST_CASE("logs that end as soon as they have begun end") {
        for (int i = 0; i < 200; ++i) {
            const test::memory_log to;
            { const logger log(to.options()); }
            REQUIRE(to.lines().empty());
        }
    }

    TEST_CASE("a flush ends, although for each line that is written others are logged") {
        std::binary_semaphore wanted{0};
        std::binary_semaphore logged{0};
        std::atomic<bool> stop{false};
        logger_options options;
        options.outputs.push_back(
            {.sink = std::make_unique<callback_log_sink>([&](std::string_view) {
                 if (!stop.load()) {
                     wanted.release();
                     logged.acquire();
                 }
             }),
             .batch_bytes = 1});
        options.full.policy = log_full_policy::drop_oldest; // nobody waits for the consumer
        const logger log(std::move(options));
        std::thread other([&] {
            while (wanted.acquire(), !stop.load()) {
                for (int i = 0; i < 3; ++i) {
                    log.info("more");
                }
                logged.release();
            }
        });
        log.info("first");
        log.flush_blocking();
        log.flush_blocking();
        CHECK(log.stats().outputs[0].written >= 1);
        CHECK(log.stats().in_rings > 0); // what came meanwhile did not hold it up
        stop.store(true);
        wanted.release();
        logged.release();
        other.join();
    }

    TEST_CASE("an only output that fails for a while loses nothing, and rings fill behind it") {
        const auto memory = std::make_shared<log_memory>(64u << 20);
        std::counting_semaphore failed{0};
        std::atomic<bool> works{false};
        logger_options options;
        options.outputs.push_back(
            {.sink = std::make_unique<callback_log_sink>([&](std::string_view lines) {
                 if (!works.load()) {
                     failed.release();
                     throw std::system_error(std::make_error_code(std::errc::no_space_on_device));
                 }
                 memory->append(lines);
             }),
             .form = std::make_unique<text_layout>(test::bare_form),
             .batch_bytes = 512});
        options.ring_bytes = 4096;
        account all;
        {
            const logger log(std::move(options));
            std::thread producer([&] {
                for (std::uint64_t i = 0; i < records; ++i) {
                    log.info("number {}", i);
                }
            });
            failed.acquire();
            failed.acquire(); // by the second time the first batch has been full for long
            works.store(true);
            producer.join();
            log.flush_blocking();
            CHECK(log.stats().outputs[0].lost == 0);
        }
        for (const auto& line : test::lines_of(memory->text())) {
            all.add(line);
        }
        CHECK(all.is_exact);
        CHECK(all.written == records);
        CHECK(all.told == 0);
    }

    TEST_CASE("an output that fails while records are dropped tells of them when it works again") {
        held_log good;
        const auto memory = std::make_shared<log_memory>(64u << 20);
        std::atomic<bool> fails{true};
        auto options = good.options(log_full_policy::drop_newest);
        options.outputs.push_back(
            {.sink = std::make_unique<callback_log_sink>([&](std::string_view lines) {
                 if (fails.load()) {
                     throw std::system_error(std::make_error_code(std::errc::no_space_on_device));
                 }
                 memory->append(lines);
             }),
             .form = std::make_unique<text_layout>(test::bare_form),
             .batch_bytes = 1});
        {
            const logger log(std::move(options));
            log.info("number 0");
            good.entered.acquire();
            for (std::uint64_t i = 1; i < records; ++i) {
                log.info("number {}", i);
            }
            good.let_go.release();
            CHECK_THROWS_AS(log.flush_blocking(), std::system_error);
            fails = false;
        }
        CHECK(account_of(good).told > 0);
        std::uint64_t written = 0;
        std::uint64_t told = 0;
        for (const auto& line : test::lines_of(memory->text())) {
            std::uint64_t count = 0;
            if (line.find(" missing here") == line.npos) {
                ++written;
            } else {
                const std::string_view number = std::string_view(line).substr(sizeof("warning"));
                std::from_chars(number.data(), number.data() + number.size(), count);
            }
            told += count;
        }
        CHECK(written < records);
        CHECK(written + told == records);
    }

    TEST_CASE("what is logged when the log has been closed counts as dropped") {
        const logger log(test::memory_log().options());
        log.info("before");
        sapwood::run([&]() -> task<> { co_await log.close(); });
        log.info("after");
        log.info("after that");
        const log_stats stats = log.stats();
        CHECK(stats.taken == 1);
        CHECK(stats.dropped_after_end == 2);
        CHECK(stats.in_rings == 0);
        CHECK(stats.accepted == stats.dropped() + stats.taken);
    }

    TEST_CASE("records above the level to keep wait, those below it are dropped and told") {
        held_log to;
        {
            const logger log(to.options(log_full_policy::drop_below));
            std::thread producer([&] {
                log.info("number {}", 0);
                to.entered.acquire();
                for (std::uint64_t i = 1; i < records; ++i) {
                    log.info("number {}", i);
                }
                to.let_go.release();
                for (std::uint64_t i = records; i < 2 * records; ++i) {
                    log.warn("number {}", i); // log_full::keep itself
                }
            });
            producer.join();
        }
        const account all = account_of(to);
        CHECK(all.is_exact);
        CHECK(all.written + all.told == 2 * records);
        CHECK(all.told > 0);
        CHECK(all.told < records);
    }

    TEST_CASE(
        "a loop's records are written or told, and it is never held up, whatever the policy") {
        for (const auto policy : policies) {
            CAPTURE(static_cast<int>(policy));
            held_log to;
            {
                const logger log(to.options(policy));
                sapwood::run([&]() -> task<> {
                    log.info("number {}", 0);
                    to.entered.acquire();
                    for (std::uint64_t i = 1; i < records; ++i) {
                        log.info("number {}", i); // would wait for ever, if it did
                    }
                    to.let_go.release();
                    co_return;
                });
            }
            const account all = account_of(to);
            CHECK(all.is_exact);
            CHECK(all.written + all.told == records);
            CHECK(all.told > 0);
        }
    }

    TEST_CASE("a log of the same loop takes more than a ring holds without a deadlock") {
        for (const auto policy : policies) {
            CAPTURE(static_cast<int>(policy));
            const test::memory_log to;
            account all;
            sapwood::run([&]() -> task<> {
                auto options = to.options();
                options.ring_bytes = 4096;
                options.full = {.policy = policy, .at_most = 1us};
                const logger log = co_await logger::on_this_loop(options);
                for (std::uint64_t i = 0; i < records; ++i) {
                    log.info("number {}", i);
                    if (i % 500 == 0) {
                        co_await yield();
                    }
                }
            });
            for (const auto& line : to.lines()) {
                all.add(line);
            }
            CHECK(all.is_exact);
            CHECK(all.written + all.told == records);
            CHECK(all.told > 0);
        }
    }

    TEST_CASE("64 threads log at once, some waiting and some dropping, and every record is "
              "accounted for") {
        constexpr std::size_t threads = 64;
        for (const auto policy : {log_full_policy::block, log_full_policy::drop_oldest}) {
            CAPTURE(static_cast<int>(policy));
            std::atomic<std::uint64_t> logged{0};
            // Counted where they arrive: it may be many.
            std::uint64_t written = 0;
            std::uint64_t told = 0;
            std::vector<std::int64_t> last(threads, -1);
            bool in_order = true;
            logger_options options;
            options.outputs.push_back(
                {.sink = std::make_unique<callback_log_sink>([&](std::string_view lines) {
                     while (!lines.empty()) {
                         const std::string_view line = lines.substr(0, lines.find('\n'));
                         lines.remove_prefix(line.size() + 1);
                         std::uint64_t first = 0;
                         std::int64_t second = 0;
                         const auto [rest, error] =
                             std::from_chars(line.data(), line.data() + line.size(), first);
                         in_order = in_order && error == std::errc();
                         if (line.find(" missing here") != line.npos) {
                             told += first;
                             continue;
                         }
                         std::from_chars(rest + 1, line.data() + line.size(), second);
                         ++written;
                         in_order = in_order && first < threads && second > last[first % threads];
                         last[first % threads] = second;
                     }
                 }),
                 .form = std::make_unique<text_layout>(text_layout_options{.pattern = "%v"})});
            options.ring_bytes = 16u << 10;
            options.full.policy = policy;
            {
                const logger log(std::move(options));
                const auto end = std::chrono::steady_clock::now() + stress_time() / 2;
                std::vector<std::thread> all;
                for (std::size_t t = 0; t < threads; ++t) {
                    all.emplace_back([&, t] {
                        std::int64_t i = 0;
                        while (i < 100 || std::chrono::steady_clock::now() < end) {
                            for (int k = 0; k < 100; ++k, ++i) {
                                log.info("{} {}", t, i);
                            }
                        }
                        logged.fetch_add(static_cast<std::uint64_t>(i));
                    });
                }
                for (auto& each : all) {
                    each.join();
                }
            }
            CHECK(in_order);
            CHECK(written + told == logged.load());
            CHECK((told == 0 || policy != log_full_policy::block));
        }
    }
}
