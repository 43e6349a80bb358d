// task_group: members begin and end together.
#include "support/allocations.hpp"
#include "support/child_process.hpp"
#include "support/co_test.hpp"

#include <sapwood/channel.hpp>
#include <sapwood/event.hpp>
#include <sapwood/sanitizers.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>
#include <sapwood/task_group.hpp>

#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using namespace std::chrono_literals;
using sapwood::event_loop;
using sapwood::sleep_for;
using sapwood::task;
using sapwood::task_group;
using sapwood::with_task_group;
using sapwood::test::last_words;

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

task<> fail_when_stopped(std::string message) {
    try {
        co_await sleep_for(24h);
    } catch (const sapwood::cancelled&) {
    }
    throw std::runtime_error(message);
}

task<> note_after(sapwood::clock::duration delay, std::string& order, char name) {
    co_await sleep_for(delay);
    order += name;
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

} // namespace

TEST_SUITE("task_group") {

    CO_TEST_CASE("the body's result comes when all members have ended") {
        std::string order;
        const auto before = event_loop::current().now();
        CHECK(co_await with_task_group([&](task_group& group) -> task<int> {
                  group.spawn(note_after(2s, order, 'b'));
                  group.spawn([&]() -> task<> { co_await note_after(1s, order, 'a'); });
                  CHECK(group.size() == 3);
                  CHECK(order.empty());
                  co_return 7;
              }) == 7);
        CHECK(order == "ab");
        CHECK(event_loop::current().now() - before == 2s);
    }

    CO_TEST_CASE(
        "when a member fails the body and the others are cancelled, awaited, and it is thrown") {
        std::string how;
        const auto before = event_loop::current().now();
        CHECK_THROWS_WITH_AS(co_await with_task_group([&](task_group& group) -> task<> {
                                 group.spawn(wait_and_clean_up(how));
                                 group.spawn(fail_after(1s, "first"));
                                 co_await wait_and_clean_up(how);
                             }),
                             "first", std::runtime_error);
        CHECK(how == "ccee");
        CHECK(event_loop::current().now() - before == 1h + 1s);
    }

    CO_TEST_CASE("when the body fails the members are cancelled and awaited") {
        std::string how;
        CHECK_THROWS_WITH_AS(co_await with_task_group([&](task_group& group) -> task<int> {
                                 group.spawn(wait_and_clean_up(how));
                                 co_await sleep_for(1s);
                                 throw std::runtime_error("body");
                             }),
                             "body", std::runtime_error);
        CHECK(how == "ce");
    }

    TEST_CASE("the first failure is thrown, the later ones are reported") {
        const auto messages = unhandled_in([]() -> task<> {
            CHECK_THROWS_WITH_AS(co_await with_task_group([&](task_group& group) -> task<> {
                                     group.spawn(fail_when_stopped("second"));
                                     group.spawn(fail_when_stopped("third"));
                                     co_await sleep_for(1s);
                                     throw std::runtime_error("first");
                                 }),
                                 "first", std::runtime_error);
        });
        REQUIRE(messages.size() == 2);
        CHECK(messages[0] != messages[1]);
    }

    TEST_CASE("failures() gives all of them, and then none is reported") {
        const auto messages = unhandled_in([]() -> task<> {
            task_group group;
            group.spawn(fail_after(1s, "first"));
            group.spawn(fail_when_stopped("second"));
            CHECK_THROWS_WITH_AS(co_await group.join(), "first", std::runtime_error);
            std::vector<std::string> all;
            for (const auto& failure : group.failures()) {
                all.push_back(message_of(failure));
            }
            CHECK(all == std::vector<std::string>{"first", "second"});
        });
        CHECK(messages.empty());
    }

    TEST_CASE("a failure is reported where nobody joins again") {
        const auto messages = unhandled_in([]() -> task<> {
            task_group group;
            group.spawn(fail_after(1s, "unseen"));
            co_await sleep_for(1h);
            CHECK(group.size() == 0);
        });
        CHECK(messages == std::vector<std::string>{"unseen"});
    }

    CO_TEST_CASE("cancelling who awaits cancels all members once and awaits them") {
        std::string how;
        auto handle = sapwood::spawn([&]() -> task<> {
            co_await with_task_group([&](task_group& group) -> task<> {
                group.spawn(wait_and_clean_up(how));
                co_await wait_and_clean_up(how);
            });
        });
        co_await sleep_for(1s);
        handle.cancel();
        co_await sleep_for(1s);
        CHECK(how == "cc");
        handle.cancel(); // does not break off the cleanup
        CHECK_THROWS_AS(co_await handle, sapwood::cancelled);
        CHECK(how == "ccee");
    }

    CO_TEST_CASE("who is cancelled before the body starts runs none of it") {
        bool ran = false;
        sapwood::join_handle<> handle;
        handle = sapwood::spawn([&]() -> task<> {
            handle.cancel();
            co_await with_task_group([&](task_group&) -> task<> {
                ran = true;
                co_return;
            });
        });
        CHECK_THROWS_AS(co_await handle, sapwood::cancelled);
        CHECK_FALSE(ran);
    }

    CO_TEST_CASE("members that had ended keep their result when the request comes too late") {
        int got = 0;
        sapwood::join_handle<> handle;
        handle = sapwood::spawn([&]() -> task<> {
            got = co_await with_task_group([&](task_group&) -> task<int> {
                handle.cancel();
                co_return 7;
            });
            co_await sleep_for(1s);
            got = 0;
        });
        CHECK_THROWS_AS(co_await handle, sapwood::cancelled);
        CHECK(got == 7);
    }

    CO_TEST_CASE("members may add members, also after the body has returned") {
        std::string order;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([&]() -> task<> {
                co_await sleep_for(1s);
                group.spawn([&]() -> task<> {
                    order += 'a';
                    group.spawn(note_after(1s, order, 'b'));
                    co_return;
                });
            });
            co_return;
        });
        CHECK(order == "ab");
    }

    CO_TEST_CASE("a member that comes when the group was told to stop never runs") {
        bool ran = false;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.cancel();
            group.spawn([&]() -> task<> {
                ran = true;
                co_return;
            });
            co_return;
        });
        CHECK_FALSE(ran);
    }

    CO_TEST_CASE("group.cancel() stops the members and the body, not who awaits them") {
        std::string how;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn(wait_and_clean_up(how));
            group.spawn([&]() -> task<> {
                co_await sleep_for(1s);
                group.cancel();
            });
            co_await sleep_for(24h);
        });
        CHECK(how == "ce");
        co_await sleep_for(1s); // no request is left
        std::error_code error;
        try {
            (void)co_await with_task_group([](task_group& group) -> task<int> {
                group.cancel();
                co_await sleep_for(1s);
                co_return 7;
            });
        } catch (const std::system_error& failure) {
            error = failure.code();
        }
        CHECK(error == std::errc::operation_canceled);
    }

    CO_TEST_CASE("a member that stops by itself does not fail the group, a body does end it") {
        std::string order;
        auto stop = []() -> task<> {
            throw sapwood::cancelled{};
            co_return;
        };
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn(stop());
            group.spawn(note_after(1s, order, 'a'));
            co_return;
        });
        CHECK(order == "a");
        CHECK_THROWS_AS(co_await with_task_group([&](task_group& group) -> task<> {
                            group.spawn(note_after(1s, order, 'b'));
                            co_await stop();
                        }),
                        sapwood::cancelled);
        CHECK(order == "a");
    }

    CO_TEST_CASE("a joined group may be used again, and a cancelled one too") {
        task_group group;
        std::string order;
        co_await group.join(); // nothing to wait for
        group.spawn(note_after(1s, order, 'a'));
        co_await group.join();
        group.spawn(note_after(24h, order, 'x'));
        co_await sapwood::yield();
        group.cancel();
        co_await group.join();
        group.spawn(note_after(1s, order, 'b'));
        co_await group.join();
        CHECK(order == "ab");
    }

    CO_TEST_CASE("a lambda's captures live as long as its member, a move-only result is dropped") {
        const auto token = std::make_shared<int>(0);
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn([token]() -> task<std::unique_ptr<int>> {
                co_await sleep_for(1s);
                CHECK(*token == 0);
                co_return std::make_unique<int>(1);
            });
            co_return;
        });
        CHECK(token.use_count() == 1);
    }

    TEST_CASE("the loop's end stops a group that nobody awaits any more, and awaits its members") {
        std::string how;
        auto leave = [&]() -> task<> {
            sapwood::spawn([&]() -> task<> {
                co_await with_task_group([&](task_group& group) -> task<> {
                    group.spawn(wait_and_clean_up(how));
                    co_await wait_and_clean_up(how);
                });
            }).detach();
            co_await sleep_for(1s);
        };
        sapwood::test::run_virtual(leave());
        CHECK(how == "ccee");
    }

    TEST_CASE(
        "a group may outlive its loop, whose end was its members'; to add one hits the assertion") {
        std::optional<task_group> group(std::in_place);
        std::string how;
        auto add = [&]() -> task<> {
            group->spawn(wait_and_clean_up(how));
            co_await sapwood::yield();
        };
        sapwood::test::run_virtual(add());
        CHECK(how == "ce");
        CHECK(last_words([&] { group->spawn(wait_and_clean_up(how)); }) ==
              doctest::Contains("no event loop runs on this thread"));
        group.reset();
    }

    CO_TEST_CASE("members cost their pooled blocks and no allocation") {
        auto nothing = []() -> task<> { co_return; };
        auto use = [&]() -> task<> {
            co_await with_task_group([&](task_group& group) -> task<> {
                for (int i = 0; i < 10; ++i) {
                    group.spawn(nothing());
                }
                co_return;
            });
        };
        co_await use(); // fills the pool
        const auto before = sapwood::test::allocations();
        co_await use();
        const auto used = sapwood::test::allocations() - before;
        CHECK((SAPWOOD_ADDRESS_SANITIZER || used == 0));
    }

    TEST_CASE("a group destroyed with members alive hits the assertion, and so do two joiners") {
        auto drop = []() -> task<> {
            task_group group;
            group.spawn([]() -> task<> { co_await sleep_for(1h); });
            co_await sapwood::yield();
        };
        CHECK(last_words([&] { sapwood::test::run_virtual(drop()); }) ==
              doctest::Contains("while members are alive"));
        auto join_twice = []() -> task<> {
            task_group group;
            group.spawn([]() -> task<> { co_await sleep_for(1h); });
            auto other = sapwood::spawn([&]() -> task<> { co_await group.join(); });
            co_await sapwood::yield();
            co_await group.join();
        };
        CHECK(last_words([&] { sapwood::test::run_virtual(join_twice()); }) ==
              doctest::Contains("joined by two tasks"));
    }
}
