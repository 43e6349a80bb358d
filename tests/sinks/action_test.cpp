// action: what records of actions say, and which of them hang below which, on a plain thread and in
// tasks of one loop.
#include "support/action_lines.hpp"
#include "support/co_test.hpp"

#include <sapwood/event.hpp>
#include <sapwood/logger.hpp>
#include <sapwood/run_blocking.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/task_group.hpp>
#include <sapwood/timeout.hpp>
#include <sapwood/when_all.hpp>

#include <chrono>
#include <doctest/doctest.h>
#include <set>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace sapwood;
using namespace std::chrono_literals;
using strings = std::vector<std::string>;
using test::action_line;
using test::action_log;

action_line last_of(const action_log& all) {
    return all.lines().back();
}

task<> throw_in_action(const logger& log) {
    auto outer = log.start_action("outer");
    auto inner = log.start_action("inner");
    co_await sleep_for(1ms);
    throw std::out_of_range("no such row");
}

task<> sleep_in_action(const logger& log, std::string name, clock::duration time) {
    auto action = log.start_action(name);
    log.info("in {}", name);
    co_await sleep_for(time);
    log.info("still in {}", name);
}

} // namespace

TEST_SUITE("action") {

    TEST_CASE("an action is a first and a last record, and those between hang below it") {
        action_log all;
        all.log.info("before");
        {
            auto action = all.log.start_action("save_order", kv("order", 17), kv("by", "ann"));
            all.log.info("stored {} rows", 3);
            action.add_success(kv("receipt", "r1"));
        }
        all.log.info("after");
        CHECK(all.outline() ==
              strings{"before", "save_order+@1", "stored 3 rows@2", "save_orders@3", "after"});
        const auto lines = all.lines();
        CHECK(lines[1].uuid.size() == 36);
        CHECK(lines[1].uuid[14] == '4'); // a random UUID
        CHECK(lines[2].uuid == lines[1].uuid);
        CHECK(lines[1].type == "save_order");
        CHECK(lines[1].text.ends_with("\"fields\":{\"order\":17,\"by\":\"ann\"}}"));
        CHECK(lines[2].text.find("\"message_type\":\"stored 3 rows\"") != std::string::npos);
        CHECK(lines[3].children == 1);
        CHECK(lines[3].duration > 0);
        CHECK(lines[3].duration < 10);
        CHECK(lines[3].text.ends_with("\"fields\":{\"receipt\":\"r1\"}}"));
    }

    TEST_CASE("an action inside another one is its child, and takes one of its numbers") {
        action_log all;
        {
            auto outer = all.log.start_action("outer");
            all.log.info("one");
            {
                auto inner = all.log.start_action("inner");
                all.log.child("db").info("two");
            }
            all.log.info("three");
        }
        CHECK(all.outline() == strings{"outer+@1", "one@2", "inner+@3,1", "two@3,2", "inners@3,3",
                                       "three@4", "outers@5"});
        CHECK(all.lines().back().children == 3);
    }

    TEST_CASE("tasks have UUIDs of their own") {
        action_log all;
        for (int i = 0; i < 100; ++i) {
            auto action = all.log.start_action("one");
        }
        std::set<std::string> uuids;
        for (const action_line& line : all.lines()) {
            uuids.insert(line.uuid);
        }
        CHECK(uuids.size() == 100);
    }

    CO_TEST_CASE("an exception that leaves a coroutine is what its actions failed by") {
        action_log all;
        CHECK_THROWS_AS(co_await throw_in_action(all.log), std::out_of_range);
        CHECK(all.outline() == strings{"outer+@1", "inner+@2,1", "innerf@2,2", "outerf@3"});
        for (const action_line& line : {all.lines()[2], all.lines()[3]}) {
            CHECK(line.exception == "std::out_of_range");
            CHECK(line.reason == "no such row");
            CHECK(line.source.find("action_test.cpp:") != std::string::npos);
            CHECK(line.level == "error");
        }
        all.log.info("after");
        CHECK(all.outline().back() == "after");
    }

    CO_TEST_CASE("an exception that comes out of an awaited task is known, too") {
        action_log all;
        const auto outermost = [](const logger& log) -> task<> {
            auto action = log.start_action("outermost");
            co_await throw_in_action(log);
        };
        CHECK_THROWS_AS(co_await outermost(all.log), std::out_of_range);
        CHECK(all.outline() == strings{"outermost+@1", "outer+@2,1", "inner+@2,2,1", "innerf@2,2,2",
                                       "outerf@2,3", "outermostf@3"});
        CHECK(last_of(all).exception == "std::out_of_range");
    }

    TEST_CASE("a record in the handler tells which exception it was") {
        action_log all;
        try {
            auto action = all.log.start_action("one");
            throw std::runtime_error("broken");
        } catch (const std::exception& error) {
            all.log.error("handled: {}", error.what());
        }
        CHECK(all.outline() == strings{"one+@1", "onef@2", "handled: broken"});
        CHECK(all.lines()[1].exception == "std::runtime_error");
        CHECK(all.lines()[1].reason == "broken");
    }

    TEST_CASE("an exception that is handled without a record ends its action as failed all the "
              "same") {
        action_log all;
        auto outer = all.log.start_action("outer");
        try {
            auto action = all.log.start_action("one");
            throw std::runtime_error("broken");
        } catch (const std::exception&) { // and nothing is said
        }
        outer.succeed();
        CHECK(all.outline() == strings{"outer+@1", "one+@2,1", "onef@2,2", "outers@3"});
        CHECK(all.lines()[2].exception == "unknown");
    }

    CO_TEST_CASE("another exception is not taken for one that was handled before") {
        action_log all;
        const auto work = [](const logger& log) -> task<> {
            try {
                auto action = log.start_action("one");
                throw std::runtime_error("the first");
            } catch (const std::exception&) {
            }
            co_await sleep_for(1ms);
            throw std::out_of_range("the second");
        };
        CHECK_THROWS_AS(co_await work(all.log), std::out_of_range);
        CHECK(all.lines()[1].exception == "unknown");
    }

    TEST_CASE("fail() in a handler says which exception it was") {
        action_log all;
        {
            auto action = all.log.start_action("one");
            try {
                throw std::runtime_error("broken");
            } catch (...) {
                action.fail();
            }
            CHECK_FALSE(action);
            all.log.info("after");
        }
        {
            auto action = all.log.start_action("two");
            action.fail("timeout", "no answer in 3 s");
        }
        CHECK(all.outline() == strings{"one+@1", "onef@2", "after", "two+@1", "twof@2"});
        CHECK(all.lines()[1].exception == "std::runtime_error");
        CHECK(last_of(all).exception == "timeout");
        CHECK(last_of(all).reason == "no answer in 3 s");
    }

    TEST_CASE("a scope that is made and ends while an exception is on its way has not failed") {
        action_log all;

        struct cleaner {
            const logger& log;

            ~cleaner() { auto action = log.start_action("clean up"); }
        };

        try {
            const cleaner last{all.log};
            throw 1;
        } catch (int) {
        }
        CHECK(all.outline() == strings{"clean up+@1", "clean ups@2"});
    }

    CO_TEST_CASE("a task that is told to stop has its actions cancelled, not failed") {
        action_log all;
        auto running = spawn(sleep_in_action(all.log, "slow", 1h));
        co_await sleep_for(1ms);
        running.cancel();
        CHECK_THROWS_AS(co_await running, cancelled);
        CHECK(all.outline() == strings{"slow+@1", "in slow@2", "slowc@3"});
        CHECK(last_of(all).status == "failed"); // eliot knows no other
        CHECK(last_of(all).exception == "sapwood::cancelled");
        CHECK(last_of(all).level == "info");
    }

    CO_TEST_CASE("what a timeout stops is cancelled, and who has the timeout goes on") {
        action_log all;
        auto action = all.log.start_action("outer");
        CHECK_THROWS_AS(co_await timeout(10ms, sleep_in_action(all.log, "slow", 1h)),
                        std::system_error);
        action.succeed();
        CHECK(all.outline() ==
              strings{"outer+@1", "slow+@2,1", "in slow@2,2", "slowc@2,3", "outers@3"});
    }

    CO_TEST_CASE("tasks that take turns never mix") {
        action_log all;
        co_await when_all(sleep_in_action(all.log, "a", 2ms), sleep_in_action(all.log, "b", 1ms));
        std::string of_a;
        for (const action_line& line : all.lines()) {
            if (line.message == "a" && line.status == "started") {
                of_a = line.uuid;
            }
        }
        for (const action_line& line : all.lines()) {
            CHECK((line.uuid == of_a) == line.message.ends_with("a"));
        }
        CHECK(all.outline() == strings{"a+@1", "in a@2", "b+@1", "in b@2", "still in b@3", "bs@4",
                                       "still in a@3", "as@4"});
    }

    CO_TEST_CASE("what a task starts is in what it is in: spawned tasks, branches, members") {
        action_log all;
        {
            auto action = all.log.start_action("outer");
            auto running = spawn(sleep_in_action(all.log, "spawned", 1ms));
            co_await running;
            co_await when_all(sleep_in_action(all.log, "branch", 1ms));
            co_await with_task_group([&](task_group& group) -> task<> {
                group.spawn(sleep_in_action(all.log, "member", 1ms));
                co_return;
            });
        }
        std::vector<std::string> starts;
        for (const std::string& each : all.outline()) {
            if (each.find('+') != each.npos) {
                starts.push_back(each);
            }
        }
        CHECK(starts == strings{"outer+@1", "spawned+@2,1", "branch+@3,1", "member+@4,1"});
        CHECK(last_of(all).children == 3);
    }

    CO_TEST_CASE("a call of run_blocking is in what its task is in, and leaves nothing behind") {
        action_log all;
        blocking_pool pool(1);
        {
            auto action = all.log.start_action("outer");
            co_await pool.run([&] {
                auto inner = all.log.start_action("inner");
                all.log.info("on a thread");
            });
        }
        co_await pool.run([&] { all.log.info("outside"); });
        CHECK(all.outline() == strings{"outer+@1", "inner+@2,1", "on a thread@2,2", "inners@2,3",
                                       "outers@3", "outside"});
    }

    CO_TEST_CASE("an exception that leaves a call of run_blocking is known") {
        action_log all;
        blocking_pool pool(1);
        const auto work = [&]() -> task<> {
            auto action = all.log.start_action("outer");
            co_await pool.run([&] {
                auto inner = all.log.start_action("inner");
                throw std::out_of_range("on a thread");
            });
        };
        CHECK_THROWS_AS(co_await work(), std::out_of_range);
        CHECK(all.outline() == strings{"outer+@1", "inner+@2,1", "innerf@2,2", "outerf@3"});
        CHECK(all.lines()[2].exception == "std::out_of_range");
    }

    TEST_CASE("what a plain thread is in, the loop that it runs is in, too") {
        action_log all;
        {
            auto action = all.log.start_action("main");
            sapwood::run(sleep_in_action(all.log, "task", 1ms));
            std::thread other([&] { all.log.info("another thread"); });
            other.join();
        }
        CHECK(all.outline() == strings{"main+@1", "task+@2,1", "in task@2,2", "still in task@2,3",
                                       "tasks@2,4", "another thread", "mains@3"});
    }

    CO_TEST_CASE("what outlives its action goes on below it, with numbers behind its end") {
        action_log all;
        event go;
        const auto later = [](const logger& log, event& when) -> task<> {
            co_await when.wait();
            log.info("late");
            auto action = log.start_action("late action");
        };
        auto action = all.log.start_action("outer");
        auto running = spawn(later(all.log, go));
        action.succeed();
        all.log.info("after");
        go.set();
        co_await running;
        CHECK(all.outline() == strings{"outer+@1", "outers@2", "after", "late@3",
                                       "late action+@4,1", "late actions@4,2"});
        CHECK(all.lines()[1].children == 0);
    }

    CO_TEST_CASE("services of the library's own are in no action") {
        action_log all;

        class deaf final : public stop_listener {
            void stop_requested() noexcept override {}
        } listener;

        auto action = all.log.start_action("outer");
        const auto serve = [](const logger& log) -> task<> {
            log.info("service");
            auto inner = log.start_action("inner");
            co_await sleep_for(1ms);
            log.info("still");
        };
        auto running = spawn_shielded(serve(all.log), listener);
        co_await running;
        action.succeed();
        CHECK(all.outline() ==
              strings{"outer+@1", "service", "inner+@1", "still@2", "inners@3", "outers@2"});
    }

    CO_TEST_CASE("services with one listener are each in their own, and the listener is told") {
        action_log all;

        class counting final : public stop_listener {
          public:
            int asked = 0;

          private:
            void stop_requested() noexcept override { ++asked; }
        } listener;

        const auto serve = [](const logger& log, const char* name) -> task<> {
            auto action = log.start_action(name);
            co_await sleep_for(1ms);
            log.info("in {}", name);
            action.succeed();
        };
        auto one = spawn_shielded(serve(all.log, "one"), listener);
        auto two = spawn_shielded(serve(all.log, "two"), listener);
        co_await yield();
        one.cancel(); // they go on
        CHECK(listener.asked == 1);
        co_await one;
        co_await two;
        CHECK(all.outline() ==
              strings{"one+@1", "two+@1", "in one@2", "ones@3", "in two@2", "twos@3"});
    }
}
