// spawn and join_handle: await, cancel, drop, outlive.
#include "support/child_process.hpp"
#include "support/co_test.hpp"

#include <sapwood/channel.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using namespace std::chrono_literals;
using sapwood::task;
using sapwood::test::last_words;

task<int> answer() {
    co_return 42;
}

task<> fail() {
    co_await sapwood::yield();
    throw std::runtime_error("as planned");
}

task<> sleep_for_a_day() {
    co_await sapwood::sleep_for(24h);
}

/// Notes how it was ended.
task<> wait_noting(std::string& how) {
    how = "waiting";
    try {
        co_await sapwood::sleep_for(24h);
        how = "over";
    } catch (const sapwood::cancelled&) {
        how = "cancelled";
        throw;
    }
}

task<int> refuse_to_stop() {
    try {
        co_await sapwood::sleep_for(24h);
    } catch (const sapwood::cancelled&) {
    }
    co_return 7;
}

task<int> join(sapwood::join_handle<int>& handle) {
    co_return co_await handle;
}

std::string message_of(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const std::exception& failure) {
        return failure.what();
    }
}

/// Runs `body` and gives the messages of what nobody caught.
template <class Body>
std::vector<std::string> unhandled_in(Body body) {
    std::vector<std::string> messages;
    sapwood::loop_options options;
    options.on_unhandled_exception = [&](const std::exception_ptr& error) {
        messages.push_back(message_of(error));
    };
    sapwood::test::run_virtual(body(), options);
    return messages;
}

task<> join_any(sapwood::join_handle<>& handle) {
    co_await handle;
}

} // namespace

TEST_SUITE("spawn") {

    CO_TEST_CASE("a spawned task starts when the loop gets to it, not inside spawn") {
        std::string how;
        auto handle = sapwood::spawn(wait_noting(how));
        CHECK(how.empty());
        co_await sapwood::yield();
        CHECK(how == "waiting");
        handle.cancel();
        CHECK_THROWS_AS(co_await handle, sapwood::cancelled);
    }

    CO_TEST_CASE("awaiting a handle gives the task's result, also when the task is long over") {
        auto handle = sapwood::spawn(answer());
        CHECK_FALSE(handle.done());
        CHECK(co_await handle == 42);
        CHECK(handle.done());
        auto over = sapwood::spawn(answer());
        co_await sapwood::sleep_for(1h);
        CHECK(over.done());
        CHECK(co_await over == 42);
    }

    CO_TEST_CASE("awaiting a handle throws what the task threw") {
        auto handle = sapwood::spawn(fail());
        CHECK_THROWS_WITH_AS(co_await handle, "as planned", std::runtime_error);
    }

    CO_TEST_CASE("a result can be move-only or a reference") {
        int object = 0;
        auto refer = [](int& to) -> task<int&> { co_return to; };
        auto reference = sapwood::spawn(refer(object));
        CHECK(&co_await reference == &object);
        auto make = []() -> task<std::unique_ptr<int>> { co_return std::make_unique<int>(7); };
        auto pointer = sapwood::spawn(make());
        CHECK(*co_await pointer == 7);
    }

    CO_TEST_CASE("tasks start in the order they were spawned") {
        std::vector<int> order;
        auto note = [&](int number) -> task<> {
            order.push_back(number);
            co_return;
        };
        std::vector<sapwood::join_handle<void>> handles;
        for (int i = 0; i < 5; ++i) {
            handles.push_back(sapwood::spawn(note(i)));
        }
        for (auto& handle : handles) {
            co_await handle;
        }
        CHECK(order == std::vector{0, 1, 2, 3, 4});
    }

    CO_TEST_CASE("cancel throws where the task waits, not before the loop gets to it") {
        std::string how;
        auto handle = sapwood::spawn(wait_noting(how));
        co_await sapwood::yield();
        handle.cancel();
        CHECK(how == "waiting");
        CHECK_THROWS_AS(co_await handle, sapwood::cancelled);
        CHECK(how == "cancelled");
    }

    CO_TEST_CASE("a task that is cancelled before its start never runs its body") {
        std::string how;
        auto handle = sapwood::spawn(wait_noting(how));
        handle.cancel();
        CHECK_THROWS_AS(co_await handle, sapwood::cancelled);
        CHECK(how.empty());
    }

    CO_TEST_CASE("cancelling twice, or a task that is over, does nothing more") {
        std::string how;
        auto handle = sapwood::spawn(wait_noting(how));
        co_await sapwood::yield();
        handle.cancel();
        handle.cancel();
        CHECK_THROWS_AS(co_await handle, sapwood::cancelled);
        auto over = sapwood::spawn(answer());
        co_await sapwood::yield();
        over.cancel();
        CHECK(co_await over == 42);
    }

    CO_TEST_CASE("a task may handle its cancellation and end with a result") {
        auto handle = sapwood::spawn(refuse_to_stop());
        co_await sapwood::yield();
        handle.cancel();
        CHECK(co_await handle == 7);
    }

    CO_TEST_CASE("a task that cancels itself is stopped at its next wait, once") {
        int waits = 0;
        sapwood::join_handle<void> handle;
        auto self = [&]() -> task<> {
            handle.cancel();
            try {
                co_await sapwood::sleep_for(1h);
                ++waits;
            } catch (const sapwood::cancelled&) {
            }
            co_await sapwood::sleep_for(1h); // the request has been delivered
            ++waits;
        };
        handle = sapwood::spawn(self());
        co_await handle;
        CHECK(waits == 1);
    }

    CO_TEST_CASE("cancelling who joins cancels what it joins and awaits its end") {
        std::string how;
        auto inner = sapwood::spawn(wait_noting(how));
        auto join_it = [](sapwood::join_handle<void>& handle) -> task<> { co_await handle; };
        auto outer = sapwood::spawn(join_it(inner));
        co_await sapwood::yield();
        outer.cancel();
        CHECK_THROWS_AS(co_await outer, sapwood::cancelled);
        CHECK(how == "cancelled");
        CHECK(inner.done());
    }

    CO_TEST_CASE("a joiner with a pending request cancels what it joins at once") {
        std::string how;
        auto inner = sapwood::spawn(wait_noting(how));
        auto busy = [&](sapwood::join_handle<void>& self) -> task<> {
            self.cancel();
            co_await inner;
        };
        sapwood::join_handle<void> outer;
        co_await sapwood::yield();
        outer = sapwood::spawn(busy(outer));
        CHECK_THROWS_AS(co_await outer, sapwood::cancelled);
        CHECK(how == "cancelled");
    }

    CO_TEST_CASE("a cancelled joiner keeps the result of a task that refused to stop") {
        auto inner = sapwood::spawn(refuse_to_stop());
        auto outer = sapwood::spawn(join(inner));
        co_await sapwood::yield();
        outer.cancel();
        CHECK(co_await outer == 7);
    }

    CO_TEST_CASE("a request that a join has delivered is not delivered again") {
        auto inner = sapwood::spawn(sleep_for_a_day());
        bool slept = false;
        auto join_and_go_on = [&]() -> task<> {
            try {
                co_await inner;
            } catch (const sapwood::cancelled&) {
            }
            co_await sapwood::sleep_for(1h);
            slept = true;
        };
        auto outer = sapwood::spawn(join_and_go_on());
        co_await sapwood::yield();
        outer.cancel();
        co_await outer;
        CHECK(slept);
    }

    CO_TEST_CASE("a dropped task goes on by itself") {
        bool ran = false;
        auto note = [&]() -> task<> {
            co_await sapwood::sleep_for(1h);
            ran = true;
        };
        sapwood::spawn(note()).detach();
        CHECK_FALSE(ran);
        co_await sapwood::sleep_for(2h);
        CHECK(ran);
    }

    TEST_CASE("the exception of a dropped task goes to on_unhandled_exception, once") {
        const auto messages = unhandled_in([]() -> task<> {
            sapwood::spawn(fail()).detach();
            co_await sapwood::sleep_for(1h);
        });
        CHECK(messages == std::vector<std::string>{"as planned"});
    }

    TEST_CASE("the exception of a task whose handle is dropped when it is over goes there too") {
        const auto messages = unhandled_in([]() -> task<> {
            auto handle = sapwood::spawn(fail());
            co_await sapwood::sleep_for(1h);
            CHECK(handle.done());
        });
        CHECK(messages == std::vector<std::string>{"as planned"});
    }

    TEST_CASE("an exception that was taken, and a cancellation, are nobody's unhandled exception") {
        const auto messages = unhandled_in([]() -> task<> {
            auto failing = sapwood::spawn(fail());
            CHECK_THROWS_AS(co_await failing, std::runtime_error);
            auto sleeping = sapwood::spawn(sleep_for_a_day());
            co_await sapwood::yield();
            sleeping.cancel();
        });
        CHECK(messages.empty());
    }

    TEST_CASE("without a handler the exception of a dropped task is printed") {
        const auto printed = last_words([] {
            auto drop = []() -> task<> {
                sapwood::spawn(fail()).detach();
                co_await sapwood::sleep_for(1h);
            };
            sapwood::test::run_virtual(drop());
            std::abort();
        });
        CHECK(printed == doctest::Contains("nobody awaits ended with an exception: as "
                                           "planned"));
    }

    TEST_CASE("a handle may outlive its loop and still say that the task is over") {
        sapwood::join_handle<int> handle;
        auto keep = [&]() -> task<> {
            handle = sapwood::spawn(refuse_to_stop());
            co_await sapwood::yield();
        };
        {
            sapwood::event_loop loop;
            loop.run(keep());
        }
        CHECK(handle.done());
    }

    CO_TEST_CASE("a moved handle still is the task's; assigning drops the one it held") {
        auto first = sapwood::spawn(answer());
        sapwood::join_handle<int> second(std::move(first));
        CHECK_FALSE(static_cast<bool>(first));
        first = sapwood::spawn(answer());
        first = std::move(second);
        CHECK(co_await first == 42);
    }

    CO_TEST_CASE("ten thousand spawned tasks all run to their ends") {
        int ended = 0;
        auto count = [&]() -> task<> {
            co_await sapwood::yield();
            ++ended;
        };
        std::vector<sapwood::join_handle<void>> handles;
        for (int i = 0; i < 10'000; ++i) {
            handles.push_back(sapwood::spawn(count()));
        }
        for (auto& handle : handles) {
            co_await handle;
        }
        CHECK(ended == 10'000);
    }

    TEST_CASE("a task that awaits its own end, also through others, hits the assertion") {
        for (const std::size_t around : {1u, 2u, 20u}) {
            auto misuse = [around]() -> task<> {
                std::vector<sapwood::join_handle<>> circle(around);
                for (std::size_t i = 0; i < around; ++i) {
                    circle[i] = sapwood::spawn(join_any(circle[(i + 1) % around]));
                }
                co_await circle[0];
            };
            CHECK(last_words([&] { sapwood::test::run_virtual(misuse()); }) ==
                  doctest::Contains("a task awaits its own end"));
        }
    }

    CO_TEST_CASE("cancelling one end of a hundred thousand joins reaches the other") {
        std::vector<sapwood::join_handle<>> chain;
        chain.reserve(100'000);
        chain.push_back(sapwood::spawn(sleep_for_a_day()));
        while (chain.size() < chain.capacity()) {
            chain.push_back(sapwood::spawn(join_any(chain.back())));
        }
        co_await sapwood::yield();
        for (int request = 0; request < 2; ++request) {
            chain.back().cancel();
        }
        CHECK_THROWS_AS(co_await chain.back(), sapwood::cancelled);
        CHECK(chain.front().done());
    }

    TEST_CASE("awaiting an empty handle hits the assertion") {
        auto misuse = []() -> task<> {
            sapwood::join_handle<int> empty;
            (void)co_await empty;
        };
        CHECK(last_words([&] { sapwood::test::run_virtual(misuse()); }) ==
              doctest::Contains("an empty join_handle was used"));
    }

    TEST_CASE("two tasks that await one handle hit the assertion") {
        auto misuse = []() -> task<> {
            auto inner = sapwood::spawn(refuse_to_stop());
            auto first = sapwood::spawn(join(inner));
            co_await sapwood::yield();
            (void)co_await inner;
        };
        CHECK(last_words([&] { sapwood::test::run_virtual(misuse()); }) ==
              doctest::Contains("awaited by two tasks at once"));
    }

    TEST_CASE("dropping a handle that a task awaits hits the assertion") {
        auto misuse = []() -> task<> {
            auto inner = sapwood::spawn(refuse_to_stop());
            auto waiting = sapwood::spawn(join(inner));
            co_await sapwood::yield();
            inner.detach();
            co_await waiting;
        };
        CHECK(last_words([&] { sapwood::test::run_virtual(misuse()); }) ==
              doctest::Contains("a join_handle was dropped while a task awaits it"));
    }

    TEST_CASE("taking a result twice hits the assertion") {
        auto misuse = []() -> task<> {
            auto handle = sapwood::spawn(answer());
            (void)co_await handle;
            (void)co_await handle;
        };
        CHECK(last_words([&] { sapwood::test::run_virtual(misuse()); }) ==
              doctest::Contains("was taken twice"));
    }

    TEST_CASE("spawn outside a loop hits the assertion") {
        CHECK(last_words([] { sapwood::spawn(sleep_for_a_day()).detach(); }) ==
              doctest::Contains("no event loop runs on this thread"));
    }

    TEST_CASE("a handle with an exception that nobody took may outlive its loop") {
        const std::string words = last_words([] {
                                      sapwood::join_handle<> handle;
                                      const auto main = [](sapwood::join_handle<>& keep) -> task<> {
                                          keep = sapwood::spawn(fail());
                                          co_await sapwood::yield();
                                          co_await sapwood::yield();
                                      };
                                      sapwood::run(main(handle));
                                      handle = {};
                                      SAPWOOD_ASSERT(false, "still alive");
                                  }).c_str();
        CHECK(words.find("as planned") != std::string::npos);
        CHECK(words.find("still alive") != std::string::npos);
    }
}
