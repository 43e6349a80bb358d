// when_all: all results, or the first failure after everything has ended.
#include "support/co_test.hpp"

#include <sapwood/channel.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>
#include <sapwood/when_all.hpp>

#include <memory>
#include <stdexcept>
#include <string>
#include <tuple>
#include <variant>
#include <vector>

namespace {

using namespace std::chrono_literals;
using sapwood::event_loop;
using sapwood::task;
using sapwood::when_all;

task<int> after(sapwood::clock::duration delay, int value) {
    co_await sapwood::sleep_for(delay);
    co_return value;
}

task<std::string> text_after(sapwood::clock::duration delay) {
    co_await sapwood::sleep_for(delay);
    co_return "text";
}

task<> fail_after(sapwood::clock::duration delay, std::string message) {
    co_await sapwood::sleep_for(delay);
    throw std::runtime_error(message);
}

/// How it ended: 'c' for cancelled, then 'e' when its cleanup, which waits, is over.
task<> wait_and_clean_up(std::string& how) {
    try {
        co_await sapwood::sleep_for(24h);
    } catch (const sapwood::cancelled&) {
        how += 'c';
    }
    co_await sapwood::sleep_for(1h);
    how += 'e';
    throw sapwood::cancelled{};
}

} // namespace

TEST_SUITE("when_all") {

    CO_TEST_CASE("all results come in the order of the tasks, in the time of the longest") {
        const auto before = event_loop::current().now();
        const auto [number, text, nothing] =
            co_await when_all(after(3s, 7), text_after(1s), [](int) -> task<> { co_return; }(0));
        CHECK(number == 7);
        CHECK(text == "text");
        CHECK(nothing == std::monostate());
        CHECK(event_loop::current().now() - before == 3s);
    }

    CO_TEST_CASE("a vector of tasks gives a vector of results in the tasks' order") {
        std::vector<task<int>> tasks;
        for (int i = 0; i < 100; ++i) {
            tasks.push_back(after(1s * ((i * 37) % 100), i));
        }
        const auto results = co_await when_all(std::move(tasks));
        REQUIRE(results.size() == 100);
        int wrong = 0;
        for (int i = 0; i < 100; ++i) {
            wrong += results[static_cast<std::size_t>(i)] == i ? 0 : 1;
        }
        CHECK(wrong == 0);
    }

    CO_TEST_CASE("nothing to wait for is over at once") {
        CHECK((co_await when_all(std::vector<task<int>>())).empty());
        co_await when_all(std::vector<task<>>());
        const auto nothing = co_await when_all();
        CHECK(std::tuple_size_v<decltype(nothing)> == 0);
    }

    CO_TEST_CASE("results may be move-only or references") {
        int object = 0;
        auto make = []() -> task<std::unique_ptr<int>> { co_return std::make_unique<int>(7); };
        auto refer = [](int& to) -> task<int&> { co_return to; };
        auto results = co_await when_all(make(), refer(object));
        CHECK(*std::get<0>(results) == 7);
        CHECK(&std::get<1>(results) == &object);
    }

    CO_TEST_CASE("the first failure cancels the others, awaits them, and is what is thrown") {
        std::string how;
        const auto before = event_loop::current().now();
        std::string message;
        try {
            (void)co_await when_all(wait_and_clean_up(how), fail_after(1s, "first"),
                                    fail_after(2s, "second"));
        } catch (const std::runtime_error& failure) {
            message = failure.what();
        }
        CHECK(message == "first");
        CHECK(how == "ce");
        CHECK(event_loop::current().now() - before == 1h + 1s);
    }

    CO_TEST_CASE("a failure in a vector of tasks cancels the others and awaits them") {
        std::string how;
        std::vector<task<>> tasks;
        tasks.push_back(wait_and_clean_up(how));
        tasks.push_back(fail_after(0s, "first"));
        tasks.push_back(wait_and_clean_up(how));
        CHECK_THROWS_WITH_AS(co_await when_all(std::move(tasks)), "first", std::runtime_error);
        CHECK(how == "ccee");
    }

    CO_TEST_CASE("a failure before the others have started keeps them from running") {
        bool ran = false;
        auto fail_at_once = []() -> task<> {
            throw std::runtime_error("at once");
            co_return;
        };
        auto note = [&]() -> task<> {
            ran = true;
            co_return;
        };
        CHECK_THROWS_AS((void)co_await when_all(fail_at_once(), note()), std::runtime_error);
        CHECK_FALSE(ran);
    }

    CO_TEST_CASE("cancelling who waits cancels all and awaits them") {
        std::string how;
        auto wait_for_both = [&]() -> task<> {
            (void)co_await when_all(wait_and_clean_up(how), wait_and_clean_up(how));
        };
        auto handle = sapwood::spawn(wait_for_both());
        co_await sapwood::sleep_for(1s);
        handle.cancel();
        co_await sapwood::sleep_for(1s);
        CHECK(how == "cc");
        CHECK_FALSE(handle.done());
        CHECK_THROWS_AS(co_await handle, sapwood::cancelled);
        CHECK(how == "ccee");
    }

    CO_TEST_CASE("a task with a pending request cancels the tasks before they run") {
        bool ran = false;
        sapwood::join_handle<void> handle;
        auto note = [&]() -> task<> {
            ran = true;
            co_return;
        };
        auto wait = [&]() -> task<> {
            handle.cancel();
            (void)co_await when_all(note(), note());
        };
        handle = sapwood::spawn(wait());
        CHECK_THROWS_AS(co_await handle, sapwood::cancelled);
        CHECK_FALSE(ran);
    }

    CO_TEST_CASE("a request that when_all has delivered is not delivered again") {
        std::string how;
        bool slept = false;
        auto wait_then_sleep = [&]() -> task<> {
            try {
                (void)co_await when_all(wait_and_clean_up(how), wait_and_clean_up(how));
            } catch (const sapwood::cancelled&) {
            }
            co_await sapwood::sleep_for(1s);
            slept = true;
        };
        auto handle = sapwood::spawn(wait_then_sleep());
        co_await sapwood::yield();
        co_await sapwood::yield();
        handle.cancel();
        co_await handle;
        CHECK(slept);
    }

    CO_TEST_CASE("a request to stop does not break off a cleanup that a failure has begun") {
        std::string how;
        auto both = [&]() -> task<> {
            (void)co_await when_all(fail_after(1s, "first"), wait_and_clean_up(how));
        };
        auto handle = sapwood::spawn(both());
        co_await sapwood::sleep_for(2s);
        CHECK(how == "c");
        handle.cancel();
        CHECK_THROWS_WITH_AS(co_await handle, "first", std::runtime_error);
        CHECK(how == "ce");
    }

    CO_TEST_CASE("when_all inside when_all passes failures up and requests to stop down") {
        std::string how;
        auto inner = [&]() -> task<> {
            (void)co_await when_all(wait_and_clean_up(how), wait_and_clean_up(how));
        };
        CHECK_THROWS_WITH_AS((void)co_await when_all(inner(), fail_after(1s, "outer")), "outer",
                             std::runtime_error);
        CHECK(how == "ccee");
    }

    CO_TEST_CASE("operations, sends and sleeps are branches by themselves, beside tasks") {
        sapwood::channel<int> items(1);
        auto two = []() -> task<int> { co_return 2; };
        const auto [sent, got, slept, made] =
            co_await when_all(items.send(1), items.receive(), sapwood::sleep_for(1s), two());
        CHECK(got == 1);
        CHECK(made == 2);
        auto failing = fail_after(1ms, "first");
        CHECK_THROWS_WITH_AS((void)co_await when_all(items.receive(), std::move(failing)), "first",
                             std::runtime_error);
    }

    TEST_CASE("a when_all that is never awaited runs nothing and frees its tasks") {
        const auto token = std::make_shared<int>(0);
        auto keep = [](std::shared_ptr<int>) -> task<> { co_return; };
        {
            const auto never = when_all(keep(token), keep(token));
            CHECK(token.use_count() == 3);
        }
        CHECK(token.use_count() == 1);
    }
}
