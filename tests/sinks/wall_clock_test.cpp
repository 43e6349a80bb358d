// wall_clock: the system's time, told in another way.
#include <sapwood/tick_clock.hpp>
#include <sapwood/wall_clock.hpp>

#include <algorithm>
#include <chrono>
#include <doctest/doctest.h>
#include <thread>
#include <vector>

namespace {

using sapwood::wall_clock;
using namespace std::chrono_literals;

/// How far wall_clock is outside of what the system clock says just before and just after it.
std::chrono::nanoseconds error_now() {
    const wall_clock::time_point before = std::chrono::system_clock::now();
    const wall_clock::time_point now = wall_clock::now();
    const wall_clock::time_point after = std::chrono::system_clock::now();
    return std::max({before - now, now - after, std::chrono::nanoseconds(0)});
}

/// Long enough for many calibrations.
constexpr auto watched = 100ms;

} // namespace

TEST_SUITE("wall_clock") {

    TEST_CASE("it is within 100 us of the system clock, across many calibrations") {
        std::chrono::nanoseconds worst{0};
        const auto end = std::chrono::steady_clock::now() + watched;
        while (std::chrono::steady_clock::now() < end) {
            worst = std::max(worst, error_now());
        }
        CHECK(worst < 100us);
    }

    TEST_CASE("a thread's time never runs backwards, across many calibrations") {
        std::size_t steps_back = 0;
        auto last = wall_clock::now();
        const auto end = std::chrono::steady_clock::now() + watched;
        while (std::chrono::steady_clock::now() < end) {
            for (int i = 0; i < 100; ++i) {
                const auto now = wall_clock::now();
                steps_back += now < last ? 1 : 0;
                last = now;
            }
        }
        CHECK(steps_back == 0);
    }

    TEST_CASE("ticks become the time of day, also where the rate is another log's") {
        using namespace sapwood::detail;
        // A log refreshes its clock all the time; who is kept from that is late with it.
        constexpr auto refreshed_within = 20ms;
        const bool trusted = sapwood::detail::kernel_trusts_ticks();
        for (int log = 0; log < 3; ++log) {
            wall_clock::time_point refreshed = std::chrono::system_clock::now();
            tick_clock clock(trusted);
            std::chrono::nanoseconds worst{0};
            int judged = 0;
            const auto end = std::chrono::steady_clock::now() + 30ms; // it is refreshed after 10
            while (std::chrono::steady_clock::now() < end || judged < 100) {
                const wall_clock::time_point before = std::chrono::system_clock::now();
                const std::uint64_t ticks = read_ticks(trusted);
                const wall_clock::time_point after = std::chrono::system_clock::now();
                if (after - refreshed < refreshed_within) {
                    const wall_clock::time_point told = clock.at(ticks);
                    worst = std::max({worst, before - told, told - after});
                    ++judged;
                }
                refreshed = std::chrono::system_clock::now();
                clock.refresh();
            }
            CHECK(worst < 100us);
        }
    }

    TEST_CASE("a new thread tells the time from its first call") {
        std::vector<std::chrono::nanoseconds> errors(8);
        std::vector<std::thread> threads;
        for (auto& error : errors) {
            threads.emplace_back([&error] { error = error_now(); });
        }
        for (auto& thread : threads) {
            thread.join();
        }
        CHECK(*std::max_element(errors.begin(), errors.end()) < 100us);
    }
}
