// latch: opens once.
#include "support/child_process.hpp"
#include "support/co_test.hpp"

#include <sapwood/latch.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>

#include <string>

namespace {

using sapwood::latch;
using sapwood::task;

task<> wait_and_note(latch& opens, std::string& order, char name) {
    co_await opens.wait();
    order += name;
}

} // namespace

TEST_SUITE("latch") {

    CO_TEST_CASE("it opens for all at once when it has been counted down, and stays open") {
        latch opens(3);
        std::string order;
        auto first = sapwood::spawn(wait_and_note(opens, order, 'a'));
        auto second = sapwood::spawn(wait_and_note(opens, order, 'b'));
        co_await sapwood::yield();
        opens.count_down(2);
        co_await sapwood::yield();
        CHECK(order.empty());
        CHECK_FALSE(opens.is_open());
        co_await opens.arrive_and_wait();
        CHECK(order.empty()); // who opens it need not wait, and nobody was resumed
        co_await first;
        co_await second;
        CHECK(order == "ab");
        co_await opens.wait();
        co_await latch(0).wait();
    }

    CO_TEST_CASE("a cancelled wait leaves it") {
        latch opens(1);
        std::string order;
        auto first = sapwood::spawn(wait_and_note(opens, order, 'a'));
        co_await sapwood::yield();
        first.cancel();
        CHECK_THROWS_AS(co_await first, sapwood::cancelled);
        opens.count_down();
        CHECK(order.empty());
    }

    TEST_CASE("counting down too often hits the assertion") {
        CHECK(sapwood::test::last_words([] { latch(1).count_down(2); }) ==
              doctest::Contains("more often than it expected"));
    }
}
