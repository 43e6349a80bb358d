// Threads that log, from their beginnings to their ends: early, late, made by whom they may.
#include "support/co_test.hpp" // shows vectors
#include "support/log_lines.hpp"

#include <sapwood/logger.hpp>

#include <atomic>
#include <csignal>
#include <ctime>
#include <doctest/doctest.h>
#include <fstream>
#include <future>
#include <memory>
#include <optional>
#include <pthread.h>
#include <semaphore>
#include <string>
#include <thread>
#include <unistd.h>
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

    TEST_CASE("a thread that the C library makes can log") {
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
        std::promise<void> is_over;
        {
            const logger log(to.options());
            std::thread([&, gone = log_is_gone.get_future()]() mutable {
                log.info("from a detached thread");
                logged.set_value();
                gone.wait();
                is_over.set_value_at_thread_exit();
            }).detach();
            logged.get_future().wait();
        }
        CHECK(to.lines() == strings{"info from a detached thread"});
        log_is_gone.set_value();
        is_over.get_future().wait();
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
}
