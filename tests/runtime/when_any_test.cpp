// when_any: the first to end, after the others have ended too.
#include "support/child_process.hpp"
#include "support/co_test.hpp"

#include <sapwood/channel.hpp>
#include <sapwood/event.hpp>
#include <sapwood/mutex.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>
#include <sapwood/when_any.hpp>

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using namespace std::chrono_literals;
using sapwood::event_loop;
using sapwood::sleep_for;
using sapwood::task;
using sapwood::when_any;

task<int> after(sapwood::clock::duration delay, int value) {
    co_await sleep_for(delay);
    co_return value;
}

task<> fail_after(sapwood::clock::duration delay, std::string message) {
    co_await sleep_for(delay);
    throw std::runtime_error(message);
}

task<> wait_and_clean_up(std::string& how) {
    try {
        co_await sleep_for(24h);
    } catch (const sapwood::cancelled&) {
        how += 'c';
    }
    co_await sleep_for(1h);
    how += 'e';
    throw sapwood::cancelled{};
}

task<int> refuse_to_stop(int value) {
    try {
        co_await sleep_for(24h);
    } catch (const sapwood::cancelled&) {
    }
    co_return value;
}

task<> fail_when_stopped() {
    try {
        co_await sleep_for(24h);
    } catch (const sapwood::cancelled&) {
    }
    throw std::runtime_error("while stopping");
}

} // namespace

TEST_SUITE("when_any") {

    CO_TEST_CASE("the first to end gives its index and its result, of whatever type") {
        const auto before = event_loop::current().now();
        const auto [index, value] = co_await when_any(
            after(3s, 7),
            []() -> task<std::string> {
                co_await sleep_for(1s);
                co_return "text";
            },
            sapwood::detail::as_task([]() -> task<> { co_await sleep_for(2s); }));
        CHECK(index == 1);
        CHECK(value.index() == 1);
        CHECK(std::get<1>(value) == "text");
        CHECK(event_loop::current().now() - before == 1s);
    }

    CO_TEST_CASE("a vector of tasks gives the index and the value of the first") {
        std::vector<task<int>> tasks;
        for (int i = 0; i < 20; ++i) {
            tasks.push_back(after(1s * (1 + (i * 7 + 3) % 20), i));
        }
        const auto first = co_await when_any(std::move(tasks));
        CHECK((first.index * 7 + 3) % 20 == 0);
        CHECK(first.value == static_cast<int>(first.index));
    }

    CO_TEST_CASE("the losers are cancelled, and awaited before it returns") {
        std::string how;
        const auto before = event_loop::current().now();
        const auto first = co_await when_any(wait_and_clean_up(how), after(1s, 7));
        CHECK(first.index == 1);
        CHECK(how == "ce");
        CHECK(event_loop::current().now() - before == 1h + 1s);
    }

    CO_TEST_CASE("an exception wins as well and is thrown when all have ended") {
        std::string how;
        CHECK_THROWS_WITH_AS((void)co_await when_any(wait_and_clean_up(how), fail_after(1s, "x")),
                             "x", std::runtime_error);
        CHECK(how == "ce");
        std::vector<task<>> tasks;
        tasks.push_back(wait_and_clean_up(how));
        tasks.push_back(fail_after(1s, "y"));
        CHECK_THROWS_WITH_AS((void)co_await when_any(std::move(tasks)), "y", std::runtime_error);
    }

    TEST_CASE("a loser's value is destroyed, and its exception reported") {
        std::vector<std::string> reported;
        sapwood::loop_options options;
        options.on_unhandled_exception = [&](const std::exception_ptr& error) {
            try {
                std::rethrow_exception(error);
            } catch (const std::runtime_error& failure) {
                reported.emplace_back(failure.what());
            }
        };
        auto body = []() -> task<> {
            const auto first =
                co_await when_any(refuse_to_stop(1), after(1s, 2), fail_when_stopped());
            CHECK(first.index == 1);
        };
        sapwood::test::run_virtual(body(), options);
        CHECK(reported == std::vector<std::string>{"while stopping"});
    }

    CO_TEST_CASE("cancelling who waits cancels all, awaits them, and throws cancelled") {
        std::string how;
        auto handle = sapwood::spawn([&]() -> task<> {
            (void)co_await when_any(wait_and_clean_up(how), wait_and_clean_up(how));
        });
        co_await sleep_for(1s);
        handle.cancel();
        CHECK_THROWS_AS(co_await handle, sapwood::cancelled);
        CHECK(how == "ccee");
    }

    CO_TEST_CASE("who was cancelled still gets a result that comes, and is stopped afterwards") {
        std::size_t index = 9;
        int value = 0;
        auto handle = sapwood::spawn([&]() -> task<> {
            const auto first = co_await when_any(after(24h, 1), refuse_to_stop(2));
            index = first.index;
            value = std::get<1>(first.value);
            co_await sleep_for(1h);
            value = 0;
        });
        co_await sleep_for(1s);
        handle.cancel();
        CHECK_THROWS_AS(co_await handle, sapwood::cancelled);
        CHECK(index == 1);
        CHECK(value == 2);
    }

    CO_TEST_CASE("operations, sleeps and receives race by themselves, each as a result") {
        sapwood::channel<int> items(1);
        sapwood::event never;
        const auto quiet = co_await when_any(items.receive(), never.wait(), sleep_for(1s));
        CHECK(quiet.index == 2);
        CHECK(std::get<2>(quiet.value).has_value());
        co_await items.send(7);
        auto busy = co_await when_any(items.receive(), sleep_for(1s));
        CHECK(busy.index == 0);
        CHECK(std::get<0>(busy.value).value() == 7);
        items.close();
        const auto closed = co_await when_any(items.receive(), sleep_for(1s));
        CHECK(closed.index == 0);
        CHECK(std::get<0>(closed.value).error() == sapwood::errc::closed);
    }

    CO_TEST_CASE("a lock that a loser was handed is given back") {
        sapwood::mutex guarded;
        {
            auto held = co_await guarded.lock();
            auto race = sapwood::spawn([&]() -> task<> {
                const auto first = co_await when_any(sleep_for(1s), guarded.lock());
                CHECK(first.index == 0);
            });
            co_await sleep_for(2s);
            co_await race;
        }
        CHECK_FALSE(guarded.is_locked());
    }

    CO_TEST_CASE("references and move-only results come through") {
        int object = 0;
        auto first = co_await when_any(
            [&]() -> task<int&> { co_return object; },
            []() -> task<std::unique_ptr<int>> { co_return std::make_unique<int>(7); });
        CHECK(&std::get<0>(first.value).get() == &object);
        const auto only = co_await when_any(
            []() -> task<std::unique_ptr<int>> { co_return std::make_unique<int>(7); });
        CHECK(*std::get<0>(only.value) == 7);
    }

    CO_TEST_CASE("tasks, functions and operations may stand side by side") {
        std::string how;
        auto first = co_await when_any(wait_and_clean_up(how), sleep_for(1s));
        CHECK(first.index == 1);
        CHECK(std::get<1>(first.value).has_value());
        CHECK(how == "ce");
        sapwood::channel<int> closed(1);
        closed.close();
        auto never = []() -> task<int> {
            co_await sleep_for(24h);
            co_return 1;
        };
        auto failed = co_await when_any(never, closed.receive());
        CHECK(failed.index == 1);
        CHECK(std::get<1>(failed.value).error() == sapwood::errc::closed);
        auto won = co_await when_any(sleep_for(24h), after(1s, 5), never);
        CHECK(won.index == 1);
        CHECK(std::get<1>(won.value) == 5);
        CHECK_THROWS_WITH_AS((void)co_await when_any(sleep_for(24h), fail_after(1s, "x")), "x",
                             std::runtime_error);
    }

    TEST_CASE("when_any of no tasks hits the assertion") {
        auto misuse = []() -> task<> { (void)co_await when_any(std::vector<task<>>()); };
        CHECK(sapwood::test::last_words([&] { sapwood::test::run_virtual(misuse()); }) ==
              doctest::Contains("wait for ever"));
    }
}
