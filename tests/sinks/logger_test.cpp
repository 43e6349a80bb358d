// logger: from a call on any thread to whole lines at a sink.
#include "support/allocations.hpp"
#include "support/child_process.hpp"
#include "support/co_test.hpp" // shows vectors
#include "support/counted_calls.hpp"
#include "support/temporary_directory.hpp"

#include <sapwood/log_stats.hpp>
#include <sapwood/logger.hpp>
#include <sapwood/memory_log_sink.hpp>
#include <sapwood/run.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/when_all.hpp>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <doctest/doctest.h>
#include <fmt/chrono.h>
#include <fmt/ranges.h>
#include <map>
#include <memory>
#include <mutex>
#include <sstream>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

using namespace sapwood;
using namespace std::chrono_literals;
using test::temporary_directory;

/// Only the level and the message: the rest is not the same twice.
constexpr text_layout_options bare{.pattern = "%l %v"};

std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) {
        lines.push_back(line);
    }
    return lines;
}

/// A log into memory.
struct memory_log {
    std::shared_ptr<log_memory> memory = std::make_shared<log_memory>(64u << 20);

    logger_options options(std::string_view pattern = "%l %v") const {
        logger_options made;
        made.outputs.push_back(
            {.sink = std::make_unique<memory_log_sink>(memory),
             .form = std::make_unique<text_layout>(text_layout_options{.pattern = pattern})});
        return made;
    }

    std::vector<std::string> lines() const { return lines_of(memory->text()); }
};

/// A sink that holds back who writes to it, its thread and all, until it is let go.
class gate {
  public:
    void open() {
        {
            const std::lock_guard lock(mutex_);
            is_open_ = true;
        }
        changed_.notify_all();
    }

    void wait_until_entered() {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return entered_; });
    }

    void pass() {
        std::unique_lock lock(mutex_);
        entered_ = true;
        changed_.notify_all();
        changed_.wait(lock, [this] { return is_open_; });
    }

  private:
    std::mutex mutex_;
    std::condition_variable changed_;
    bool is_open_ = false;
    bool entered_ = false;
};

/// A log whose sink stands still until the gate opens.
struct gated_log {
    std::shared_ptr<log_memory> memory = std::make_shared<log_memory>(64u << 20);
    gate door;

    logger_options options(log_full full) {
        logger_options made;
        made.outputs.push_back(
            {.sink = std::make_unique<callback_log_sink>([this](std::string_view lines) {
                 door.pass();
                 memory->append(lines);
             }),
             .form = std::make_unique<text_layout>(bare),
             .batch_bytes = 1});
        made.ring_bytes = 4096;
        made.full = full;
        return made;
    }

    std::vector<std::string> lines() const { return lines_of(memory->text()); }
};

/// Keeps the log's loop for a while with each line.
class slow_form final : public log_layout {
  public:
    explicit slow_form(clock::duration each) : each_(each) {}

    void append(const log_record& record, log_buffer& to) override {
        const auto end = clock::now() + each_;
        while (clock::now() < end) {
        }
        form_.append(record, to);
    }

  private:
    const clock::duration each_;
    text_layout form_{bare};
};

/// A sink that is stuck in its first write until it is let go, without holding its thread.
class stuck_sink final : public log_sink {
  public:
    explicit stuck_sink(std::shared_ptr<log_memory> to) : to_(std::move(to)) {}

    task<> open() override {
        bell_ = detail::loop_bell::make();
        co_return;
    }

    task<> write(std::span<const char> lines) override {
        largest_ = std::max(largest_.load(), lines.size());
        co_await bell_->rung().wait();
        to_->append({lines.data(), lines.size()});
    }

    task<> close() override {
        bell_->retire();
        co_return;
    }

    std::string describe() const override { return "stuck sink"; }

    /// Any thread.
    void let_go() { bell_->ring(); }

    /// The largest write, in bytes. Any thread.
    std::size_t largest() const { return largest_; }

  private:
    std::atomic<std::size_t> largest_{0};
    std::shared_ptr<log_memory> to_;
    std::shared_ptr<detail::loop_bell> bell_;
};

/// Records that a gap line says are missing.
std::uint64_t missing_in(const std::vector<std::string>& lines) {
    std::uint64_t missing = 0;
    for (const auto& line : lines) {
        if (line.find(" are missing here") != std::string::npos) {
            missing += std::stoull(line.substr(line.find(' ') + 1));
        }
    }
    return missing;
}

std::uint64_t records_in(const std::vector<std::string>& lines) {
    std::uint64_t records = 0;
    for (const auto& line : lines) {
        records += line.find("number ") != std::string::npos ? 1 : 0;
    }
    return records;
}

struct point {
    int x;
    int y;
};

/// Logs when it is formatted.
struct talkative {
    const logger& log;
};

} // namespace

template <>
struct fmt::formatter<point> : fmt::formatter<int> {
    template <class Context>
    auto format(const point& p, Context& context) const {
        return fmt::format_to(context.out(), "({}, {})", p.x, p.y);
    }
};

template <>
struct fmt::formatter<talkative> : fmt::formatter<int> {
    template <class Context>
    auto format(const talkative& one, Context& context) const {
        one.log.info("inner");
        return fmt::format_to(context.out(), "outer");
    }
};

TEST_SUITE("logger") {

    TEST_CASE("what was logged is in the file when the logger is gone") {
        const temporary_directory directory;
        const std::string path = directory / "app.log";
        {
            logger log{{.path = path, .form = bare}};
            log.info("user {} did {} in {} us", 17, "something", 4u);
            log.warn("half of {:.1f} is {}", 3.0, 1.5);
            log.error("plain text");
        }
        CHECK(test::contents_of(path) == "info user 17 did something in 4 us\n"
                                         "warning half of 3.0 is 1.5\n"
                                         "error plain text\n");
    }

    TEST_CASE("a file that cannot be opened is an error of the constructor's") {
        CHECK_THROWS_AS(logger({.path = "/nowhere/to/be/found.log"}), std::system_error);
    }

    TEST_CASE("an option that makes no sense is named") {
        CHECK_THROWS_WITH_AS(logger({.ring_bytes = 5000}), doctest::Contains("ring_bytes"),
                             std::invalid_argument);
    }

    TEST_CASE("flush_blocking returns when everything logged before is with the sink") {
        const memory_log to;
        const logger log(to.options());
        for (int i = 0; i < 100; ++i) {
            log.info("number {}", i);
            log.flush_blocking();
            REQUIRE(to.lines().size() == static_cast<std::size_t>(i + 1));
        }
    }

    TEST_CASE("whatever fmt can format can be logged") {
        const memory_log to;
        const logger log(to.options());
        const std::vector<int> numbers{1, 2, 3};
        const std::string text = "abc";
        const char* const nothing = nullptr;
        log.info("{} {:>4} {:#x} {{}}", point{1, 2}, "r", 255);
        log.info("{}", fmt::join(numbers, "-"));
        log.info("{}{}{}{}", text, std::string_view("def"), 'g', true);
        log.info("{} {}", nothing, text.c_str());
        log.info("{:%S}", 90s);
        log.flush_blocking();
        CHECK(to.lines() == std::vector<std::string>{"info (1, 2)    r 0xff {}", "info 1-2-3",
                                                     "info abcdefgtrue", "info (null) abc",
                                                     "info 30"});
    }

    TEST_CASE("a formatter that logs does not disturb the record it is part of") {
        const memory_log to;
        const logger log(to.options());
        log.info("{}", talkative{log});
        log.flush_blocking();
        CHECK(to.lines() == std::vector<std::string>{"info inner", "info outer"});
    }

    TEST_CASE("fields stand behind the message, quoted where they must be") {
        const memory_log to;
        const logger log(to.options());
        log.warn("cache miss", kv("key", "a b"), kv("age", 12), kv("ok", false), kv("d", 0.5));
        log.warn("at {} of {}", 1, 2, kv("where", point{3, 4}), kv("bad key=", ""));
        log.flush_blocking();
        CHECK(to.lines() ==
              std::vector<std::string>{"warning cache miss key=\"a b\" age=12 ok=false d=0.5",
                                       "warning at 1 of 2 where=\"(3, 4)\" bad\\x20key\\x3d=\"\""});
    }

    TEST_CASE("user data cannot forge or break a line") {
        const memory_log to;
        const logger log(to.options());
        log.info("{}", std::string("a\ninfo forged\r\x1b[31m\0\x80", 21));
        log.info("{:>1}", "x\ny");
        log.info("f", kv("k\n", "v\" w=\n\xff"));
        log.text(level::info, "text {} \n");
        log.flush_blocking();
        CHECK(to.lines() ==
              std::vector<std::string>{"info a\\ninfo forged\\r\\x1b[31m\\x00\\x80", "info x\\ny",
                                       "info f k\\n=\"v\\\" w=\\n\\xff\"", "info text {} \\n"});
    }

    TEST_CASE("arguments below the level are not formatted") {
        const memory_log to;
        const logger log(to.options());
        log.debug("{}", talkative{log});
        CHECK_FALSE(log.enabled(level::debug));
        log.set_level(level::trace);
        log.debug("now {}", 1);
        log.set_level(level::off);
        log.critical("not this");
        log.flush_blocking();
        CHECK(to.lines() == std::vector<std::string>{"debug now 1"});
    }

    TEST_CASE("a child has its parent's level until it is given its own") {
        const memory_log to;
        const logger root(to.options("%n|%v"));
        const logger db = root.child("db");
        const logger pool = db.child("pool");
        db.set_level(level::debug);
        pool.debug("shown");
        root.debug("hidden");
        pool.set_level(level::error);
        db.set_level(level::info);
        pool.info("hidden");
        root.child("db.pool").error("the same one");
        root.info("root");
        root.flush_blocking();
        CHECK(to.lines() ==
              std::vector<std::string>{"db.pool|shown", "db.pool|the same one", "|root"});
    }

    TEST_CASE("levels come from the environment") {
        CHECK(test::in_child([] {
                  ::setenv("SAPWOOD_LOG", "error,app.db=debug,nonsense", 1);
                  const memory_log to;
                  auto options = to.options("%n|%v");
                  options.name = "app";
                  const logger log(std::move(options));
                  log.warn("hidden");
                  log.child("db").child("pool").debug("shown");
                  log.flush_blocking();
                  return to.memory->text();
              }) == "app.db.pool|shown\n");
    }

    TEST_CASE("every record of 64 threads is there once, each thread's in order") {
        const memory_log to;
        constexpr std::size_t threads = 64;
        constexpr std::size_t records = 500;
        {
            auto options = to.options("%v");
            options.ring_bytes = 4096; // full all the time
            const logger log(std::move(options));
            std::vector<std::thread> all;
            for (std::size_t t = 0; t < threads; ++t) {
                all.emplace_back([&log, t] {
                    for (std::size_t i = 0; i < records; ++i) {
                        log.info("{} {}", t, i);
                    }
                });
            }
            for (auto& each : all) {
                each.join();
            }
        }
        std::vector<std::size_t> next(threads);
        bool in_order = true;
        for (const auto& line : to.lines()) {
            std::istringstream in(line);
            std::size_t thread = 0;
            std::size_t record = 0;
            in >> thread >> record;
            in_order = in_order && thread < threads && next[thread]++ == record;
        }
        CHECK(in_order);
        CHECK(next == std::vector<std::size_t>(threads, records));
    }

    TEST_CASE("threads that take turns are in the log as they took them") {
        const memory_log to;
        constexpr std::uint32_t threads = 5;
        constexpr std::uint32_t records = 4000;
        std::vector<std::string> expected;
        {
            const logger log(to.options("%v"));
            std::atomic<std::uint32_t> next{0};
            std::vector<std::thread> all;
            for (std::uint32_t t = 0; t < threads; ++t) {
                all.emplace_back([&, t] {
                    for (std::uint32_t i = next.load(); i < records; i = next.load()) {
                        if ((i / 7 + i / 2 % 3) % threads == t) { // one or two turns in a row
                            log.info("{}", i);
                            next.store(i + 1);
                        } else {
                            std::this_thread::yield();
                        }
                    }
                });
            }
            for (auto& each : all) {
                each.join();
            }
        }
        for (std::uint32_t i = 0; i < records; ++i) {
            expected.push_back(std::to_string(i));
        }
        CHECK(to.lines() == expected);
    }

    TEST_CASE("what one thread logs after another has told it to comes behind it") {
        const memory_log to;
        constexpr int rounds = 2'000;
        {
            const logger log(to.options("%v"));
            std::atomic<int> turn{0};
            const auto play = [&](int me) {
                for (int i = me; i < rounds; i += 2) {
                    while (turn.load(std::memory_order_acquire) != i) {
                        std::this_thread::yield();
                    }
                    log.info("{}", i);
                    turn.store(i + 1, std::memory_order_release);
                }
            };
            std::thread other(play, 1);
            play(0);
            other.join();
        }
        const auto lines = to.lines();
        REQUIRE(lines.size() == rounds);
        for (std::size_t i = 0; i < rounds; ++i) {
            REQUIRE(lines[i] == std::to_string(i));
        }
    }

    TEST_CASE("threads that start late and end early lose nothing, and their rings go") {
        const memory_log to;
        {
            const logger log(to.options("%v"));
            for (int i = 0; i < 200; ++i) {
                std::thread([&] { log.info("number {}", i); }).join();
            }
        }
        CHECK(records_in(to.lines()) == 200);
    }

    TEST_CASE("a thread that has outlived a log writes to the next one") {
        const memory_log one;
        const memory_log other;
        {
            // Not a temporary: clang before 17 destroys those of a full expression that calls what
            // is consteval, as a format is, only at the end of the block.
            const logger first(one.options());
            first.info("first");
        }
        const logger second(other.options());
        second.info("second");
        second.flush_blocking();
        CHECK(one.lines() == std::vector<std::string>{"info first"});
        CHECK(other.lines() == std::vector<std::string>{"info second"});
    }

    TEST_CASE("a record longer than a quarter of a ring is cut at a character, and says so") {
        const memory_log to;
        auto options = to.options("%v");
        options.ring_bytes = 4096;
        const logger log(std::move(options));
        std::string text = "x";
        while (text.size() < 5'000) {
            text += "\xc3\xa4"; // an umlaut
        }
        log.info("{}", text);
        log.flush_blocking();
        const auto lines = to.lines();
        REQUIRE(lines.size() == 1);
        CHECK(lines[0].ends_with("\xc3\xa4 \\(cut)"));
        CHECK(lines[0].size() > 900);
    }

    TEST_CASE("a thread that is told to block waits, and nothing is missing") {
        gated_log to;
        {
            const logger log(to.options({.policy = log_full_policy::block}));
            std::thread producer([&] {
                for (int i = 0; i < 1'000; ++i) {
                    log.info("number {}", i);
                }
            });
            to.door.wait_until_entered();
            to.door.open();
            producer.join();
        }
        CHECK(records_in(to.lines()) == 1'000);
        CHECK(missing_in(to.lines()) == 0);
    }

    TEST_CASE("every policy that drops accounts for all that it dropped") {
        for (const auto policy : {log_full_policy::block_for, log_full_policy::drop_newest,
                                  log_full_policy::drop_oldest, log_full_policy::drop_below}) {
            CAPTURE(static_cast<int>(policy));
            gated_log to;
            {
                const logger log(to.options({.policy = policy, .at_most = 1us}));
                log.info("number first");
                to.door.wait_until_entered(); // nothing is taken from now on
                for (int i = 1; i < 1'000; ++i) {
                    log.info("number {}", i);
                }
                to.door.open();
                log.flush_blocking(); // a last record may be dropped: its gap is told all the same
                log.error("number last");
            }
            const auto lines = to.lines();
            CHECK(missing_in(lines) > 0);
            CHECK(records_in(lines) + missing_in(lines) == 1'001);
            const bool keeps_newest = policy == log_full_policy::drop_oldest;
            const auto has = [&](const std::string& line) {
                return std::find(lines.begin(), lines.end(), line) != lines.end();
            };
            CHECK(has("info number 999") == keeps_newest);
            CHECK(has("error number last"));
        }
    }

    TEST_CASE("a gap says whose records are missing, which ones and why") {
        gated_log to;
        {
            const logger log(to.options({.policy = log_full_policy::drop_newest}));
            log.info("number first");
            to.door.wait_until_entered();
            for (int i = 1; i < 1'000; ++i) {
                log.info("number {}", i);
            }
            to.door.open();
        }
        const auto lines = to.lines();
        REQUIRE_FALSE(lines.empty());
        const std::string& gap = lines.back();
        const auto kept = records_in(lines);
        CHECK(gap == fmt::format("warning {} records of thread {} are missing here, numbers {} to "
                                 "999: {} because the thread's ring was full \\(log)",
                                 1'000 - kept, ::gettid(), kept, 1'000 - kept));
    }

    TEST_CASE("a gap of one record is told as one") {
        const memory_log to;
        std::uint64_t kept = 0;
        sapwood::run([&]() -> task<> {
            auto options = to.options();
            options.ring_bytes = 4096;
            options.full.policy = log_full_policy::drop_newest;
            const logger log = co_await logger::on_this_loop(options);
            while (log.stats().dropped_ring_full == 0) {
                log.info("number {}", kept++);
            }
            --kept;
            co_await log.close();
        });
        REQUIRE(to.lines().size() == kept + 1);
        CHECK(to.lines().back() == fmt::format("warning 1 record of thread {} is missing here, "
                                               "number {}: 1 because the thread's ring was full "
                                               "\\(log)",
                                               ::gettid(), kept));
    }

    TEST_CASE("a loop is never blocked by a full ring, not even told to block") {
        gated_log to;
        {
            const logger log(to.options({.policy = log_full_policy::block}));
            log.info("number first");
            to.door.wait_until_entered();
            sapwood::run([&]() -> task<> {
                for (int i = 1; i < 1'000; ++i) {
                    log.info("number {}", i);
                }
                co_return;
            });
            to.door.open();
        }
        CHECK(records_in(to.lines()) < 1'000);
        CHECK(records_in(to.lines()) + missing_in(to.lines()) == 1'000);
    }

    TEST_CASE("a log shares a loop, which writes all of it before it ends") {
        const memory_log to;
        sapwood::run([&]() -> task<> {
            auto options = to.options("%v");
            const logger log = co_await logger::on_this_loop(options);
            log.info("number {}", 0);
            co_await log.flush();
            CHECK(records_in(to.lines()) == 1);
            std::thread([&] { log.info("number {}", 1); }).join();
            for (int i = 2; i < 100; ++i) {
                log.info("number {}", i);
                co_await yield();
            }
        });
        CHECK(records_in(to.lines()) == 100);
    }

    TEST_CASE("a closed log takes no more, and says nothing to who flushes it") {
        const memory_log to;
        sapwood::run([&]() -> task<> {
            const logger log(to.options());
            log.info("before");
            co_await log.close();
            log.info("after");
            co_await log.flush();
        });
        CHECK(to.lines() == std::vector<std::string>{"info before"});
    }

    TEST_CASE("a sink that fails is tried again, and the others do not wait for it") {
        const memory_log good;
        const memory_log bad;
        std::atomic<int> failures{3};
        auto options = good.options();
        options.outputs.push_back(
            {.sink = std::make_unique<callback_log_sink>([&](std::string_view lines) {
                 if (failures.fetch_sub(1) > 0) {
                     throw std::system_error(ENOSPC, std::generic_category(), "test sink");
                 }
                 bad.memory->append(lines);
             }),
             .form = std::make_unique<text_layout>(bare)});
        const logger log(std::move(options));
        log.info("number 1");
        CHECK_THROWS_AS(log.flush_blocking(), std::system_error);
        CHECK(good.lines() == std::vector<std::string>{"info number 1"});
        while (failures.load() >= 0) {
            std::this_thread::yield();
        }
        log.flush_blocking();
        CHECK(bad.lines() == std::vector<std::string>{"info number 1"});
    }

    TEST_CASE("one of several sinks that fails for long loses lines, and says how many") {
        const memory_log good;
        const memory_log bad;
        std::atomic<bool> fails{true};
        {
            auto options = good.options();
            options.outputs.push_back(
                {.sink = std::make_unique<callback_log_sink>([&](std::string_view lines) {
                     if (fails.load()) {
                         throw std::system_error(EIO, std::generic_category(), "test sink");
                     }
                     bad.memory->append(lines);
                 }),
                 .form = std::make_unique<text_layout>(bare),
                 .batch_bytes = 1'000});
            const logger log(std::move(options));
            for (int i = 0; i < 1'000; ++i) {
                log.info("number {}", i);
            }
            CHECK_THROWS_AS(log.flush_blocking(), std::system_error);
            fails = false;
        }
        CHECK(records_in(good.lines()) == 1'000);
        const auto missing = missing_in(bad.lines());
        CHECK(missing > 0);
        CHECK(records_in(bad.lines()) + missing == 1'000);
    }

    TEST_CASE("one of several sinks that is stuck does not hold up the others") {
        const memory_log good;
        const memory_log bad;
        {
            auto options = good.options();
            auto sink = std::make_unique<stuck_sink>(bad.memory);
            stuck_sink& stuck = *sink;
            options.outputs.push_back({.sink = std::move(sink),
                                       .form = std::make_unique<text_layout>(bare),
                                       .batch_bytes = 1'000,
                                       .stuck_after = 1ms});
            const logger log(std::move(options));
            for (std::uint64_t round = 1; round <= 3; ++round) { // more than waits for its sink
                for (int i = 0; i < 1'000; ++i) {
                    log.info("number {}", i);
                }
                CHECK_THROWS_AS(log.flush_blocking(), std::system_error);
                CHECK(records_in(good.lines()) == round * 1'000);
                CHECK(log.health().reason == std::errc::timed_out);
                CHECK(log.health().text == "stuck sink: it does not answer");
            }
            stuck.let_go();
            for (bool is_stuck = true; is_stuck;) {
                try {
                    log.flush_blocking();
                    is_stuck = false;
                } catch (const std::system_error&) { // not yet
                }
            }
            CHECK(!log.health().is_degraded());
        }
        const auto missing = missing_in(bad.lines());
        CHECK(missing > 0);
        CHECK(records_in(bad.lines()) + missing == 3'000);
    }

    TEST_CASE("a slow sink's batches do not grow while others get on") {
        const memory_log good;
        const memory_log slow;
        auto options = good.options();
        options.ring_bytes = 64u << 10;
        options.full = {.policy = log_full_policy::drop_newest};
        auto sink = std::make_unique<stuck_sink>(slow.memory);
        stuck_sink& stuck = *sink;
        options.outputs.push_back({.sink = std::move(sink),
                                   .form = std::make_unique<text_layout>(bare),
                                   .batch_bytes = 1'000,
                                   .stuck_after = 1h});
        const logger log(std::move(options));
        for (int i = 0; i < 200'000 && log.stats().dropped() < 1'000; ++i) {
            log.info("number {}", i);
        }
        CHECK(log.stats().dropped() > 0); // the rings are full behind it
        stuck.let_go();
        log.flush_blocking();
        CHECK(stuck.largest() < 1'000 + (64u << 10));
        CHECK(log.stats().outputs[1].lost == 0);
    }

    TEST_CASE("a call takes no memory and makes no system call") {
        sapwood::run([&]() -> task<> {
            const memory_log to;
            auto options = to.options();
            const logger log = co_await logger::on_this_loop(options);
            const std::string text = "text";
            std::size_t allocated = 0;
            const auto log_all = [&] {
                for (int i = 0; i < 1'000; ++i) {
                    log.info("number {} {:.3f} {}", i, 0.5 * i, text);
                    log.warn("fields", kv("text", text), kv("i", i));
                    log.debug("not wanted {}", i);
                }
            };
            log.set_level(level::info);
            log_all(); // the ring is there, and the consumer is awake
            co_await log.flush();
            log.info("number again"); // and it is awake again
            int calls = 0;
            {
                const test::counted_calls counting(calls);
                (void)::getppid();
            }
            CHECK(calls == 1);
            calls = 0;
            {
                const auto before = test::allocations();
                const test::counted_calls counting(calls);
                log_all();
                allocated = test::allocations() - before;
            }
            CHECK(calls == 0);
            CHECK(allocated == 0);
            co_await log.close();
            CHECK(records_in(to.lines()) == 2'001);
        });
    }

    TEST_CASE("a sink is not stuck because its loop was kept from running") {
        const memory_log good;
        const memory_log slow;
        constexpr int records = 200;
        {
            auto options = good.options();
            options.outputs.push_back({.sink = std::make_unique<memory_log_sink>(slow.memory),
                                       .form = std::make_unique<slow_form>(2ms),
                                       .batch_bytes = 100,
                                       .stuck_after = 1ms});
            const logger log(std::move(options));
            for (int i = 0; i < records; ++i) {
                log.info("number {}", i);
            }
            log.flush_blocking();
            CHECK(!log.health().is_degraded());
            CHECK(log.stats().outputs[1].lost == 0);
        }
        CHECK(records_in(good.lines()) == records);
        CHECK(records_in(slow.lines()) == records);
    }

    TEST_CASE("tasks wait for room in their thread's ring, and nothing is dropped") {
        const memory_log to;
        sapwood::run([&]() -> task<> {
            auto options = to.options("%v");
            options.ring_bytes = 4096;
            const logger log = co_await logger::on_this_loop(options);
            const auto produce = [&log]() -> task<> {
                for (int i = 0; i < 500; ++i) {
                    co_await log.room();
                    log.info("number {}", i);
                }
            };
            co_await when_all(produce(), produce(), produce());
            co_await log.close();
            co_await log.room(); // of a log that is closed: nobody waits
        });
        CHECK(records_in(to.lines()) == 1'500);
        CHECK(missing_in(to.lines()) == 0);
    }

    TEST_CASE("an output takes what its level and its filter let through") {
        const memory_log all;
        const memory_log some;
        auto options = all.options();
        options.outputs.push_back(
            {.sink = std::make_unique<memory_log_sink>(some.memory),
             .form = std::make_unique<text_layout>(text_layout_options{.pattern = "%v"}),
             .at_least = level::warning,
             .filter = [](const log_record& record) { return record.message != "not this"; }});
        const logger log(std::move(options));
        log.info("too low");
        log.warn("not this");
        log.warn("this");
        log.flush_blocking();
        CHECK(all.lines().size() == 3);
        CHECK(some.lines() == std::vector<std::string>{"this"});
    }

    TEST_CASE("std::exit and static destruction lose nothing") {
        const temporary_directory directory;
        const std::string path = directory / "exit.log";
        (void)test::in_child([&]() -> std::string {
            static const logger log{{.path = path, .form = bare}};
            std::thread([&] { log.info("thread"); }).join();
            log.info("main");
            std::exit(0);
        });
        CHECK(test::contents_of(path) == "info thread\ninfo main\n");
    }
}
