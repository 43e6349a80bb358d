// mutex: one at a time, in the order they came.
#include "support/child_process.hpp"
#include "support/co_test.hpp"

#include <sapwood/mutex.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>

#include <memory>
#include <string>

namespace {

using namespace std::chrono_literals;
using sapwood::mutex;
using sapwood::sleep_for;
using sapwood::task;
using sapwood::test::last_words;

task<> lock_and_note(mutex& guarded, std::string& order, char name) {
    const auto held = co_await guarded.lock();
    order += name;
    co_await sleep_for(1s);
}

} // namespace

TEST_SUITE("mutex") {

    CO_TEST_CASE("it goes to who has waited longest, and unlocking resumes nobody") {
        mutex guarded;
        std::string order;
        auto held = co_await guarded.lock();
        auto first = sapwood::spawn(lock_and_note(guarded, order, 'a'));
        auto second = sapwood::spawn(lock_and_note(guarded, order, 'b'));
        co_await sapwood::yield();
        held.unlock();
        CHECK(order.empty());
        CHECK_FALSE(held.owns_lock());
        co_await first;
        co_await second;
        CHECK(order == "ab");
        CHECK_FALSE(guarded.is_locked());
    }

    CO_TEST_CASE("a newcomer does not overtake who was handed it") {
        mutex guarded;
        std::string order;
        auto held = co_await guarded.lock();
        auto waiting = sapwood::spawn(lock_and_note(guarded, order, 'a'));
        co_await sapwood::yield();
        held.unlock();
        CHECK_FALSE(guarded.try_lock());
        const auto mine = co_await guarded.lock();
        order += 'b';
        CHECK(order == "ab");
        co_await waiting;
    }

    TEST_CASE("try_lock takes a free one and says no otherwise") {
        mutex guarded;
        {
            const auto held = guarded.try_lock();
            CHECK(held.owns_lock());
            CHECK_FALSE(guarded.try_lock());
        }
        CHECK(guarded.try_lock());
    }

    CO_TEST_CASE("a cancelled waiter leaves the queue") {
        mutex guarded;
        std::string order;
        auto held = co_await guarded.lock();
        auto first = sapwood::spawn(lock_and_note(guarded, order, 'a'));
        auto second = sapwood::spawn(lock_and_note(guarded, order, 'b'));
        co_await sapwood::yield();
        first.cancel();
        held.unlock();
        CHECK_THROWS_AS(co_await first, sapwood::cancelled);
        co_await second;
        CHECK(order == "b");
    }

    CO_TEST_CASE("who is cancelled after it was handed the mutex has it, and is stopped later") {
        mutex guarded;
        std::string order;
        auto held = co_await guarded.lock();
        auto first = sapwood::spawn(lock_and_note(guarded, order, 'a'));
        auto second = sapwood::spawn(lock_and_note(guarded, order, 'b'));
        co_await sapwood::yield();
        held.unlock();
        first.cancel();
        CHECK_THROWS_AS(co_await first, sapwood::cancelled);
        co_await second;
        CHECK(order == "ab");
    }

    CO_TEST_CASE("as_result gives the lock or operation_canceled") {
        mutex guarded;
        auto held = (co_await sapwood::as_result(guarded.lock())).value();
        CHECK(held.owns_lock());
        std::error_code error;
        auto waiting = sapwood::spawn(
            [&]() -> task<> { error = (co_await sapwood::as_result(guarded.lock())).error(); });
        co_await sapwood::yield();
        waiting.cancel();
        co_await waiting;
        CHECK(error == std::errc::operation_canceled);
    }

    TEST_CASE("destroying one that is held or waited for hits the assertion") {
        auto held = []() -> task<> {
            auto guarded = std::make_unique<mutex>();
            auto lock = co_await guarded->lock();
            guarded.reset();
        };
        CHECK(last_words([&] { sapwood::test::run_virtual(held()); }) ==
              doctest::Contains("destroyed while a task holds it"));
    }
}
