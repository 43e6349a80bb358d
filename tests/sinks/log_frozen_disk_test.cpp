// A loop that logs 100,000 records a second while the log's disk is frozen: its other tasks go on,
// and every record is written afterwards or told to be missing; nor does a crash lose any.
// SAPWOOD_TEST_HANG_SECONDS=5 freezes the disk for so long and holds the other tasks to being less
// than 1 ms late; without it the disk is frozen until they have done enough, and only that they do
// is checked.
//
// What the machine adds does not count: the time in which the kernel had the thread ready to run
// and ran another one, and what a thread is late at the same time that does nothing but sleep. What
// is left is what the loop's own turns took, on a processor or blocked.
#include "support/child_process.hpp"
#include "support/log_lines.hpp"
#include "support/scratch_disk.hpp"

#include <sapwood/clock.hpp>
#include <sapwood/logger.hpp>
#include <sapwood/run.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <fmt/chrono.h>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <unistd.h>

namespace {

using namespace sapwood;
using namespace std::chrono_literals;
using test::scratch_disk;

constexpr auto late_max = 1ms;
constexpr std::uint64_t records_per_ms = 100;
constexpr int records_before_crash = 1000;

/// The other task waits so often while the disk is frozen, or the test fails.
constexpr int rounds_least = 20;

/// After this long the loop hangs with its disk, and the disk is thawed so that the test ends.
constexpr auto patience = 20s;

std::chrono::milliseconds hang_time() {
    const char* const setting = std::getenv("SAPWOOD_TEST_HANG_SECONDS");
    return setting != nullptr ? std::chrono::seconds(std::atoi(setting)) : 150ms;
}

bool is_full_test() {
    return std::getenv("SAPWOOD_TEST_HANG_SECONDS") != nullptr;
}

std::chrono::microseconds microseconds_of(clock::duration time) {
    return std::chrono::duration_cast<std::chrono::microseconds>(time);
}

/// How long this thread has been ready to run while the kernel ran others, since it began: the
/// second number of /proc/thread-self/schedstat. Zero where the kernel does not count it.
class time_without_processor {
  public:
    time_without_processor() : fd_(::open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC)) {}

    time_without_processor(const time_without_processor&) = delete;
    time_without_processor& operator=(const time_without_processor&) = delete;

    ~time_without_processor() { ::close(fd_); }

    [[nodiscard]] clock::duration total() const {
        char text[128];
        const auto bytes = ::pread(fd_, text, sizeof(text) - 1, 0);
        text[std::max<ssize_t>(bytes, 0)] = '\0';
        const char* const second = std::strchr(text, ' ');
        return std::chrono::nanoseconds(second != nullptr ? std::atoll(second) : 0);
    }

  private:
    int fd_;
};

/// How late the waits of one thread ended, as it was and without what others had of its processor.
struct observation {
    int rounds = 0;
    int late = 0;
    clock::duration latest{};
    clock::duration latest_of_its_own{};

    void note(clock::duration lateness, clock::duration without_processor) {
        ++rounds;
        late += lateness >= late_max ? 1 : 0;
        latest = std::max(latest, lateness);
        latest_of_its_own = std::max(latest_of_its_own, lateness - without_processor);
    }

    [[nodiscard]] std::string text() const {
        return fmt::format("{} of {} waits were {} late, the worst {}, or {} without what other "
                           "threads had of its processor",
                           late, rounds, late_max, microseconds_of(latest),
                           microseconds_of(latest_of_its_own));
    }
};

struct scene {
    std::atomic<bool> is_in_full_swing{false};
    std::atomic<bool> is_frozen{false};
    std::atomic<bool> is_over{false};
    observation other_task;
    /// Of it, for the thread that thaws.
    std::atomic<int> rounds{0};
    std::uint64_t logged = 0;
};

task<> log_steadily(const logger& log, scene& now) {
    auto due = clock::now();
    while (!now.is_over) {
        for (std::uint64_t i = 0; i < records_per_ms; ++i, ++now.logged) {
            log.info("number {} of a loop whose disk is frozen", now.logged);
        }
        due += 1ms;
        if (now.logged == 20 * records_per_ms) {
            now.is_in_full_swing = true;
            now.is_in_full_swing.notify_one();
        }
        co_await sleep_until(due);
    }
}

task<> observe(scene& now) {
    const time_without_processor without;
    while (!now.is_over) {
        const auto before = without.total();
        const auto due = clock::now() + 1ms;
        co_await sleep_until(due);
        const auto lateness = clock::now() - due;
        if (now.is_frozen) {
            now.other_task.note(lateness, without.total() - before);
            ++now.rounds;
        }
    }
}

task<> log_on_a_frozen_disk(const scratch_disk& disk, bool shares_loop, scene& now) {
    logger_options options{.path = disk / "app.log", .form = test::bare_form};
    std::optional<logger> log;
    if (shares_loop) {
        log.emplace(co_await logger::on_this_loop(options));
    } else {
        log.emplace(std::move(options));
    }
    auto logging = spawn(log_steadily(*log, now));
    co_await observe(now);
    co_await std::move(logging);
    co_await log->close();
}

void freeze_under(bool shares_loop) {
    std::string why_not;
    const auto disk = scratch_disk::mount(scratch_disk::kind::ext4, 64u << 20, why_not);
    if (disk == nullptr) {
        MESSAGE("skipped: " << why_not);
        return;
    }
    scene now;
    observation beside;
    std::thread frost([&] {
        now.is_in_full_swing.wait(false);
        disk->freeze();
        now.is_frozen = true;
        // What the machine does to a thread that only sleeps.
        const time_without_processor without;
        const auto end = clock::now() + hang_time();
        while (clock::now() < end || (now.rounds < rounds_least && clock::now() < end + patience)) {
            const auto before = without.total();
            const auto due = clock::now() + 1ms;
            std::this_thread::sleep_until(due);
            const auto lateness = clock::now() - due;
            beside.note(lateness, without.total() - before);
        }
        now.is_frozen = false;
        disk->thaw();
        now.is_over = true;
    });
    std::string failure;
    try {
        sapwood::run(log_on_a_frozen_disk(*disk, shares_loop, now));
    } catch (const std::exception& error) {
        failure = error.what();
        now.is_in_full_swing = true;
        now.is_in_full_swing.notify_one();
    }
    frost.join();
    CHECK(failure == "");
    CHECK(now.other_task.rounds >= rounds_least);
    const auto lines = test::lines_of(test::contents_of(*disk / "app.log"));
    const auto written = test::records_in(lines);
    CHECK(written + test::missing_in(lines) == now.logged);
    if (is_full_test()) {
        MESSAGE("the loop: " << now.other_task.text()
                             << "; a thread that only sleeps: " << beside.text() << "; " << written
                             << " of " << now.logged << " records written");
        CHECK(now.other_task.latest_of_its_own - beside.latest_of_its_own < late_max);
    }
}

/// A thread of the child's thaws the disk, while another one is in the signal's handler.
std::string crash_on(scratch_disk& disk) {
    const logger log{{.path = disk / "app.log", .form = test::bare_form}};
    log.flush_blocking();
    disk.freeze();
    const std::jthread thaw([&disk, until = clock::now() + hang_time()] {
        std::this_thread::sleep_until(until);
        disk.thaw();
    });
    for (int i = 0; i < records_before_crash; ++i) {
        log.info("number {} before the crash", i);
    }
    std::abort();
}

} // namespace

TEST_SUITE("log_frozen_disk") {

    TEST_CASE("a frozen disk holds up no other task of a loop whose log has a thread of its own") {
        freeze_under(false);
    }

    TEST_CASE("a frozen disk holds up no other task of a loop that writes the log itself") {
        freeze_under(true);
    }

    TEST_CASE("a crash while the disk is frozen ends when it thaws, and loses nothing") {
        std::string why_not;
        const auto disk = scratch_disk::mount(scratch_disk::kind::ext4, 64u << 20, why_not);
        if (disk == nullptr) {
            MESSAGE("skipped: " << why_not);
            return;
        }
        CHECK(test::in_child([&] { return crash_on(*disk); }) == "the child was killed by Aborted");
        const auto lines = test::lines_of(test::contents_of(*disk / "app.log"));
        const std::set<std::string> written(lines.begin(), lines.end()); // some may be there twice
        for (int i = 0; i < records_before_crash; ++i) {
            REQUIRE(written.contains(fmt::format("info number {} before the crash", i)));
        }
        CHECK(test::contents_of(*disk / "app.log").find("SIGABRT") != std::string::npos);
    }
}
