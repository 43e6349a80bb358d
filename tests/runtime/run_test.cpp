// run: entering a loop and leaving it with nothing left alive.
#include <doctest/doctest.h>
#include <sapwood/run.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/when_all.hpp>

#include <stdexcept>
#include <string>
#include <utility>

namespace {

using namespace std::chrono_literals;

sapwood::task<int> answer() {
    co_return 42;
}

sapwood::task<> fail() {
    co_await sapwood::yield();
    throw std::runtime_error("as planned");
}

sapwood::task<> sleep_for_a_day(bool& was_cancelled) {
    try {
        co_await sapwood::sleep_for(24h);
    } catch (const sapwood::cancelled&) {
        was_cancelled = true;
        throw;
    }
}

sapwood::task<> leave_a_sleeper_behind(bool& was_cancelled) {
    sapwood::spawn(sleep_for_a_day(was_cancelled)).detach();
    co_await sapwood::yield();
}

} // namespace

TEST_SUITE("run") {

    TEST_CASE("run returns the main task's result") {
        CHECK(sapwood::run(answer()) == 42);
    }

    TEST_CASE("run, spawn and when_all take what makes a task, and keep its captures") {
        CHECK(sapwood::run(answer) == 42);
        const auto greet = [](std::string name) {
            return [name = std::move(name)]() -> sapwood::task<std::string> {
                co_await sapwood::yield();
                co_return "hello, " + name;
            };
        };
        CHECK(sapwood::run(greet("oak, whose name is too long to stay inside the string")) ==
              "hello, oak, whose name is too long to stay inside the string");
        sapwood::run([&]() -> sapwood::task<> {
            auto spawned = sapwood::spawn(greet("ash, whose name is long enough as well"));
            CHECK(co_await spawned == "hello, ash, whose name is long enough as well");
            const auto [beech, number] = co_await sapwood::when_all(
                greet("beech, whose name is long enough as well"), answer());
            CHECK(beech == "hello, beech, whose name is long enough as well");
            CHECK(number == 42);
        });
    }

    TEST_CASE("run throws the main task's exception") {
        CHECK_THROWS_WITH_AS(sapwood::run(fail()), "as planned", std::runtime_error);
    }

    TEST_CASE("run cancels and awaits what is still alive when the main task ends") {
        bool was_cancelled = false;
        sapwood::run(leave_a_sleeper_behind(was_cancelled));
        CHECK(was_cancelled);
    }
}
