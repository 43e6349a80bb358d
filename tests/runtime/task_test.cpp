// task<T>: laziness, results, exceptions, lifetime, and a stack that does not grow.
#include "support/child_process.hpp"
#include "support/co_test.hpp"

#include <sapwood/sleep.hpp>
#include <sapwood/task.hpp>

#include <memory>
#include <optional>
#include <stdexcept>
#include <string>

namespace {

using namespace std::chrono_literals;
using sapwood::task;
using sapwood::test::last_words;

task<> note(bool& ran) {
    ran = true;
    co_return;
}

task<int> answer() {
    co_return 42;
}

task<int> late_answer() {
    co_await sapwood::sleep_for(1h);
    co_return 42;
}

task<int> fail_after(int levels) {
    if (levels == 0) {
        co_await sapwood::yield();
        throw std::runtime_error("from the innermost");
    }
    co_return co_await fail_after(levels - 1);
}

task<int> depth(int levels) {
    if (levels == 0) { // gcc 12 gets a co_await inside a conditional expression wrong
        co_return 0;
    }
    co_return 1 + co_await depth(levels - 1);
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wreturn-type" // the mistake is what is tested

task<int> forget_to_return(const bool& returns) {
    if (returns) {
        co_return 1;
    }
}

#pragma GCC diagnostic pop

/// Counts how many of it are alive.
class counted {
  public:
    explicit counted(int& alive) : alive_(&alive) { ++*alive_; }

    counted(counted&& other) noexcept : alive_(other.alive_) { ++*alive_; }

    counted& operator=(counted&&) = delete;

    ~counted() { --*alive_; }

  private:
    int* alive_;
};

task<> keep(counted) {
    co_await sapwood::yield();
}

task<counted> make_counted(int& alive) {
    co_return counted(alive);
}

class not_default_constructible {
  public:
    explicit not_default_constructible(int value) : value_(value) {}

    [[nodiscard]] int value() const { return value_; }

  private:
    int value_;
};

} // namespace

TEST_SUITE("task") {

    CO_TEST_CASE("a task does not start before it is awaited") {
        bool ran = false;
        auto lazy = note(ran);
        co_await sapwood::yield();
        CHECK_FALSE(ran);
        co_await std::move(lazy);
        CHECK(ran);
    }

    CO_TEST_CASE("a child runs at once when it is awaited, not in a later turn") {
        bool other_ran = false;
        auto other = sapwood::spawn(note(other_ran));
        CHECK(co_await answer() == 42);
        CHECK_FALSE(other_ran);
        co_await other;
    }

    CO_TEST_CASE("a child that waits gives its result when it is over") {
        const auto before = sapwood::event_loop::current().now();
        CHECK(co_await late_answer() == 42);
        CHECK(sapwood::event_loop::current().now() - before == 1h);
    }

    CO_TEST_CASE("an exception travels through every level to who catches it") {
        std::string caught;
        try {
            (void)co_await fail_after(10);
        } catch (const std::runtime_error& failure) {
            caught = failure.what();
        }
        CHECK(caught == "from the innermost");
    }

    CO_TEST_CASE("a result can be a reference to the very object") {
        int object = 1;
        auto refer = [](int& to) -> task<int&> { co_return to; };
        int& got = co_await refer(object);
        CHECK(&got == &object);
    }

    CO_TEST_CASE("a result can be move-only") {
        auto make = []() -> task<std::unique_ptr<int>> { co_return std::make_unique<int>(7); };
        const auto got = co_await make();
        REQUIRE(got != nullptr);
        CHECK(*got == 7);
    }

    CO_TEST_CASE("a result needs no default constructor and may convert from what is returned") {
        auto make = []() -> task<not_default_constructible> { co_return 7; };
        CHECK((co_await make()).value() == 7);
        auto text = []() -> task<std::string> { co_return "seven"; };
        CHECK(co_await text() == "seven");
    }

    CO_TEST_CASE("a result is destroyed exactly once, taken or not") {
        int alive = 0;
        {
            const counted got = co_await make_counted(alive);
            CHECK(alive == 1);
        }
        CHECK(alive == 0);
        auto not_taken = sapwood::spawn(make_counted(alive));
        co_await sapwood::yield();
        CHECK(alive == 1);
        not_taken.detach();
        CHECK(alive == 0);
    }

    TEST_CASE("a task that is destroyed unstarted frees its arguments and never runs") {
        int alive = 0;
        bool ran = false;
        {
            auto first = keep(counted(alive));
            auto second = note(ran);
            CHECK(alive == 1);
        }
        CHECK(alive == 0);
        CHECK_FALSE(ran);
    }

    TEST_CASE("assigning to an unstarted task destroys the one it held") {
        int alive = 0;
        int alive_too = 0;
        auto held = keep(counted(alive));
        held = keep(counted(alive_too));
        CHECK(alive == 0);
        CHECK(alive_too == 1);
    }

    CO_TEST_CASE("the frame of an awaited temporary ends with the expression") {
        int alive = 0;
        co_await keep(counted(alive));
        CHECK(alive == 0);
    }

    // Without symmetric transfer as a jump (gcc -O0 or with sanitizers) each would nest deeper.
    CO_TEST_CASE("a million awaits of a child that ends at once do not grow the stack") {
        long sum = 0;
        for (int i = 0; i < 1'000'000; ++i) {
            sum += co_await answer();
        }
        CHECK(sum == 42'000'000);
    }

    CO_TEST_CASE("two tasks that both await children without end take turns at the stack") {
        auto many = [](int& count) -> task<> {
            for (; count < 100'000; ++count) {
                (void)co_await answer();
            }
        };
        int first = 0;
        int second = 0;
        auto one = sapwood::spawn(many(first));
        co_await many(second);
        co_await one;
        CHECK(first + second == 200'000);
    }

    CO_TEST_CASE("a thousand levels of awaits return through every level") {
        CHECK(co_await depth(1000) == 1000);
    }

    CO_TEST_CASE("an unfinished child takes over its parent's cancellation") {
        bool reached = false;
        auto parent = [](bool& cancelled_below) -> task<> {
            try {
                (void)co_await late_answer();
            } catch (const sapwood::cancelled&) {
                cancelled_below = true;
                throw;
            }
        };
        auto handle = sapwood::spawn(parent(reached));
        co_await sapwood::yield();
        handle.cancel();
        CHECK_THROWS_AS(co_await handle, sapwood::cancelled);
        CHECK(reached);
    }

    TEST_CASE("awaiting a task twice hits the assertion") {
        auto twice = []() -> task<> {
            auto child = answer();
            (void)co_await std::move(child);
            (void)co_await std::move(child);
        };
        CHECK(last_words([&] { sapwood::test::run_virtual(twice()); }) ==
              doctest::Contains("a task was awaited twice"));
    }

    TEST_CASE("a result that was never returned hits the assertion") {
        bool returns = false;
        auto forgets = [&]() -> task<int> { return forget_to_return(returns); };
        CHECK(last_words([&] { (void)sapwood::test::run_virtual(forgets()); }) ==
              doctest::Contains("ended without co_return"));
        returns = true;
        CHECK(sapwood::test::run_virtual(forgets()) == 1);
    }

    TEST_CASE("awaiting a task that was moved from hits the assertion") {
        auto moved = []() -> task<> {
            auto child = answer();
            auto other = std::move(child);
            (void)co_await std::move(child);
        };
        CHECK(last_words([&] { sapwood::test::run_virtual(moved()); }) ==
              doctest::Contains("after it was moved from"));
    }

    TEST_CASE("destroying a task while it waits hits the assertion") {
        // The awaiter is driven by hand: no coroutine can destroy what it awaits.
        auto half_started = []() -> task<> {
            auto child = std::make_optional(late_answer());
            auto starter = [](task<int>& target) -> task<> { (void)co_await std::move(target); };
            auto handle = sapwood::spawn(starter(*child));
            co_await sapwood::yield();
            child.reset();
        };
        CHECK(last_words([&] { sapwood::test::run_virtual(half_started()); }) ==
              doctest::Contains("a task was destroyed while it waits"));
    }
}
