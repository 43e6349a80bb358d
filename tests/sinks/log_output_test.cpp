// log_output: what an output keeps for when an error comes and what it holds back, through a
// logger.
#include "support/co_test.hpp"
#include "support/log_records.hpp"
#include "support/spoiled_log.hpp"
#include "support/system_calls.hpp"
#include "support/temporary_directory.hpp"

#include <sapwood/event_loop.hpp>
#include <sapwood/file_log_sink.hpp>
#include <sapwood/log_macros.hpp>
#include <sapwood/log_sink.hpp>
#include <sapwood/logger.hpp>
#include <sapwood/memory_log_sink.hpp>
#include <sapwood/sleep.hpp>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <doctest/doctest.h>
#include <liburing.h>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace sapwood;
using namespace std::chrono_literals;
using strings = std::vector<std::string>;

/// A log into memory, by an output with these options.
struct memory_log {
    std::shared_ptr<log_memory> memory = std::make_shared<log_memory>(64u << 20);

    log_output_options output(log_output_options made = {}) const {
        made.sink = std::make_unique<memory_log_sink>(memory);
        made.form = std::make_unique<text_layout>(text_layout_options{.pattern = "%l %v"});
        return made;
    }

    logger_options options(log_output_options made = {}) const {
        logger_options all;
        all.outputs.push_back(output(std::move(made)));
        return all;
    }

    strings lines() const { return test::lines_of(memory->text()); }
};

/// Takes nothing at the first tries, and knows when these came.
class refusing_sink final : public log_sink {
  public:
    static constexpr std::size_t tries_max = 8;

    refusing_sink(std::string name, std::vector<clock::time_point>& tries)
        : name_(std::move(name)),
          tries_(tries) {}

    task<> open() override { co_return; }

    task<> write(std::span<const char>) override {
        tries_.push_back(event_loop::current().now());
        if (tries_.size() < tries_max) {
            throw std::system_error(EIO, std::generic_category(), "test sink");
        }
        co_return;
    }

    task<> close() override { co_return; }

    std::string describe() const override { return name_; }

  private:
    const std::string name_;
    std::vector<clock::time_point>& tries_;
};

log_output_options keeping(log_recent recent) {
    log_output_options options;
    options.recent = recent;
    return options;
}

log_output_options limited(const log_limits& limits) {
    log_output_options options;
    options.limits = limits;
    return options;
}

task<bool> closes_well(const logger& log) {
    try {
        co_await log.close();
    } catch (const std::system_error&) {
        co_return false;
    }
    co_return true;
}

/// Records that lines say were held back.
std::uint64_t held_back_in(const strings& lines) {
    std::uint64_t held = 0;
    for (const auto& line : lines) {
        if (line.find(" held back: ") != std::string::npos) {
            held += std::stoull(line.substr(line.find(' ') + 1));
        }
    }
    return held;
}

std::uint64_t count_of(const strings& lines, std::string_view text) {
    std::uint64_t count = 0;
    for (const auto& line : lines) {
        count +=
            line.find(text) != std::string::npos && line.find("held back") == line.npos ? 1 : 0;
    }
    return count;
}

} // namespace

TEST_SUITE("log_output") {

    TEST_CASE("an error brings what was too low to be written, in front of it, once") {
        const memory_log to;
        const logger log(to.options(keeping({.records_max = 3})));
        for (int i = 0; i < 5; ++i) {
            log.debug("step {}", i);
        }
        log.info("shown");
        log.error("it failed");
        log.error("again");
        log.flush_blocking();
        CHECK(
            to.lines() ==
            strings{
                "info shown",
                "info kept until now, too low to be written: 3 records, and 2 before them \\(log)",
                "debug step 2", "debug step 3", "debug step 4", "info end of what was kept \\(log)",
                "error it failed", "error again"});
    }

    TEST_CASE("records below a logger's level are made for keeping only, and the level stays") {
        const memory_log keeps;
        const memory_log other;
        auto options = keeps.options(keeping({.records_max = 10, .trigger = level::critical}));
        options.outputs.push_back(other.output());
        options.threshold = level::warning;
        const logger log(std::move(options));
        CHECK(log.threshold() == level::warning);
        CHECK(log.enabled(level::debug));
        CHECK_FALSE(log.enabled(level::trace));
        log.trace("not even made");
        log.debug("debug");
        log.info("info");
        log.error("error");
        log.critical("critical");
        log.flush_blocking();
        CHECK(other.lines() == strings{"error error", "critical critical"});
        CHECK(keeps.lines() ==
              strings{"error error",
                      "info kept until now, too low to be written: 2 records \\(log)",
                      "debug debug", "info info", "info end of what was kept \\(log)",
                      "critical critical"});
    }

    TEST_CASE("records below an output's level are kept by it, and written by others") {
        const memory_log keeps;
        const memory_log other;
        auto kept = keeping({.records_max = 10});
        kept.at_least = level::warning;
        auto options = keeps.options(std::move(kept));
        options.outputs.push_back(other.output());
        const logger log(std::move(options));
        log.info("info");
        log.flush_blocking();
        CHECK(keeps.lines().empty());
        CHECK(other.lines() == strings{"info info"});
        log.error("error");
        log.flush_blocking();
        CHECK(count_of(keeps.lines(), "info info") == 1);
    }

    TEST_CASE("a logger that is off makes nothing, and one that is changed keeps what it says") {
        const memory_log to;
        const logger log(to.options(keeping({.records_max = 10})));
        const logger quiet = log.child("quiet");
        quiet.set_level(level::off);
        quiet.critical("never");
        quiet.debug("never");
        log.set_level(level::debug);
        log.debug("written");
        log.set_level(level::info);
        log.debug("kept");
        log.flush_blocking();
        CHECK(to.lines() == strings{"debug written"});
        log.error("error");
        log.flush_blocking();
        CHECK(count_of(to.lines(), "debug kept") == 1);
        CHECK(count_of(to.lines(), "never") == 0);
    }

    TEST_CASE("what is kept is written on demand, too") {
        const memory_log to;
        {
            const logger log(to.options(keeping({.records_max = 10})));
            log.debug("kept");
            log.dump_recent();
            log.flush_blocking();
            CHECK(count_of(to.lines(), "debug kept") == 1);
            log.dump_recent(); // nothing is left
            log.flush_blocking();
        }
        CHECK(to.lines().size() == 3);
    }

    TEST_CASE("the file at a path keeps and holds back as well") {
        const memory_log to;
        logger_options options{.path = "/dev/null/none"};
        options.limits = {.all = {.records = 10, .interval = 5ns}};
        CHECK_THROWS_WITH_AS(logger(std::move(options)), doctest::Contains("all.interval"),
                             std::invalid_argument);
    }

    TEST_CASE("each call has its rate, and a log's end tells what was held back") {
        const memory_log to;
        {
            const logger log(
                to.options(limited({.each_call_site = {.records = 5, .interval = 1h}})));
            for (int i = 0; i < 100; ++i) {
                log.info("one {}", i);
                log.info("other {}", i);
                SAPWOOD_WARN(log, "macro {}", i);
            }
        }
        const auto lines = to.lines();
        CHECK(count_of(lines, "info one ") == 5);
        CHECK(count_of(lines, "info other ") == 5);
        CHECK(count_of(lines, "warning macro ") == 5);
        CHECK(held_back_in(lines) == 3 * 95);
    }

    CO_TEST_CASE("what is held back is told when its time is over, though nothing comes") {
        const memory_log to;
        auto options = to.options(limited({.repeats_within = 1h}));
        const logger log = co_await logger::on_this_loop(options);
        for (int i = 0; i < 10; ++i) {
            log.info("same");
        }
        co_await log.flush();
        CHECK(to.lines() == strings(1, "info same"));
        co_await sleep_for(1h + 1s); // virtual
        co_await log.flush();
        CHECK(held_back_in(to.lines()) == 9);
        co_await log.close();
        CHECK(to.lines().size() == 2);
    }

    TEST_CASE("with all limits, written and told are all that was logged, by any thread") {
        const memory_log to;
        constexpr int threads = 4;
        constexpr int records = 5'000;
        {
            const logger log(to.options(limited({.each_call_site = {.records = 50, .interval = 1ms},
                                                 .all = {.records = 70, .interval = 1ms},
                                                 .repeats_within = 1ms})));
            std::vector<std::thread> all;
            for (int t = 0; t < threads; ++t) {
                all.emplace_back([&log] {
                    for (int i = 0; i < records; ++i) {
                        if (i % 3 == 0) {
                            log.info("number {}", i);
                        } else {
                            log.warn("number same");
                        }
                    }
                });
            }
            for (auto& each : all) {
                each.join();
            }
        }
        const auto lines = to.lines();
        CHECK(held_back_in(lines) > 0);
        CHECK(count_of(lines, "number ") + held_back_in(lines) == threads * records);
    }

    TEST_CASE("an output that fails tells what it held back when it works again") {
        const memory_log good;
        const memory_log bad;
        std::atomic<bool> fails{true};
        {
            auto options = good.options();
            auto restrained = limited({.repeats_within = 1h});
            restrained.sink = std::make_unique<callback_log_sink>([&](std::string_view lines) {
                if (fails.load()) {
                    throw std::system_error(EIO, std::generic_category(), "test sink");
                }
                bad.memory->append(lines);
            });
            restrained.form =
                std::make_unique<text_layout>(text_layout_options{.pattern = "%l %v"});
            options.outputs.push_back(std::move(restrained));
            const logger log(std::move(options));
            for (int i = 0; i < 100; ++i) {
                log.info("number same");
            }
            CHECK_THROWS_AS(log.flush_blocking(), std::system_error);
            fails = false;
        }
        CHECK(good.lines().size() == 100);
        CHECK(count_of(bad.lines(), "number same") + held_back_in(bad.lines()) == 100);
    }

    CO_TEST_CASE("two outputs do not try again together, and each later and later") {
        std::vector<clock::time_point> one;
        std::vector<clock::time_point> other;
        logger_options options;
        options.crash_handler = false;
        options.outputs.push_back({.sink = std::make_unique<refusing_sink>("one", one)});
        options.outputs.push_back({.sink = std::make_unique<refusing_sink>("other", other)});
        const logger log = co_await logger::on_this_loop(options);
        log.info("a record");
        while (one.size() < refusing_sink::tries_max || other.size() < refusing_sink::tries_max) {
            co_await sleep_for(10ms);
        }
        clock::duration all = 50ms;
        for (std::size_t i = 1; i < refusing_sink::tries_max; ++i) {
            for (const auto* tries : {&one, &other}) {
                const auto waited = (*tries)[i] - (*tries)[i - 1];
                CHECK(waited >= all / 2);
                CHECK(waited <= all);
            }
            CHECK(one[i] != other[i]);
            all = std::min<clock::duration>(2 * all, 1s);
        }
        co_await log.close();
    }

    TEST_CASE(
        "a log that ends tries its last batches again for as long as its disk may take them") {
        struct ending {
            int error;
            int failures;
            bool is_kept;
            clock::duration at_least;
            clock::duration at_most;
        };

        constexpr int always = 1 << 20;
        for (const ending& each :
             {ending{ENOSPC, 4, true, 0s, 1s}, ending{EDQUOT, 4, true, 0s, 1s},
              ending{EIO, 1, true, 0s, 1s}, ending{ENOMEM, 4, true, 0s, 1s},
              ending{ENOSPC, always, false, 5s, 6s}, ending{EROFS, always, false, 0s, 1s}}) {
            CAPTURE(each.error);
            CAPTURE(each.failures);
            const test::temporary_directory folder;
            test::loop_with_writes loop(test::perform);
            int failures = each.failures;
            loop.ring().answer = [&](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
                return test::is_write(sqe) && failures-- > 0 ? -each.error : test::perform(sqe);
            };
            loop.run([](const std::string& path, const ending& how) -> task<> {
                logger_options options;
                options.crash_handler = false;
                options.outputs.push_back({.sink = std::make_unique<file_log_sink>(path)});
                const logger log = co_await logger::on_this_loop(options);
                log.info("last words");
                const auto began = event_loop::current().now();
                CHECK(co_await closes_well(log) == how.is_kept);
                const auto took = event_loop::current().now() - began;
                CHECK(took >= how.at_least);
                CHECK(took < how.at_most);
                CHECK(log.stats().outputs[0].lost == (how.is_kept ? 0 : 1));
                CHECK((test::contents_of(path).find("last words\n") != std::string::npos) ==
                      how.is_kept);
            }(folder / "log", each));
        }
    }

    TEST_CASE("a log that ends waits for memory, and for no sink of which it does not know more") {
        for (const bool is_memory : {true, false}) {
            CAPTURE(is_memory);
            test::loop_with_writes loop(test::perform);
            int failures = 0;
            std::string text;
            const auto write = [&](std::string_view lines) {
                if (++failures < 5) {
                    if (is_memory) {
                        throw std::bad_alloc();
                    }
                    throw std::system_error(ENOSPC, std::generic_category(), "test sink");
                }
                text += lines;
            };
            loop.run([](auto& sink, bool waits, int& tries, std::string& got) -> task<> {
                logger_options options;
                options.crash_handler = false;
                options.outputs.push_back({.sink = std::make_unique<callback_log_sink>(sink)});
                const logger log = co_await logger::on_this_loop(options);
                log.info("last words");
                const auto began = event_loop::current().now();
                CHECK(co_await closes_well(log) == waits);
                CHECK(event_loop::current().now() - began < 1s);
                CHECK(tries <= (waits ? 5 : 2));
                CHECK(got.ends_with("last words\n") == waits);
            }(write, is_memory, failures, text));
        }
    }

    TEST_CASE("what a log has in its rings when it ends waits for its disk, too") {
        const test::temporary_directory folder;
        test::loop_with_writes loop(test::perform);
        int failures = 6;
        loop.ring().answer = [&](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
            return test::is_write(sqe) && failures-- > 0 ? -ENOSPC : test::perform(sqe);
        };
        loop.run([](const std::string& path) -> task<> {
            logger_options options;
            options.crash_handler = false;
            options.outputs.push_back(
                {.sink = std::make_unique<file_log_sink>(path), .batch_bytes = 1000});
            const logger log = co_await logger::on_this_loop(options);
            for (int i = 0; i < 200; ++i) {
                log.info("number {} of those that do not fit into two batches", i);
            }
            co_await log.close();
            CHECK(log.stats().outputs[0].lost == 0);
            CHECK(test::lines_of(test::contents_of(path)).size() == 200);
        }(folder / "log"));
    }

    TEST_CASE(
        "every output has its level, its form and its filter, and one that fails stops none") {
        const memory_log all;
        const memory_log warnings;
        const memory_log filtered;
        int failures = 0;
        {
            auto options = all.options();
            log_output_options high;
            high.at_least = level::warning;
            options.outputs.push_back(warnings.output(std::move(high)));
            log_output_options some;
            some.filter = [](const log_record& record) { return record.logger == "db"; };
            options.outputs.push_back(filtered.output(std::move(some)));
            options.outputs.push_back(
                {.sink = std::make_unique<callback_log_sink>([&](std::string_view) {
                     ++failures;
                     throw std::runtime_error("always");
                 })});
            options.outputs.push_back({.sink = std::make_unique<null_log_sink>()});
            const logger log(std::move(options));
            log.info("one");
            log.child("db").error("two");
        }
        CHECK(all.lines() == strings{"info one", "error two"});
        CHECK(warnings.lines() == strings{"error two"});
        CHECK(filtered.lines() == strings{"error two"});
        CHECK(failures > 0);
    }
}
