// worker_pool: lanes that keep their order, and system calls that are broken off without flooding
// their thread with signals.
#include "worker_pool.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <ctime>
#include <doctest/doctest.h>
#include <initializer_list>
#include <latch>
#include <poll.h>
#include <pthread.h>
#include <unistd.h>
#include <vector>

namespace {

using sapwood::doorbell;
using sapwood::worker_pool;

constexpr worker_pool::options few{.threads_max = 4, .file_running_max = 2, .path_running_max = 4};
constexpr worker_pool::lane_key one_file{.device = 1, .inode = 1};

/// Runs until it is let go on.
class held_job final : public worker_pool::job {
  public:
    std::int32_t perform() noexcept override {
        begun.count_down();
        go_on.wait();
        return 7;
    }

    std::latch begun{1};
    std::latch go_on{1};
};

/// Waits for a byte that never comes, in a call that a signal breaks off.
class reading_job final : public worker_pool::job {
  public:
    reading_job() { REQUIRE(::pipe(ends_.data()) == 0); }

    ~reading_job() {
        ::close(ends_[0]);
        ::close(ends_[1]);
    }

    std::int32_t perform() noexcept override {
        char byte = 0;
        return ::read(ends_[0], &byte, 1) < 0 ? -errno : 0;
    }

  private:
    std::array<int, 2> ends_{};
};

/// Takes no signal until it is let go on, and says how many were waiting for it then.
class deaf_job final : public worker_pool::job {
  public:
    std::int32_t perform() noexcept override {
        sigset_t all;
        sigset_t before;
        ::sigfillset(&all);
        ::pthread_sigmask(SIG_SETMASK, &all, &before);
        begun.count_down();
        go_on.wait();
        const timespec at_once{};
        std::int32_t count = 0;
        while (::sigtimedwait(&all, nullptr, &at_once) > 0) {
            ++count;
        }
        ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
        return count;
    }

    std::latch begun{1};
    std::latch go_on{1};
};

/// Until as many jobs are back, in the order in which they ended.
std::vector<worker_pool::job*> take(worker_pool& from, doorbell& bell, std::size_t count) {
    std::vector<worker_pool::job*> taken;
    while (taken.size() < count) {
        bell.want(true);
        from.take_finished([&](worker_pool::job& each) { taken.push_back(&each); });
        if (taken.size() < count) {
            pollfd rung{.fd = bell.fd(), .events = POLLIN, .revents = 0};
            REQUIRE(::poll(&rung, 1, 20'000) == 1);
            std::uint64_t times = 0;
            REQUIRE(::read(bell.fd(), &times, sizeof(times)) == sizeof(times));
        }
    }
    return taken;
}

} // namespace

TEST_SUITE("worker_pool") {

    TEST_CASE("a job comes back with what its call returned") {
        doorbell bell;
        worker_pool pool(few, bell);
        held_job job;
        REQUIRE(pool.submit(job, {}, false) == 0);
        job.begun.wait();
        CHECK_FALSE(pool.has_finished());
        CHECK_FALSE(pool.withdraw(job));
        job.go_on.count_down();
        CHECK(take(pool, bell, 1).front() == &job);
        CHECK(job.performed_value() == 7);
    }

    TEST_CASE(
        "changes of one file come one after the other, and beside them what changes nothing") {
        doorbell bell;
        worker_pool pool(few, bell);
        held_job first;
        held_job second;
        held_job reading;
        REQUIRE(pool.submit(first, one_file, true) == 0);
        REQUIRE(pool.submit(second, one_file, true) == 0);
        REQUIRE(pool.submit(reading, {.device = 1, .inode = 2}, false) == 0);
        first.begun.wait();
        reading.begun.wait();
        CHECK_FALSE(second.begun.try_wait());
        first.go_on.count_down();
        second.begun.wait();
        reading.go_on.count_down();
        second.go_on.count_down();
        CHECK(take(pool, bell, 3).size() == 3);
    }

    TEST_CASE("a file takes only its share of the threads") {
        doorbell bell;
        worker_pool pool(few, bell);
        std::array<held_job, 3> of_one;
        held_job of_another;
        for (auto& each : of_one) {
            REQUIRE(pool.submit(each, one_file, false) == 0);
        }
        REQUIRE(pool.submit(of_another, {.device = 1, .inode = 2}, false) == 0);
        of_one[0].begun.wait();
        of_one[1].begun.wait();
        of_another.begun.wait();
        CHECK_FALSE(of_one[2].begun.try_wait());
        CHECK(pool.withdraw(of_one[2]));
        for (auto* const each : {&of_one[0], &of_one[1], &of_another}) {
            each->go_on.count_down();
        }
        CHECK(take(pool, bell, 3).size() == 3);
        CHECK_FALSE(of_one[2].begun.try_wait());
    }

    TEST_CASE("a call is broken off, also where the signal came before it") {
        doorbell bell;
        worker_pool pool(few, bell);
        reading_job job;
        REQUIRE(pool.submit(job, {}, false) == 0);
        pool.interrupt(job); // perhaps no thread has begun it: then there is nothing to break off
        while (!pool.has_finished()) {
            pool.interrupt(job);
            (void)pool.repeat_interrupts();
        }
        CHECK(take(pool, bell, 1).front() == &job);
        CHECK(job.performed_value() == -EINTR);
    }

    TEST_CASE("a thread that takes no signal is sent one, however often it is to be interrupted") {
        doorbell bell;
        worker_pool pool(few, bell);
        deaf_job job;
        REQUIRE(pool.submit(job, {}, false) == 0);
        job.begun.wait();
        for (int i = 0; i < 100; ++i) {
            pool.interrupt(job);
            CHECK(pool.repeat_interrupts());
        }
        job.go_on.count_down();
        (void)take(pool, bell, 1);
        CHECK(job.performed_value() == 1);
    }

    TEST_CASE("a pool that is destroyed breaks off what runs and forgets what waits") {
        doorbell bell;
        reading_job running;
        held_job waiting;
        {
            worker_pool pool({.threads_max = 1, .file_running_max = 1, .path_running_max = 1},
                             bell);
            REQUIRE(pool.submit(running, {}, false) == 0);
            REQUIRE(pool.submit(waiting, {}, false) == 0);
        }
        CHECK_FALSE(waiting.begun.try_wait());
    }
}
