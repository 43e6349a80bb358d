// Threads that log, from their beginnings to their ends: early, late, made by whom they may.
#include "support/co_test.hpp" // shows vectors
#include "support/log_lines.hpp"

#include <sapwood/event_loop.hpp>
#include <sapwood/log_backend.hpp>
#include <sapwood/logger.hpp>
#include <sapwood/loop_bell.hpp>
#include <sapwood/run.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>
#include <sapwood/timeout.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <ctime>
#include <doctest/doctest.h>
#include <fstream>
#include <future>
#include <memory>
#include <optional>
#include <pthread.h>
#include <semaphore>
#include <span>
#include <string>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

using namespace sapwood;
using test::memory_log;

using strings = std::vector<std::string>;

struct last_word {
    const logger* log = nullptr;

    ~last_word() {
        if (log != nullptr) {
            log->info("from a destructor");
        }
    }
};

std::size_t resident_bytes() {
    std::size_t total = 0;
    std::size_t resident = 0;
    std::ifstream("/proc/self/statm") >> total >> resident;
    return resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

/// Its consumer stands still in its first write until it is let go.
class held_sink final : public log_sink {
  public:
    std::binary_semaphore& is_held;
    std::binary_semaphore& may_go;

    held_sink(std::binary_semaphore& held, std::binary_semaphore& go) : is_held(held), may_go(go) {}

    task<> open() override { co_return; }

    task<> write(std::span<const char>) override {
        if (!std::exchange(was_held_, true)) {
            is_held.release();
            may_go.acquire();
        }
        co_return;
    }

    task<> close() override { co_return; }

    std::string describe() const override { return "held sink"; }

  private:
    bool was_held_ = false;
};

/// A log whose consumer stands still.
class held_log {
  public:
    held_log() {
        logger_options options{.ring_bytes = 4096};
        options.outputs.push_back(
            {.sink = std::make_unique<held_sink>(is_held_, may_go_),
             .form = std::make_unique<text_layout>(text_layout_options{.pattern = "%v"})});
        log_.emplace(std::move(options));
        log_->info("held");
        is_held_.acquire();
    }

    held_log(const held_log&) = delete;
    held_log& operator=(const held_log&) = delete;

    ~held_log() { end(); }

    const logger& operator*() const { return *log_; }

    /// On a loop. Then room() has to wait, on any loop of the thread's.
    void fill_ring() const {
        while (log_->room().await_ready()) {
            log_->info("one more");
        }
    }

    /// Returns when its consumer has ended.
    void end() {
        if (log_.has_value()) {
            may_go_.release();
            log_.reset();
        }
    }

  private:
    std::binary_semaphore is_held_{0};
    std::binary_semaphore may_go_{0};
    std::optional<logger> log_;
};

/// room() of a task whose time is over: it has asked for room, and does not wait.
task<> ask_for_room(const logger& log) {
    bool is_over = false;
    try {
        co_await timeout(std::chrono::seconds(0), log.room());
    } catch (const std::system_error& failure) {
        is_over = failure.code() == std::errc::timed_out;
    }
    CHECK(is_over);
}

/// Memory of that size which was just given back, as much of it as malloc has at hand, so that who
/// still uses it is found out also without a sanitizer.
class taken_memory {
  public:
    explicit taken_memory(std::size_t bytes) {
        for (std::string& each : pieces_) {
            each.assign(bytes - 1, filling);
        }
    }

    [[nodiscard]] bool is_untouched() const {
        return std::ranges::all_of(pieces_, [](const std::string& each) {
            return std::ranges::all_of(each, [](char c) { return c == filling; });
        });
    }

  private:
    static constexpr char filling = '\x5a';
    std::array<std::string, 64> pieces_;
};

} // namespace

TEST_SUITE("log_threads") {

    TEST_CASE("a thread-local's destructor can log, with a ring that is there or a first one") {
        for (const bool has_ring : {true, false}) {
            const memory_log to;
            {
                const logger log(to.options());
                std::thread([&] {
                    static thread_local last_word word; // made before the ring: destroyed after it
                    word.log = &log;
                    if (has_ring) {
                        log.info("from the thread");
                    }
                }).join();
            }
            CHECK(to.lines() == (has_ring
                                     ? strings{"info from the thread", "info from a destructor"}
                                     : strings{"info from a destructor"}));
        }
    }

    TEST_CASE("thread-locals of many threads log while the consumer takes rings away") {
        const memory_log to;
        {
            const logger log(to.options());
            for (int round = 0; round < 50; ++round) {
                std::vector<std::thread> all;
                for (int t = 0; t < 4; ++t) {
                    all.emplace_back([&] {
                        static thread_local last_word word;
                        word.log = &log;
                        log.info("number {}", round);
                    });
                }
                for (auto& each : all) {
                    each.join();
                }
                log.flush_blocking();
            }
        }
        CHECK(test::records_in(to.lines()) == 200);
        CHECK(to.lines().size() == 400);
    }

    TEST_CASE("a destructor of a key of pthreads can log") {
        const memory_log to;
        {
            const logger log(to.options());
            pthread_key_t key{};
            REQUIRE(::pthread_key_create(&key, [](void* with) {
                        static_cast<const logger*>(with)->info("from a key's destructor");
                    }) == 0);
            std::thread([&] {
                ::pthread_setspecific(key, &log);
                log.info("from the thread");
            }).join();
            ::pthread_key_delete(key);
        }
        CHECK(to.lines() == strings{"info from the thread", "info from a key's destructor"});
    }

    TEST_CASE("a thread of plain pthreads can log") {
        const memory_log to;
        {
            const logger log(to.options());
            pthread_t thread{};
            REQUIRE(::pthread_create(
                        &thread, nullptr,
                        [](void* with) -> void* {
                            static_cast<const logger*>(with)->info("from a pthread");
                            ::pthread_exit(nullptr);
                        },
                        const_cast<logger*>(&log)) == 0);
            ::pthread_join(thread, nullptr);
        }
        CHECK(to.lines() == strings{"info from a pthread"});
    }

    // The thread sanitizer does not see such threads begin, and cannot work in them.
    TEST_CASE("a thread that the C library makes can log" * doctest::skip(test::has_tsan)) {
        const memory_log to;
        {
            static std::binary_semaphore logged{0};
            const logger log(to.options());
            sigevent when{};
            when.sigev_notify = SIGEV_THREAD;
            when.sigev_value.sival_ptr = const_cast<logger*>(&log);
            when.sigev_notify_function = [](sigval with) {
                static_cast<const logger*>(with.sival_ptr)->info("from a timer");
                logged.release();
            };
            timer_t timer{};
            REQUIRE(::timer_create(CLOCK_MONOTONIC, &when, &timer) == 0);
            itimerspec soon{};
            soon.it_value.tv_nsec = 1;
            REQUIRE(::timer_settime(timer, 0, &soon, nullptr) == 0);
            logged.acquire();
            ::timer_delete(timer);
        }
        CHECK(to.lines() == strings{"info from a timer"});
    }

    TEST_CASE("a detached thread may outlive the log that it has written to") {
        const memory_log to;
        std::promise<void> logged;
        std::promise<void> log_is_gone;
        static std::binary_semaphore is_over{0};

        struct telling {
            ~telling() { is_over.release(); }
        };

        {
            const logger log(to.options());
            std::thread([&, gone = log_is_gone.get_future()]() mutable {
                static thread_local telling end;
                (void)end;
                log.info("from a detached thread");
                logged.set_value();
                gone.wait();
            }).detach();
            logged.get_future().wait();
        }
        CHECK(to.lines() == strings{"info from a detached thread"});
        log_is_gone.set_value();
        is_over.acquire();
    }

    TEST_CASE("a copy of a logger that a detached thread has keeps the log alive") {
        const memory_log to;
        std::promise<void> logger_is_gone;
        std::promise<void> is_over;
        {
            std::optional<logger> log(to.options());
            std::thread([&, copy = std::optional<logger>(*log),
                         gone = logger_is_gone.get_future()]() mutable {
                gone.wait();
                copy->info("from a detached thread");
                copy.reset();
                is_over.set_value();
            }).detach();
        }
        logger_is_gone.set_value();
        is_over.get_future().wait();
        CHECK(to.lines() == strings{"info from a detached thread"});
    }

    TEST_CASE("a thousand short-lived threads leave no memory behind") {
        const memory_log to;
        constexpr int threads = 1'000;
        // Rings are given back when the consumer has nothing else to do.
        constexpr std::size_t growth_max = 128u << 20; // all rings: 512 MiB
        const logger log(to.options());
        std::thread([&] { log.info("number {}", -1); }).join();
        log.flush_blocking();
        const std::size_t before = resident_bytes();
        std::size_t most = before;
        for (int i = 0; i < threads; ++i) {
            std::thread([&] { log.info("number {}", i); }).join();
            if (i % 50 == 49) {
                log.flush_blocking();
                most = std::max(most, resident_bytes());
            }
        }
        CHECK(test::records_in(to.lines()) == threads + 1);
        CHECK(most - before < growth_max);
    }

    CO_TEST_CASE("who asks for room and finds some wakes those that have waited for it") {
        detail::log_backend backend{
            {.ring_bytes = 4096, .full = {}, .wants_location = false, .wants_task = false}};
        detail::log_producer& mine = *backend.producer();
        detail::log_ring_header& ring = mine.memory.header();
        constexpr std::size_t frame_bytes = 64;
        bool is_half_full = false;
        while (!is_half_full || mine.writer.has_room()) {
            REQUIRE(mine.writer.reserve_slowly(frame_bytes, is_half_full) != nullptr);
            mine.writer.commit(frame_bytes);
        }
        const auto wait = [&]() -> task<> { co_await detail::room_awaiter(backend, mine); };
        auto waiting = spawn(wait());
        co_await yield();
        CHECK_FALSE(waiting.done());
        CHECK(ring.waits_for_room == 2);

        // What a consumer stores first when it ends a visit. Before it looks whether somebody waits
        // another task asks: who looks then finds nobody.
        ring.tail = ring.head.load();
        CHECK_FALSE(backend.must_wait_for_room(mine));
        CHECK(ring.waits_for_room == 0);
        co_await yield();
        CHECK(waiting.done());
    }

    TEST_CASE("a loop forgets the bell of a ring that goes, also where it was just rung") {
        const memory_log next_one;
        sapwood::run([&]() -> task<> {
            const logger next(next_one.options()); // this thread has no ring in it yet
            held_log first;
            first.fill_ring();
            co_await ask_for_room(*first);
            first.end(); // and rings
            next.info("frees the ring that nobody else has");
            const taken_memory bells(sizeof(detail::loop_bell));
            const taken_memory rings(sizeof(detail::log_producer) + alignof(detail::log_producer));
            co_await yield();
            co_await next.flush(); // with a bell that is made here
            CHECK(bells.is_untouched());
            CHECK(rings.is_untouched());
        });
        CHECK(next_one.lines().size() == 1);
    }

    TEST_CASE("so does a loop whose thread asks for room on another one") {
        held_log log;
        event_loop first;
        const auto ask = [&]() -> task<> {
            log.fill_ring();
            co_await ask_for_room(*log);
        };
        first.run(ask());
        {
            event_loop second;
            second.run(ask());
        }
        const taken_memory bells(sizeof(detail::loop_bell));
        first.run(ask()); // with a bell that is made here
        CHECK(bells.is_untouched());
        log.end();
    }
}
