// semaphore: so many at a time, in the order they came.
#include "support/child_process.hpp"
#include "support/co_test.hpp"

#include <sapwood/semaphore.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>
#include <sapwood/task_group.hpp>

#include <algorithm>
#include <string>

namespace {

using namespace std::chrono_literals;
using sapwood::semaphore;
using sapwood::task;

task<> acquire_and_note(semaphore& permits, std::string& order, char name) {
    co_await permits.acquire();
    order += name;
}

} // namespace

TEST_SUITE("semaphore") {

    CO_TEST_CASE("no more than its permits are taken at a time") {
        semaphore permits(3);
        int now = 0;
        int most = 0;
        co_await sapwood::with_task_group([&](sapwood::task_group& group) -> task<> {
            for (int i = 0; i < 10; ++i) {
                group.spawn([&]() -> task<> {
                    co_await permits.acquire();
                    most = std::max(most, ++now);
                    co_await sapwood::sleep_for(1s);
                    --now;
                    permits.release();
                });
            }
            co_return;
        });
        CHECK(most == 3);
        CHECK(permits.available() == 3);
    }

    CO_TEST_CASE("permits go to who has waited longest, and no newcomer overtakes") {
        semaphore permits(0);
        std::string order;
        auto first = sapwood::spawn(acquire_and_note(permits, order, 'a'));
        auto second = sapwood::spawn(acquire_and_note(permits, order, 'b'));
        co_await sapwood::yield();
        permits.release();
        CHECK(order.empty());
        CHECK_FALSE(permits.try_acquire());
        permits.release(2);
        CHECK(permits.available() == 1);
        co_await first;
        co_await second;
        CHECK(order == "ab");
        CHECK(permits.try_acquire());
    }

    CO_TEST_CASE("who is cancelled while it waits takes no permit") {
        semaphore permits(0);
        std::string order;
        auto first = sapwood::spawn(acquire_and_note(permits, order, 'a'));
        co_await sapwood::yield();
        first.cancel();
        permits.release();
        CHECK(permits.available() == 1);
        CHECK_THROWS_AS(co_await first, sapwood::cancelled);
    }

    CO_TEST_CASE("who is cancelled after it was handed a permit has it, so none is lost") {
        semaphore permits(0);
        std::string order;
        auto first = sapwood::spawn(acquire_and_note(permits, order, 'a'));
        co_await sapwood::yield();
        permits.release();
        first.cancel();
        co_await first;
        CHECK(order == "a");
        CHECK(permits.available() == 0);
    }

    TEST_CASE("destroying one with waiters hits the assertion") {
        auto misuse = []() -> task<> {
            std::string order;
            sapwood::join_handle<> waiting;
            semaphore permits(0);
            waiting = sapwood::spawn(acquire_and_note(permits, order, 'a'));
            co_await sapwood::yield();
        };
        CHECK(sapwood::test::last_words([&] { sapwood::test::run_virtual(misuse()); }) ==
              doctest::Contains("destroyed while tasks wait on it"));
    }
}
