// event: set, reset, and who waits.
#include "support/child_process.hpp"
#include "support/co_test.hpp"

#include <sapwood/event.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>

#include <string>
#include <thread>

namespace {

using sapwood::event;
using sapwood::task;
using sapwood::test::last_words;

task<> note_when_set(event& what, std::string& order, char name) {
    co_await what.wait();
    order += name;
}

} // namespace

TEST_SUITE("event") {

    CO_TEST_CASE("setting wakes everybody who waits, in the order they came, and resumes nobody") {
        event what;
        std::string order;
        auto first = sapwood::spawn(note_when_set(what, order, 'a'));
        auto second = sapwood::spawn(note_when_set(what, order, 'b'));
        co_await sapwood::yield();
        what.set();
        CHECK(order.empty());
        co_await first;
        co_await second;
        CHECK(order == "ab");
    }

    CO_TEST_CASE("while it is set nobody waits, after a reset they do again") {
        event what;
        what.set();
        co_await what.wait();
        what.reset();
        CHECK_FALSE(what.is_set());
        std::string order;
        auto waiting = sapwood::spawn(note_when_set(what, order, 'a'));
        co_await sapwood::yield();
        co_await sapwood::yield();
        CHECK_FALSE(waiting.done());
        what.set();
        co_await waiting;
    }

    CO_TEST_CASE("a reset right after the set does not take back the wake-up") {
        event what;
        std::string order;
        auto waiting = sapwood::spawn(note_when_set(what, order, 'a'));
        co_await sapwood::yield();
        what.set();
        what.reset();
        co_await waiting;
        CHECK(order == "a");
    }

    CO_TEST_CASE("a cancelled wait leaves the event, which may be gone when the task runs") {
        std::string order;
        sapwood::join_handle<> waiting;
        {
            event what;
            waiting = sapwood::spawn(note_when_set(what, order, 'a'));
            co_await sapwood::yield();
            waiting.cancel();
            waiting.cancel();
        }
        bool was_stopped = false;
        try {
            co_await waiting;
        } catch (const sapwood::cancelled&) {
            was_stopped = true;
        }
        CHECK(was_stopped);
        CHECK(order.empty());
    }

    CO_TEST_CASE("an event that is destroyed cancels who waits for it") {
        std::string order;
        sapwood::join_handle<> waiting;
        {
            event what;
            waiting = sapwood::spawn(note_when_set(what, order, 'a'));
            co_await sapwood::yield();
        }
        CHECK_THROWS_AS(co_await waiting, sapwood::cancelled);
        CHECK(order.empty());
    }

    TEST_CASE("waking a task from another thread than its loop's hits the assertion") {
        auto misuse = []() -> task<> {
            event what;
            std::string order;
            auto waiting = sapwood::spawn(note_when_set(what, order, 'a'));
            co_await sapwood::yield();
            std::thread([&] { what.set(); }).join();
            co_await waiting;
        };
        CHECK(last_words([&] { sapwood::test::run_virtual(misuse()); }) ==
              doctest::Contains("from another thread than its loop's"));
    }
}
