// A disk that hangs: the loop's other tasks go on, on either ring. SAPWOOD_TEST_HANG_SECONDS=5
// makes the disk hang for so long and holds the other tasks to being less than 2 ms late; without
// it the disk hangs until the others have done enough, and only that they do is checked. How late
// the machine itself makes a thread that only sleeps is told beside: on some that is more than 2
// ms.
#include "support/stalling_disk.hpp"

#include <sapwood/file.hpp>
#include <sapwood/run.hpp>
#include <sapwood/sleep.hpp>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <doctest/doctest.h>
#include <fmt/chrono.h>
#include <future>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <unistd.h>

namespace {

using namespace std::chrono_literals;
using sapwood::clock;
using sapwood::test::stalling_disk;
using sapwood::test::temporary_directory;

/// After this long the loop hangs with its disk, and the disk is let go so that the test ends.
constexpr auto patience = 20s;

constexpr auto late_max = 2ms;

/// Zero: as long as it takes.
std::chrono::seconds hang_seconds() {
    const char* const setting = std::getenv("SAPWOOD_TEST_HANG_SECONDS");
    return std::chrono::seconds(setting != nullptr ? std::atoi(setting) : 0);
}

struct observation {
    int rounds = 0;
    bool was_over_too_early = false;
    clock::duration latest{};
    int late = 0;

    void note(clock::duration lateness) {
        ++rounds;
        latest = std::max(latest, lateness);
        late += lateness >= late_max ? 1 : 0;
    }

    [[nodiscard]] std::string text() const {
        return fmt::format("{} of {} waits were {} late, the worst {}", late, rounds, late_max,
                           std::chrono::duration_cast<std::chrono::microseconds>(latest));
    }
};

/// What the machine does to a thread that only sleeps.
void sleep_and_note(const std::stop_token& stop, observation& seen) {
    while (!stop.stop_requested()) {
        const auto due = clock::now() + 1ms;
        std::this_thread::sleep_until(due);
        seen.note(clock::now() - due);
    }
}

sapwood::task<> write_and_sync(sapwood::file& file) {
    co_await file.write_all(std::string_view("lost in the cellar"));
    co_await file.datasync();
}

sapwood::task<> open_and_close(std::string path) {
    auto file = co_await sapwood::file::open(std::move(path), {.flags = O_WRONLY});
    co_await file.close();
}

/// Other work: timers, a pipe, and a file on a disk that is well. Not that file on io_uring: the
/// kernel keeps buffered writes in line by a hash of their inode, so with bad luck another file's
/// write waits behind the one that hangs.
sapwood::task<> observe(const std::string& healthy_path, bool writes_file, observation& seen) {
    std::array<int, 2> ends{};
    REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
    sapwood::file reader(ends[0]);
    sapwood::file writer(ends[1]);
    auto healthy =
        co_await sapwood::file::open(healthy_path, {.flags = O_WRONLY | O_CREAT | O_APPEND});
    const auto end = clock::now() + hang_seconds();
    while (seen.rounds < 50 || clock::now() < end) {
        const auto due = clock::now() + 1ms;
        co_await sapwood::sleep_until(due);
        seen.note(clock::now() - due);
        std::array<char, 8> bytes{};
        co_await writer.write_all(std::string_view("ping"));
        co_await reader.read_some(bytes);
        if (writes_file) {
            co_await healthy.write_all(std::string_view("all is well\n"));
        }
    }
    co_await healthy.close();
}

sapwood::task<> hang(stalling_disk& disk, const std::string& healthy_path, bool writes_file,
                     observation& seen) {
    auto file = co_await sapwood::file::open(disk.path(), {.flags = O_WRONLY});
    disk.stall();
    auto writing = sapwood::spawn(write_and_sync(file));
    auto opening = sapwood::spawn(open_and_close(disk.path()));
    co_await sapwood::yield();
    co_await observe(healthy_path, writes_file, seen);
    seen.was_over_too_early = writing.done() || opening.done();
    disk.go_on();
    co_await std::move(writing);
    co_await std::move(opening);
    co_await file.close();
}

void hang_on(sapwood::ring_kind kind) {
    std::string why_not;
    const auto disk = stalling_disk::mount(why_not);
    if (disk == nullptr) {
        MESSAGE("skipped: " << why_not);
        return;
    }
    std::optional<sapwood::event_loop> loop;
    try {
        loop.emplace(sapwood::loop_options{.ring = kind});
    } catch (const std::system_error& refused) {
        MESSAGE("skipped: " << refused.what());
        return;
    }
    std::promise<void> is_over;
    std::thread watchdog([&, over = is_over.get_future()] {
        if (over.wait_for(patience + hang_seconds()) == std::future_status::timeout) {
            disk->go_on();
        }
    });
    const temporary_directory folder;
    observation seen;
    observation beside;
    const std::string healthy_path = folder / "healthy";
    std::string failure;
    try {
        std::jthread sleeper;
        if (hang_seconds() > 0s) {
            sleeper =
                std::jthread([&](const std::stop_token& stop) { sleep_and_note(stop, beside); });
        }
        loop->run(hang(*disk, healthy_path, kind == sapwood::ring_kind::poll, seen));
    } catch (const std::exception& error) {
        failure = error.what();
    }
    is_over.set_value();
    watchdog.join();
    CHECK(failure == "");
    CHECK_FALSE(seen.was_over_too_early);
    CHECK(seen.rounds >= 50);
    if (hang_seconds() > 0s) {
        MESSAGE("the loop: " << seen.text() << "; a thread that only sleeps: " << beside.text());
        CHECK(seen.latest < late_max);
    }
}

} // namespace

TEST_SUITE("hung_disk") {

    TEST_CASE("a disk that hangs holds up nobody else on io_uring") {
        hang_on(sapwood::ring_kind::io_uring);
    }

    TEST_CASE("a disk that hangs holds up nobody else on epoll and threads") {
        hang_on(sapwood::ring_kind::poll);
    }
}
