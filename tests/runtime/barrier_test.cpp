// barrier: round after round.
#include "support/child_process.hpp"
#include "support/co_test.hpp"

#include <sapwood/barrier.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>
#include <sapwood/task_group.hpp>

#include <string>

namespace {

using namespace std::chrono_literals;
using sapwood::barrier;
using sapwood::task;

} // namespace

TEST_SUITE("barrier") {

    CO_TEST_CASE("nobody goes on before all have come, and one of each round is the last") {
        barrier round(3);
        int arrived = 0;
        int early = 0;
        int last = 0;
        co_await sapwood::with_task_group([&](sapwood::task_group& group) -> task<> {
            for (int i = 0; i < 3; ++i) {
                group.spawn([&, i]() -> task<> {
                    for (int turn = 1; turn <= 4; ++turn) {
                        co_await sapwood::sleep_for(1s * (i * turn % 3));
                        ++arrived;
                        const bool was_last = co_await round.arrive_and_wait();
                        last += was_last ? 1 : 0;
                        early += arrived < 3 * turn ? 1 : 0;
                    }
                });
            }
            co_return;
        });
        CHECK(early == 0);
        CHECK(last == 4);
        CHECK(round.waiting() == 0);
    }

    CO_TEST_CASE("who is cancelled has not come, and another one takes its place") {
        barrier round(2);
        auto come = [&]() -> task<> { (void)co_await round.arrive_and_wait(); };
        auto first = sapwood::spawn(come());
        co_await sapwood::yield();
        CHECK(round.waiting() == 1);
        first.cancel();
        CHECK(round.waiting() == 0);
        CHECK_THROWS_AS(co_await first, sapwood::cancelled);
        auto second = sapwood::spawn(come());
        co_await sapwood::yield();
        CHECK_FALSE(second.done());
        CHECK(co_await round.arrive_and_wait());
        second.cancel(); // too late: its round is complete
        co_await second;
    }

    TEST_CASE("a barrier of nobody hits the assertion") {
        CHECK(sapwood::test::last_words([] { barrier none(0); }) ==
              doctest::Contains("at least one party"));
    }
}
