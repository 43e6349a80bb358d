// condition_variable: waits without the mutex and comes back with it.
#include "support/allocations.hpp"
#include "support/child_process.hpp"
#include "support/co_test.hpp"

#include <sapwood/barrier.hpp>
#include <sapwood/condition_variable.hpp>
#include <sapwood/semaphore.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>
#include <sapwood/timeout.hpp>

#include <string>

namespace {

using namespace std::chrono_literals;
using sapwood::condition_variable;
using sapwood::mutex;
using sapwood::sleep_for;
using sapwood::task;

task<> wait_and_note(mutex& guarded, condition_variable& changed, std::string& order, char name) {
    auto held = co_await guarded.lock();
    try {
        co_await changed.wait(held);
        order += name;
    } catch (const sapwood::cancelled&) {
        order += 'c';
        order += held.owns_lock() && guarded.is_locked() ? 'l' : '?';
        throw;
    }
}

} // namespace

TEST_SUITE("condition_variable") {

    CO_TEST_CASE("waiting lets go of the mutex, and comes back with it, in the order they came") {
        mutex guarded;
        condition_variable changed;
        std::string order;
        auto first = sapwood::spawn(wait_and_note(guarded, changed, order, 'a'));
        auto second = sapwood::spawn(wait_and_note(guarded, changed, order, 'b'));
        auto third = sapwood::spawn(wait_and_note(guarded, changed, order, 'd'));
        co_await sleep_for(1s);
        {
            const auto held = co_await guarded.lock();
            changed.notify_one();
            co_await sleep_for(1s);
            CHECK(order.empty()); // the mutex is held here
        }
        co_await sleep_for(1s);
        CHECK(order == "a");
        changed.notify_all();
        CHECK(order == "a");
        co_await first;
        co_await second;
        co_await third;
        CHECK(order == "abd");
        CHECK_FALSE(guarded.is_locked());
    }

    CO_TEST_CASE("waiting for a predicate goes on until it holds") {
        mutex guarded;
        condition_variable changed;
        int value = 0;
        int looked = 0;
        auto waiting = sapwood::spawn([&]() -> task<> {
            auto held = co_await guarded.lock();
            co_await changed.wait(held, [&] {
                ++looked;
                return value == 3;
            });
            CHECK(held.owns_lock());
        });
        for (int i = 1; i <= 3; ++i) {
            co_await sleep_for(1s);
            const auto held = co_await guarded.lock();
            value = i;
            changed.notify_all();
        }
        co_await waiting;
        CHECK(looked == 4);
    }

    CO_TEST_CASE("who is cancelled leaves the queue and has the mutex when it is told") {
        mutex guarded;
        condition_variable changed;
        std::string order;
        auto first = sapwood::spawn(wait_and_note(guarded, changed, order, 'a'));
        auto second = sapwood::spawn(wait_and_note(guarded, changed, order, 'b'));
        co_await sleep_for(1s);
        {
            const auto held = co_await guarded.lock();
            first.cancel();
            co_await sleep_for(1s);
            CHECK(order.empty());
            first.cancel();       // asked again while it waits for the mutex
            changed.notify_one(); // not for the one that has left
        }
        CHECK_THROWS_AS(co_await first, sapwood::cancelled);
        co_await second;
        CHECK(order == "clb");
        CHECK_FALSE(guarded.is_locked());
    }

    CO_TEST_CASE("a notification that came before the request is not lost") {
        mutex guarded;
        condition_variable changed;
        std::string order;
        auto first = sapwood::spawn(wait_and_note(guarded, changed, order, 'a'));
        co_await sleep_for(1s);
        {
            const auto held = co_await guarded.lock();
            changed.notify_one();
            first.cancel();
        }
        co_await first;
        CHECK(order == "a");
    }

    CO_TEST_CASE("a timeout around a wait gives the mutex back before it throws") {
        mutex guarded;
        condition_variable changed;
        auto held = co_await guarded.lock();
        const auto ended = co_await sapwood::as_result(sapwood::timeout(1s, changed.wait(held)));
        CHECK(ended.error() == std::errc::timed_out);
        CHECK(held.owns_lock());
        CHECK(guarded.is_locked());
        changed.notify_all(); // nobody waits
    }

    CO_TEST_CASE("locks, permits, barriers and conditions wait without an allocation") {
        mutex guarded;
        condition_variable changed;
        sapwood::semaphore permits(0);
        sapwood::barrier round(2);
        auto wait_for_all = [&]() -> task<> {
            auto held = co_await guarded.lock();
            co_await changed.wait(held);
            held.unlock();
            co_await permits.acquire();
            (void)co_await round.arrive_and_wait();
        };
        auto use = [&]() -> task<std::size_t> {
            auto other = sapwood::spawn(wait_for_all());
            auto held = co_await guarded.lock();
            const auto before = sapwood::test::allocations();
            co_await sapwood::yield();
            held.unlock();
            co_await sapwood::yield();
            co_await sapwood::yield();
            changed.notify_one();
            permits.release();
            (void)co_await round.arrive_and_wait();
            const auto used = sapwood::test::allocations() - before;
            co_await other;
            co_return used;
        };
        CHECK(co_await use() == 0);
    }

    TEST_CASE("waiting without the mutex hits the assertion") {
        auto misuse = []() -> task<> {
            condition_variable changed;
            sapwood::mutex_lock none;
            co_await changed.wait(none);
        };
        CHECK(sapwood::test::last_words([&] { sapwood::test::run_virtual(misuse()); }) ==
              doctest::Contains("without holding a mutex"));
    }
}
