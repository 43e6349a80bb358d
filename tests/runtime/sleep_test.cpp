// sleep_for, sleep_until, yield: order, cancellation, the ends of time. On a virtual clock.
#include "support/co_test.hpp"

#include <sapwood/channel.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>
#include <sapwood/timeout.hpp>

#include <cmath>
#include <cstdint>
#include <random>
#include <ratio>
#include <string>
#include <vector>

namespace {

using namespace std::chrono_literals;
using sapwood::clock;
using sapwood::event_loop;
using sapwood::task;

task<> note_after(clock::duration duration, std::vector<int>& order, int mark) {
    co_await sapwood::sleep_for(duration);
    order.push_back(mark);
}

} // namespace

TEST_SUITE("sleep") {

    CO_TEST_CASE("a sleep takes its time, exactly, on a virtual clock") {
        const auto before = event_loop::current().now();
        co_await sapwood::sleep_for(100h);
        CHECK(event_loop::current().now() - before == 100h);
        co_await sapwood::sleep_until(before + 200h);
        CHECK(event_loop::current().now() - before == 200h);
    }

    CO_TEST_CASE("sleepers wake in the order of their deadlines, not of their calls") {
        std::vector<int> order;
        auto third = sapwood::spawn(note_after(3h, order, 3));
        auto first = sapwood::spawn(note_after(1h, order, 1));
        auto fourth = sapwood::spawn(note_after(4h, order, 4));
        auto second = sapwood::spawn(note_after(2h, order, 2));
        co_await sapwood::sleep_for(5h);
        CHECK(order == std::vector{1, 2, 3, 4});
    }

    CO_TEST_CASE("nobody wakes early, whatever the mix of deadlines") {
        std::mt19937 random(42);
        int early = 0;
        int woke = 0;
        auto sleeper = [&](clock::duration duration) -> task<> {
            const auto deadline = event_loop::current().now() + duration;
            co_await sapwood::sleep_for(duration);
            ++woke;
            early += event_loop::current().now() < deadline ? 1 : 0;
        };
        std::vector<sapwood::join_handle<void>> handles;
        for (int i = 0; i < 1000; ++i) {
            handles.push_back(sapwood::spawn(sleeper(std::chrono::milliseconds(random() % 5000))));
        }
        for (auto& handle : handles) {
            co_await handle;
        }
        CHECK(woke == 1000);
        CHECK(early == 0);
    }

    CO_TEST_CASE("zero, negative and past deadlines wait for one turn, not for time") {
        const auto before = event_loop::current().now();
        std::vector<int> order;
        auto other = sapwood::spawn(note_after(0h, order, 1));
        co_await sapwood::sleep_for(0h);
        co_await sapwood::sleep_for(-1h);
        co_await sapwood::sleep_until(before - 1h);
        co_await sapwood::sleep_until(clock::time_point::min());
        CHECK(event_loop::current().now() == before);
        CHECK(order == std::vector{1});
        co_await other;
    }

    CO_TEST_CASE("the longest duration means for ever and not an overflow into the past") {
        bool woke = false;
        auto sleeper = [&]() -> task<> {
            co_await sapwood::sleep_for(clock::duration::max());
            woke = true;
        };
        auto handle = sapwood::spawn(sleeper());
        co_await sapwood::sleep_for(1000h);
        CHECK_FALSE(woke);
        handle.cancel();
        CHECK_THROWS_AS(co_await handle, sapwood::cancelled);
    }

    TEST_CASE("a span of any unit is as long as it says, or as the clock can tell") {
        using namespace std::chrono;
        using sapwood::time_span;
        constexpr auto most = clock::duration::max();
        constexpr auto least = clock::duration::min();
        static_assert(clock::duration(time_span(5s)) == 5s);
        static_assert(clock::duration(time_span(0.25s)) == 250ms);
        static_assert(clock::duration(time_span(duration<int, std::ratio<1, 3>>(6))) == 2s);
        static_assert(clock::duration(time_span(hours::max())) == most);
        static_assert(clock::duration(time_span(hours::min())) == least);
        static_assert(clock::duration(time_span(seconds(9'223'372'036))) == 9'223'372'036s);
        static_assert(clock::duration(time_span(seconds(9'223'372'037))) == most);
        static_assert(clock::duration(time_span(most)) == most);
        static_assert(clock::duration(time_span(least)) == least);
        static_assert(clock::duration(time_span(duration<std::uint64_t>::max())) == most);
        static_assert(clock::duration(time_span(duration<double>(1e300))) == most);
        static_assert(clock::duration(time_span(duration<double>(-1e300))) == least);
        CHECK(clock::duration(time_span(duration<double>(std::nan("")))) == least);
    }

    CO_TEST_CASE("a limit of the longest time in any unit does not end at once") {
        co_await sapwood::timeout(std::chrono::seconds::max(), sapwood::sleep_for(1h));
        CHECK_THROWS_AS(
            co_await sapwood::timeout(1s, sapwood::sleep_for(std::chrono::milliseconds::max())),
            std::system_error);
    }

    TEST_CASE("adding to a time saturates at the end of time and nowhere else") {
        constexpr auto now = clock::time_point(24h);
        static_assert(sapwood::saturating_add(now, 1h) == clock::time_point(25h));
        CHECK(sapwood::saturating_add(now, clock::duration::max()) == clock::time_point::max());
        CHECK(sapwood::saturating_add(now, clock::time_point::max() - now) ==
              clock::time_point::max());
        CHECK(sapwood::saturating_add(now, -48h) == clock::time_point(-24h));
        CHECK(sapwood::saturating_add(now, clock::duration::min()) < clock::time_point());
    }

    CO_TEST_CASE("a cancelled sleep throws at once and its deadline never fires") {
        const auto before = event_loop::current().now();
        std::vector<int> order;
        auto handle = sapwood::spawn(note_after(1h, order, 1));
        co_await sapwood::yield();
        handle.cancel();
        CHECK_THROWS_AS(co_await handle, sapwood::cancelled);
        CHECK(event_loop::current().now() == before);
        co_await sapwood::sleep_for(2h);
        CHECK(order.empty());
    }

    CO_TEST_CASE("a request to stop that comes after the deadline still counts for a sleep") {
        std::vector<int> order;
        auto handle = sapwood::spawn(note_after(1h, order, 1));
        auto canceller = [&]() -> task<> {
            co_await sapwood::sleep_for(1h); // due together; this one is resumed first or second
            handle.cancel();
        };
        co_await sapwood::yield();
        co_await canceller();
        const bool over = handle.done();
        if (!over) {
            CHECK_THROWS_AS(co_await handle, sapwood::cancelled);
        }
        CHECK(order.size() == (over ? 1U : 0U));
    }

    CO_TEST_CASE("a yield delivers a pending request to stop") {
        int turns = 0;
        auto spin = [&]() -> task<> {
            for (;;) {
                ++turns;
                co_await sapwood::yield();
            }
        };
        auto handle = sapwood::spawn(spin());
        co_await sapwood::yield();
        co_await sapwood::yield();
        handle.cancel();
        CHECK_THROWS_AS(co_await handle, sapwood::cancelled);
        CHECK(turns == 2);
    }

    CO_TEST_CASE("a task with a pending request to stop does not begin to sleep") {
        const auto before = event_loop::current().now();
        sapwood::join_handle<void> handle;
        auto stop_then_sleep = [&]() -> task<> {
            handle.cancel();
            co_await sapwood::sleep_for(1h);
        };
        handle = sapwood::spawn(stop_then_sleep());
        CHECK_THROWS_AS(co_await handle, sapwood::cancelled);
        CHECK(event_loop::current().now() == before);
    }

    TEST_CASE("on the kernel's ring a short sleep ends, not before its time") {
        auto measure = []() -> task<clock::duration> {
            const auto before = clock::now();
            co_await sapwood::sleep_for(2ms);
            co_return clock::now() - before;
        };
        CHECK(sapwood::run(measure()) >= 2ms);
    }
}
