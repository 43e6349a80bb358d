// action, where more than one place is in it: scopes that move, end out of order, or elsewhere;
// several logs, processes and traces; and hostile values.
#include "support/action_lines.hpp"
#include "support/co_test.hpp"
#include "support/hostile_strings.hpp"
#include "support/temporary_directory.hpp"

#include <sapwood/file_log_sink.hpp>
#include <sapwood/logger.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/trace_parent.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <doctest/doctest.h>
#include <latch>
#include <memory>
#include <optional>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

using namespace sapwood;
using namespace std::chrono_literals;
using strings = std::vector<std::string>;
using test::action_log;

} // namespace

TEST_SUITE("action_across") {

    TEST_CASE("a scope moves, and the action goes on") {
        action_log all;
        action kept;
        CHECK_FALSE(kept);
        {
            auto made = all.log.start_action("one");
            kept = std::move(made);
        }
        CHECK(kept);
        all.log.info("inside");
        kept = all.log.start_action("two"); // begun before the first one ends
        all.log.info("inside two");
        kept.succeed();
        all.log.info("outside");
        CHECK(all.outline() == strings{"one+@1", "inside@2", "two+@3,1", "ones@4", "inside two@3,2",
                                       "twos@3,3", "outside"});
    }

    TEST_CASE("scopes that end out of order leave nothing behind") {
        action_log all;
        auto first = std::make_unique<action>(all.log.start_action("first"));
        auto second = std::make_unique<action>(all.log.start_action("second"));
        first.reset();
        all.log.info("in the second");
        second.reset();
        all.log.info("outside");
        CHECK(all.outline() == strings{"first+@1", "second+@2,1", "firsts@3", "in the second@2,2",
                                       "seconds@2,3", "outside"});
    }

    CO_TEST_CASE("an action that was left is ended by another task, and visited by it") {
        action_log all;
        auto action = all.log.start_action("outer");
        action.leave();
        all.log.info("outside");
        const auto finish = [](const logger& log, sapwood::action given) -> task<> {
            log.info("not yet");
            {
                const auto here = given.enter();
                log.info("inside");
            }
            log.info("no more");
            co_await sleep_for(1ms);
            given.succeed();
        };
        auto running = spawn(finish(all.log, std::move(action)));
        co_await running;
        CHECK(all.outline() ==
              strings{"outer+@1", "outside", "not yet", "inside@2", "no more", "outers@3"});
    }

    TEST_CASE("an action ends on another thread") {
        action_log all;
        auto action = all.log.start_action("outer");
        std::thread other([&all, given = std::move(action)]() mutable {
            all.log.info("elsewhere");
            given.succeed();
        });
        other.join();
        all.log.info("outside");
        CHECK(all.outline() == strings{"outer+@1", "elsewhere", "outers@2", "outside"});
    }

    TEST_CASE("threads that are in one action at once take each number once") {
        constexpr std::size_t threads = 4;
        constexpr unsigned long each_one = test::has_tsan ? 1'000 : 100'000; // so that they meet
        constexpr unsigned long logged_of = 50;
        action_log all;
        std::vector<unsigned long> numbers;
        {
            auto action = all.log.start_action("shared");
            std::latch begin(threads);
            std::vector<unsigned long> taken[threads];
            std::vector<std::thread> running;
            for (auto& each : taken) {
                running.emplace_back([&] {
                    const auto here = action.enter();
                    begin.arrive_and_wait();
                    for (unsigned long n = 0; n < each_one; ++n) {
                        if (n % logged_of == 0) {
                            all.log.info("on a thread");
                        } else { // a number that no record has
                            const std::string id = action.serialize_task_id();
                            each.push_back(std::stoul(id.substr(id.rfind('/') + 1)));
                        }
                    }
                });
            }
            for (auto& each : running) {
                each.join();
            }
            for (const auto& each : taken) {
                numbers.insert(numbers.end(), each.begin(), each.end());
            }
        }
        for (const auto& line : all.lines()) {
            numbers.push_back(std::stoul(line.place));
        }
        std::ranges::sort(numbers);
        CHECK(numbers.front() == 1);
        CHECK(numbers.back() == threads * each_one + 2);
        CHECK(numbers.size() == threads * each_one + 2);
        CHECK(std::ranges::adjacent_find(numbers) == numbers.end());
    }

    TEST_CASE("who ends an action alone counts what others have logged in it before") {
        action_log all{.ring_bytes = 1u << 20};
        constexpr int rounds = 100;
        for (int i = 0; i < rounds; ++i) {
            auto action = all.log.start_action("one");
            std::atomic<bool> is_out = false;
            std::thread other([&] {
                {
                    const auto here = action.enter();
                    all.log.info("on a thread");
                }
                is_out.store(true, std::memory_order_release);
                is_out.notify_one();
            });
            is_out.wait(false, std::memory_order_acquire);
            action.succeed(); // its scope and its place are all that have it
            other.join();
        }
        int ends = 0;
        for (const auto& line : all.lines()) {
            ends += line.children == 1 && line.place == "3" ? 1 : 0;
        }
        CHECK(ends == rounds);
    }

    TEST_CASE("a thread that ends has its failed action told") {
        action_log all;
        std::thread([&all] {
            try {
                auto action = all.log.start_action("one");
                throw 1;
            } catch (int) {
            }
        }).join();
        CHECK(all.outline() == strings{"one+@1", "onef@2"});
    }

    TEST_CASE("a log ends when its last failed action has been told") {
        auto memory = std::make_shared<log_memory>(1u << 20);
        std::thread([&memory] {
            logger_options options;
            options.outputs.push_back({.sink = std::make_unique<memory_log_sink>(memory),
                                       .form = std::make_unique<json_layout>()});
            const auto log = std::make_unique<logger>(std::move(options));
            try {
                auto action = log->start_action("one");
                throw 1;
            } catch (int) {
            }
        }).join(); // the logger goes first, the thread's place behind it
        CHECK(test::lines_of(memory->text()).size() == 2);
    }

    TEST_CASE("each log has its own trees, also where one is used inside of the other") {
        action_log app;
        action_log audit;
        {
            auto outer = app.log.start_action("outer");
            audit.log.info("in none");
            auto inner = audit.log.start_action("inner");
            app.log.info("in the outer");
            audit.log.info("in the inner");
        }
        CHECK(app.outline() == strings{"outer+@1", "in the outer@2", "outers@3"});
        CHECK(audit.outline() == strings{"in none", "inner+@1", "in the inner@2", "inners@3"});
    }

    TEST_CASE("an action that its logger's level does not let through is nothing") {
        action_log all;
        auto outer = all.log.start_action("outer");
        const logger quiet = all.log.child("quiet");
        quiet.set_level(level::warning);
        auto inner = quiet.start_action("inner", kv("a", 1));
        CHECK_FALSE(inner);
        CHECK(inner.serialize_task_id().empty());
        CHECK(inner.traceparent().empty());
        all.log.info("in the outer");
        auto loud = quiet.start_action(level::error, "loud");
        quiet.set_level(level::critical);
        loud.succeed(); // what has begun is ended
        inner.fail("none", "");
        outer.succeed();
        CHECK(all.outline() ==
              strings{"outer+@1", "in the outer@2", "loud+@3,1", "louds@3,2", "outers@4"});
    }

    TEST_CASE("a task's id makes the next child elsewhere, and is for one use") {
        action_log here;
        action_log there;
        {
            auto outer = here.log.start_action("outer");
            const std::string id = outer.serialize_task_id();
            CHECK(id == outer.task_uuid() + "@/2");
            auto inner = here.log.start_action("inner");
            CHECK(here.log.serialize_task_id() == outer.task_uuid() + "@/3/2");
            auto remote = there.log.continue_task(id, "remote", kv("a", 1));
            there.log.info("far away");
        }
        CHECK(here.outline() == strings{"outer+@1", "inner+@3,1", "inners@3,3", "outers@4"});
        CHECK(there.outline() == strings{"remote+@2,1", "far away@2,2", "remotes@2,3"});
        CHECK(there.lines()[0].uuid == here.lines()[0].uuid);
        CHECK(here.lines().back().children == 2);
        CHECK(here.log.serialize_task_id().empty());
    }

    TEST_CASE("what is no task's id begins a task that says what came") {
        const std::string uuid = "0af76519-16cd-43dd-8448-eb211c80319c";
        for (const std::string& id :
             strings{std::string(), std::string("@/2"), uuid, uuid + "@", uuid + "@2", uuid + "@/",
                     uuid + "@/0", uuid + "@/2/", uuid + "@/2/x", uuid + "@/12345678901",
                     uuid + "@/4294967296", "0af76519016cd-43dd-8448-eb211c80319c@/2",
                     "00000000-0000-0000-0000-000000000000@/2", "\"},{" + uuid + "@/2",
                     std::string(5000, '/')}) {
            CAPTURE(id);
            action_log all;
            { auto action = all.log.continue_task(id, "one"); }
            CHECK(all.outline() == strings{"one+@1", "ones@2"});
            CHECK(all.lines()[0].uuid != uuid);
            CHECK(all.lines()[0].text.find("\"continues\":") != std::string::npos);
        }
        action_log all;
        {
            auto action =
                all.log.continue_task("0AF76519-16cd-43DD-8448-eb211c80319C@/2/4294967295", "one");
        }
        CHECK(all.outline() == strings{"one+@2,4294967295,1", "ones@2,4294967295,2"});
        CHECK(all.lines()[0].uuid == uuid); // in lower case
    }

    TEST_CASE("a trace goes in and comes out, with what has made the request") {
        action_log all;
        const std::string header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        std::string outer_header;
        {
            auto outer = all.log.start_action("not of it");
            auto action = all.log.continue_trace(header, "request", kv("path", "/"));
            outer_header = action.traceparent();
            auto inner = all.log.start_action("inner");
            const auto out = trace_parent::parse(inner.traceparent());
            REQUIRE(out);
            CHECK(out->trace_id() == "0af7651916cd43dd8448eb211c80319c");
            CHECK(all.log.traceparent() == inner.traceparent());
            CHECK(inner.traceparent() != outer_header);
        }
        CHECK(all.outline()[1] == "request+@1"); // a task of its own
        CHECK(all.lines()[1].text.ends_with(
            R"("fields":{"trace_id":"0af7651916cd43dd8448eb211c80319c",)"
            R"("parent_span_id":"b7ad6b7169203331","path":"/"}})"));
        const auto read = trace_parent::parse(outer_header);
        REQUIRE(read);
        CHECK(read->text() == outer_header);
        CHECK(read->span_id() != "b7ad6b7169203331");
    }

    TEST_CASE("what nobody samples is not sampled by who it asks, either") {
        action_log all;
        const std::string header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0";
        auto quiet = all.log.continue_trace(header + '0', "request");
        CHECK(quiet.traceparent().ends_with("-00"));
        auto child = all.log.start_action("child");
        auto grandchild = all.log.start_action("grandchild");
        CHECK(all.log.traceparent().ends_with("-00"));
        auto loud = all.log.continue_trace(header + '1', "request");
        CHECK(all.log.traceparent().ends_with("-01"));
    }

    TEST_CASE("without a trace from elsewhere, a task is its own") {
        action_log all;
        auto outer = all.log.start_action("not of it");
        auto action = all.log.continue_trace("nonsense", "request");
        std::string digits = action.task_uuid();
        std::erase(digits, '-');
        const auto read = trace_parent::parse(action.traceparent());
        REQUIRE(read);
        CHECK(read->trace_id() == digits);
        CHECK(action.task_uuid() != outer.task_uuid());
    }

    TEST_CASE("only what the W3C calls a traceparent is one") {
        const std::string good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
        CHECK(trace_parent::parse(good)->text() == good);
        CHECK_FALSE(trace_parent::parse(good)->is_sampled);
        CHECK(trace_parent::parse("01" + good.substr(2) + "-more")); // a later version
        for (const std::string& bad :
             strings{std::string(), good.substr(1), good + "-00", good + "0", "ff" + good.substr(2),
                     "0A" + good.substr(2), "01" + good.substr(2) + "more",
                     "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
                     "00-00000000000000000000000000000000-b7ad6b7169203331-00",
                     "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-00",
                     "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"}) {
            CAPTURE(bad);
            CHECK_FALSE(trace_parent::parse(bad));
        }
    }

    TEST_CASE("no value forges a record, a member or a place") {
        for (const std::string& hostile : test::hostile_strings()) {
            CAPTURE(hostile);
            action_log all;
            {
                auto action =
                    all.log.start_action(hostile, kv(hostile, hostile), kv("task_uuid", hostile));
                all.log.info("{}", hostile);
                action.add_success(kv("action_status", hostile));
                action.fail(hostile, hostile);
            }
            const auto lines = all.lines();
            REQUIRE(lines.size() == 3);
            CHECK(lines[0].place == "1");
            CHECK(lines[1].place == "2");
            CHECK(lines[2].place == "3");
            CHECK(lines[0].status == "started");
            CHECK(lines[1].status.empty());
            CHECK(lines[2].status == "failed");
            CHECK(lines[2].uuid == lines[0].uuid);
        }
    }

    TEST_CASE("a forked child is in none of its parent's actions, and ends none") {
        const test::temporary_directory scratch;
        const std::string path = scratch / "app.json";
        logger_options options;
        options.outputs.push_back({.sink = std::make_unique<file_log_sink>(path),
                                   .form = std::make_unique<json_layout>()});
        {
            const logger log(std::move(options));
            auto action = log.start_action("outer");
            log.flush_blocking();
            const std::string id = log.serialize_task_id();
            const pid_t child = ::fork();
            if (child == 0) {
                {
                    log.info("in none");
                    auto own = log.start_action("own");
                    auto below = log.continue_task(id, "below");
                }
                action.succeed();
                log.flush_blocking();
                ::_exit(0);
            }
            int status = 0;
            ::waitpid(child, &status, 0);
            CHECK(status == 0);
        }
        strings told;
        for (const std::string& line : test::lines_of(test::contents_of(path))) {
            const auto read = test::read_action_line(line);
            told.push_back(read.message + read.status + "@" + read.place);
        }
        CHECK(told == strings{"outerstarted@1", "in none@", "ownstarted@1", "belowstarted@2,1",
                              "belowsucceeded@2,2", "ownsucceeded@2", "outersucceeded@3"});
    }

    TEST_CASE("a child visits its actions, whatever other threads did with theirs at that moment" *
              doctest::skip(test::has_tsan)) {
        action_log all;
        auto mine = all.log.start_action("mine");
        mine.leave();
        auto theirs = all.log.start_action("theirs");
        theirs.leave();
        std::atomic<bool> ends = false;
        std::thread other([&] {
            while (!ends.load(std::memory_order_relaxed)) {
                const auto here = theirs.enter();
            }
        });
        for (int i = 0; i < 30; ++i) {
            const pid_t child = ::fork();
            if (child == 0) {
                ::alarm(20); // else it would wait for ever
                { const auto here = mine.enter(); }
                ::_exit(0);
            }
            int status = -1;
            ::waitpid(child, &status, 0);
            CHECK(status == 0);
        }
        ends.store(true, std::memory_order_relaxed);
        other.join();
    }
}
