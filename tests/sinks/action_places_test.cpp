// action_places: who is in an action, and who is not any more, where it is left, visited or ended
// out of order or elsewhere, and where an exception is on its way.
#include "support/action_lines.hpp"
#include "support/allocations.hpp"
#include "support/co_test.hpp"
#include "support/virtual_time_ring.hpp"

#include <sapwood/event.hpp>
#include <sapwood/event_loop.hpp>
#include <sapwood/logger.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>
#include <sapwood/when_any.hpp>

#include <chrono>
#include <doctest/doctest.h>
#include <memory>
#include <pthread.h>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace sapwood;
using namespace std::chrono_literals;
using strings = std::vector<std::string>;
using test::action_log;

task<> log_when(const logger& log, event& when, std::string text) {
    co_await when.wait();
    log.info("{}", text);
}

/// Starts as many tasks as it takes for one to be where an earlier one was.
task<> start_children(const logger& log, event& go, event& say) {
    co_await go.wait();
    std::vector<join_handle<>> children;
    for (int i = 0; i < 4; ++i) {
        children.push_back(spawn(log_when(log, say, "child")));
    }
    for (const auto& each : children) {
        co_await each;
    }
}

task<> fail_in(sapwood::action given) {
    auto here = std::move(given);
    co_await sleep_for(std::chrono::milliseconds(1));
    throw std::out_of_range("no such row");
}

/// Runs `body(all)` with little stack.
void run_on_small_stack(void* (*body)(void*), action_log& all) {
    pthread_attr_t small;
    REQUIRE(::pthread_attr_init(&small) == 0);
    REQUIRE(::pthread_attr_setstacksize(&small, 256u << 10) == 0);
    pthread_t thread{};
    REQUIRE(::pthread_create(&thread, &small, body, &all) == 0);
    REQUIRE(::pthread_join(thread, nullptr) == 0);
    ::pthread_attr_destroy(&small);
}

} // namespace

TEST_SUITE("action_places") {

    TEST_CASE("an action may end, or be left, in a visit of it") {
        for (const bool has_parent : {false, true}) {
            for (const bool ends : {false, true}) {
                CAPTURE(has_parent);
                CAPTURE(ends);
                action_log all;
                {
                    action outer = has_parent ? all.log.start_action("outer") : action();
                    auto inner = all.log.start_action("inner");
                    inner.leave();
                    {
                        const auto here = inner.enter();
                        all.log.info("inside");
                        if (ends) {
                            inner.succeed();
                        } else {
                            inner.leave();
                        }
                        all.log.info("outside");
                    }
                    all.log.info("behind");
                    inner.succeed();
                }
                const std::string at = has_parent ? "@2," : "@";
                strings expected{"inner+" + at + "1", "inside" + at + "2",
                                 has_parent ? "outside@3" : "outside",
                                 has_parent ? "behind@4" : "behind"};
                expected.insert(expected.begin() + (ends ? 2 : 4), "inners" + at + "3");
                if (has_parent) {
                    expected.insert(expected.begin(), "outer+@1");
                    expected.push_back("outers@5");
                }
                CHECK(all.outline() == expected);
            }
        }
    }

    TEST_CASE("an action that ends in a visit where it was not left is over there, too") {
        action_log all;
        auto one = all.log.start_action("one");
        {
            const auto here = one.enter();
            one.succeed();
        }
        all.log.info("outside");
        CHECK(all.outline() == strings{"one+@1", "ones@2", "outside"});
    }

    CO_TEST_CASE("who leaves an action leaves it alone: what was started in it stays") {
        action_log all;
        event go;
        auto action = all.log.start_action("outer");
        auto running = spawn(log_when(all.log, go, "worker"));
        action.leave();
        all.log.info("outside");
        go.set();
        co_await running;
        action.succeed();
        CHECK(all.outline() == strings{"outer+@1", "outside", "worker@2", "outers@3"});
    }

    CO_TEST_CASE("however an action ends, what was started in it goes on below it") {
        for (const int way : {0, 1, 2}) {
            CAPTURE(way);
            action_log all;
            event go;
            auto outer = all.log.start_action("outer");
            auto running = spawn(log_when(all.log, go, "late"));
            auto inner = way == 0 ? action() : all.log.start_action("inner");
            if (way == 2) {
                std::thread([&outer] { outer.succeed(); }).join();
            } else {
                outer.succeed();
            }
            inner.succeed();
            all.log.info("outside");
            go.set();
            co_await running;
            const auto told = all.outline();
            CHECK(told[told.size() - 2] == "outside");
            CHECK(told.back() == (way == 0 ? "late@3" : "late@4"));
        }
    }

    CO_TEST_CASE("a task that is where another one was has left nothing of what that one had") {
        for (const int way : {0, 1, 2}) {
            CAPTURE(way);
            action_log all;
            event go;
            auto visited = all.log.start_action("visited");
            visited.leave();
            action first;
            std::vector<join_handle<>> parents;
            const auto work = [&]() -> task<> {
                if (way == 2) { // left with the visit that it was begun in
                    const auto here = visited.enter();
                    first = all.log.start_action("first");
                    parents.push_back(spawn(start_children(all.log, go, go)));
                    co_return;
                }
                first = all.log.start_action("first");
                parents.push_back(spawn(start_children(all.log, go, go)));
                if (way == 0) { // out of order
                    auto second = all.log.start_action("second");
                    first.succeed();
                } else {
                    first = all.log.start_action("second");
                    first.succeed();
                }
            };
            co_await spawn(work());
            go.set();
            co_await yield(); // the children are there
            first.succeed();
            co_await parents.front();
            const auto told = all.outline();
            const std::string at = way == 2 ? "child@2," : "child@";
            const std::size_t end = way == 2 ? 2 : way == 0 ? 3 : 3;
            for (std::size_t i = 0; i < 4; ++i) {
                CHECK(told[told.size() - 4 + i] == at + std::to_string(end + 1 + i));
            }
        }
    }

    CO_TEST_CASE("nor has one that begins in nothing, and visits what that one began") {
        action_log all;
        action first;
        action kept;
        const auto begin = [&]() -> task<> {
            first = all.log.start_action("first");
            kept = all.log.start_action("kept");
            kept.leave();
            auto second = all.log.start_action("second");
            first.succeed(); // out of order: this task is to skip it
            co_return;
        };
        co_await spawn(begin());
        const auto visit = [](const logger& log, action& of, event& go) -> task<> {
            co_await go.wait();
            const auto here = of.enter();
            of.leave();
            log.info("visitor");
        };
        // As many as it takes for one to be where that one was.
        event go;
        std::vector<join_handle<>> visitors;
        for (int i = 0; i < 4; ++i) {
            visitors.push_back(spawn(visit(all.log, kept, go)));
        }
        go.set();
        for (const auto& each : visitors) {
            co_await each;
        }
        all.log.info("outside");
        kept.succeed();
        CHECK(all.outline() == strings{"first+@1", "kept+@2,1", "second+@3,1", "firsts@4",
                                       "seconds@3,2", "visitor@5", "visitor@6", "visitor@7",
                                       "visitor@8", "outside", "kepts@2,2"});
    }

    TEST_CASE("what ends elsewhere is left also where a visit in a visit came back to it") {
        action_log all;
        auto other = all.log.start_action("other");
        other.leave();
        auto outer = all.log.start_action("outer");
        auto inner = all.log.start_action("inner");
        inner.leave();
        {
            const auto visits_other = other.enter();
            auto one = all.log.start_action("one");
            {
                const auto visits_inner = inner.enter();
                inner.succeed();
                all.log.info("inside"); // of `outer`, and so is what comes behind the visits
            }
            one.succeed();
        }
        all.log.info("inside");
        std::thread([&outer] { outer.succeed(); }).join();
        all.log.info("outside");
        other.succeed();
        CHECK(all.outline() == strings{"other+@1", "outer+@1", "inner+@2,1", "one+@2,1",
                                       "inners@2,2", "inside@3", "ones@2,2", "inside@4", "outers@5",
                                       "outside", "others@3"});
    }

    CO_TEST_CASE("what ends out of order stays around those who are in what was begun in it") {
        action_log all;
        event go;
        auto first = all.log.start_action("first");
        auto second = all.log.start_action("second");
        auto third = all.log.start_action("third");
        const auto leave = [&]() -> task<> {
            co_await go.wait();
            third.leave();
            second.leave();
            all.log.info("inside");
        };
        auto running = spawn(leave());
        first.succeed();
        go.set();
        co_await running;
        third.succeed();
        second.succeed();
        all.log.info("outside");
        CHECK(all.outline() == strings{"first+@1", "second+@2,1", "third+@2,2,1", "firsts@3",
                                       "inside@4", "thirds@2,2,2", "seconds@2,3", "outside"});
    }

    CO_TEST_CASE("a visit of another task brings back nobody else") {
        action_log all;
        auto outer = all.log.start_action("outer");
        auto inner = all.log.start_action("inner");
        outer.leave();
        const auto visit = [](const logger& log, const action& of) -> task<> {
            const auto here = of.enter();
            log.info("visitor");
            co_return;
        };
        co_await spawn(visit(all.log, outer));
        inner.succeed();
        all.log.info("outside");
        outer.succeed();
        CHECK(all.outline() ==
              strings{"outer+@1", "inner+@2,1", "visitor@3", "inners@2,2", "outside", "outers@4"});
    }

    TEST_CASE("a record of a destructor does not end what an exception is on its way through") {
        action_log all;

        struct cleaner {
            const logger& log;

            ~cleaner() { log.info("clean"); }
        };

        auto outer = all.log.start_action("outer");
        try {
            const cleaner last{all.log};
            auto inner = all.log.start_action("inner");
            throw std::runtime_error("broken");
        } catch (const std::exception&) {
            all.log.info("handled");
        }
        outer.succeed();
        CHECK(all.outline() ==
              strings{"outer+@1", "inner+@2,1", "clean@3", "innerf@2,2", "handled@4", "outers@5"});
        CHECK(all.lines()[3].exception == "std::runtime_error");
    }

    TEST_CASE("nor is it taken for what is handled around") {
        action_log all;

        struct cleaner {
            const logger& log;

            ~cleaner() { log.info("clean"); }
        };

        try {
            throw std::logic_error("around");
        } catch (const std::logic_error&) {
            try {
                const cleaner last{all.log};
                auto one = all.log.start_action("one");
                throw std::runtime_error("inside");
            } catch (const std::runtime_error&) {
                all.log.info("handled");
            }
        }
        CHECK(all.outline() == strings{"one+@1", "clean", "onef@2", "handled"});
        CHECK(all.lines()[2].exception == "std::runtime_error");
    }

    TEST_CASE("actions that are replaced one by the next take no more memory for it") {
        if (SAPWOOD_ADDRESS_SANITIZER) {
            return; // each frame is an allocation there
        }
        action_log all;
        constexpr std::size_t many = 20'000;
        auto phase = all.log.start_action("phase");
        const std::size_t before = test::allocations();
        for (std::size_t i = 0; i < many; ++i) {
            phase = all.log.start_action("phase");
        }
        // But for those of the deepest, which are tasks of their own and say whose.
        CHECK(test::allocations() - before < many / 4);
    }

    TEST_CASE("nor do those that end elsewhere, where they were begun") {
        if (SAPWOOD_ADDRESS_SANITIZER) {
            return;
        }
        action_log all{.ring_bytes = 64u << 10}; // each of the threads has a ring
        constexpr std::size_t many = 200;
        std::vector<action> given(1);
        const std::size_t before = test::allocations();
        for (std::size_t i = 0; i < many; ++i) {
            given[0] = all.log.start_action("one");
            std::thread([&given] { given[0].succeed(); }).join();
        }
        auto last = all.log.start_action("last");
        last.succeed();
        all.log.info("outside");
        CHECK(test::allocations() - before < many + many / 2); // a thread is one
        CHECK(all.outline().back() == "outside");
        CHECK(all.lines()[2].place == "1"); // each is a task of its own
    }

    TEST_CASE("many actions in each other are gone without deep calls") {
        action_log all;
        run_on_small_stack(
            [](void* of) -> void* {
                const logger& log = static_cast<action_log*>(of)->log;
                std::vector<action> many;
                for (int i = 0; i < 20'000; ++i) {
                    many.push_back(log.start_action("one"));
                }
                std::thread([&many] { many.clear(); }).join();
                log.start_action("last").succeed(); // and with it what was still there
                log.info("outside");
                return nullptr;
            },
            all);
        CHECK(all.lines().back().uuid.empty());
    }

    TEST_CASE("an exception through an action that others are in says that it is not known") {
        action_log all;
        action inner;
        try {
            auto outer = all.log.start_action("outer");
            inner = all.log.start_action("inner");
            throw std::runtime_error("lost");
        } catch (const std::runtime_error&) {
        }
        inner.succeed();
        const auto lines = all.lines();
        CHECK(all.outline() == strings{"outer+@1", "inner+@2,1", "outerf@3", "inners@2,2"});
        CHECK(lines[2].exception == "unknown");
        CHECK(lines[2].reason.starts_with("an exception that was handled without a record: "));
    }

    CO_TEST_CASE("what loses in when_any is cancelled, and is told before who waits goes on") {
        action_log all;
        {
            auto outer = all.log.start_action("outer");
            const auto sleep_in = [](const logger& log, const char* name,
                                     clock::duration how_long) -> task<> {
                auto action = log.start_action(name);
                co_await sleep_for(how_long);
            };
            co_await when_any(sleep_in(all.log, "quick", 1ms), sleep_in(all.log, "slow", 1h));
            all.log.info("after");
        }
        CHECK(all.outline() == strings{"outer+@1", "quick+@2,1", "slow+@3,1", "quicks@2,2",
                                       "slowc@3,2", "after@4", "outers@5"});
    }

    CO_TEST_CASE("an action that is given to a coroutine fails by what leaves it") {
        action_log all;
        auto action = all.log.start_action("one");
        auto running = spawn(fail_in(std::move(action)));
        CHECK_THROWS_AS(co_await running, std::out_of_range);
        all.log.info("outside");
        CHECK(all.outline() == strings{"one+@1", "onef@2", "outside"});
        CHECK(all.lines()[1].exception == "std::out_of_range");
    }

    TEST_CASE("who is told of a slow task logs outside of it, also where it is gone") {
        auto ring = std::make_unique<test::virtual_time_ring>();
        auto& time = *ring;
        event_loop loop(std::move(ring));
        action_log all;
        loop.on_slow_task(std::chrono::milliseconds(50), [&](const slow_task&) {
            all.log.info("slow");
            auto own = all.log.start_action("own");
        });
        const auto hold = [&]() -> task<> {
            auto action = all.log.start_action("held");
            time.pass(std::chrono::seconds(1));
            co_await yield();
            time.pass(std::chrono::seconds(1)); // and then it is gone
        };
        loop.run([&]() -> task<> {
            spawn(hold()).detach();
            co_await sleep_for(std::chrono::milliseconds(10));
        }());
        CHECK(all.outline() == strings{"held+@1", "slow", "own+@1", "owns@2", "helds@2", "slow",
                                       "own+@1", "owns@2"});
    }
}
