// dump_tasks: that people see what is there.
#include "support/child_process.hpp"
#include "support/co_test.hpp"

#include <sapwood/barrier.hpp>
#include <sapwood/channel.hpp>
#include <sapwood/condition_variable.hpp>
#include <sapwood/dump_tasks.hpp>
#include <sapwood/event.hpp>
#include <sapwood/file.hpp>
#include <sapwood/latch.hpp>
#include <sapwood/mutex.hpp>
#include <sapwood/named.hpp>
#include <sapwood/pipe.hpp>
#include <sapwood/run_blocking.hpp>
#include <sapwood/semaphore.hpp>
#include <sapwood/shield.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>
#include <sapwood/task_group.hpp>
#include <sapwood/timeout.hpp>
#include <sapwood/when_all.hpp>
#include <sapwood/when_any.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <filesystem>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

using namespace std::chrono_literals;
using sapwood::dump_tasks;
using sapwood::task;

/// The lines of a dump, with the name of this file for its path, and of lines in it for numbers:
/// `line` becomes +0, the next one +1, and so on.
std::vector<std::string> lines_of(const std::string& dump, unsigned line = 0) {
    std::vector<std::string> lines;
    std::istringstream text(dump);
    for (std::string each; std::getline(text, each);) {
        if (const auto at = each.rfind(" at "); each.find(".cpp:") != std::string::npos) {
            const auto colon = each.rfind(':');
            const auto path = std::filesystem::path(each.substr(at + 4, colon - at - 4));
            const auto number = std::stoul(each.substr(colon + 1));
            each = each.substr(0, at + 4) + path.filename().string();
            if (line != 0) {
                each += ":+" + std::to_string(number - line);
            }
        }
        lines.push_back(each);
    }
    return lines;
}

/// The line of the task that is named `name`.
std::string told_of(const std::string& dump, const std::string& name) {
    for (const auto& line : lines_of(dump)) {
        if (const auto at = line.find('"' + name + "\" "); at != std::string::npos) {
            return line.substr(line.find(": ") + 2);
        }
    }
    return "nothing";
}

constexpr unsigned tree_line = __LINE__;

task<> wait_for_item(sapwood::channel<int>& queue) {
    (void)co_await queue.receive();
}

task<> call_it(sapwood::channel<int>& queue) {
    co_await wait_for_item(queue);
}

task<> sleep_an_hour() {
    co_await sapwood::sleep_for(1h);
}

task<> wait_for_both(sapwood::channel<int>& queue) {
    co_await sapwood::when_all(sapwood::named("left", call_it(queue)), sleep_an_hour());
}

task<> hold(sapwood::mutex& of, sapwood::clock::duration how_long) {
    const auto held = co_await of.lock();
    co_await sapwood::sleep_for(how_long);
}

/// Keeps what is spawned in a test, and stops it at the end.
class company {
  public:
    template <class Work>
    void add(Work work, std::string_view name) {
        group_.spawn(std::move(work), {.name = name});
    }

    task<> end() {
        group_.cancel();
        try {
            co_await group_.join();
        } catch (const sapwood::cancelled&) {
        }
    }

  private:
    sapwood::task_group group_;
};

} // namespace

TEST_SUITE("dump_tasks") {

    CO_TEST_CASE("a tree of tasks, line by line") {
        sapwood::channel<int> queue(1);
        auto both = sapwood::spawn(wait_for_both(queue), {.name = "both"});
        co_await sapwood::sleep_for(10s);
        auto joiner = sapwood::spawn([&]() -> task<> { co_await both; }, {.name = "joiner"});
        co_await sapwood::sleep_for(5s);
        auto late = sapwood::spawn(sleep_an_hour());
        const auto lines = lines_of(dump_tasks(), tree_line);
        CHECK(lines == std::vector<std::string>{
                           "6 tasks, 1 ready to run",
                           "#1 15.0 s: running",
                           lines.at(2), // where this is, in words that differ by compiler
                           "#5 \"joiner\" 5.0 s: join of a task, for 5.0 s, started by #1",
                           lines.at(4),
                           "  #2 \"both\" 15.0 s: when_all, 2 of 2 still running, for 15.0 s",
                           "      wait_for_both() at dump_tasks_test.cpp:+15",
                           "    #3 \"left\" 15.0 s: receive from a channel, for 15.0 s",
                           "        call_it() at dump_tasks_test.cpp:+7",
                           "        wait_for_item() at dump_tasks_test.cpp:+3",
                           "    #4 \"both\" 15.0 s: sleep, for 15.0 s",
                           "        sleep_an_hour() at dump_tasks_test.cpp:+11",
                           "#6 0.0 s: about to start, started by #1",
                       });
        queue.close();
        both.cancel();
        late.cancel();
        CHECK_THROWS((co_await joiner));
        CHECK_THROWS_AS(co_await late, sapwood::cancelled);
    }

    CO_TEST_CASE("the running task is told of by the place that asks") {
        const auto lines = lines_of(dump_tasks(), __LINE__);
        REQUIRE(lines.size() == 3);
        CHECK(lines[0] == "1 task, 0 ready to run");
        CHECK(lines[1] == "#1 0.0 s: running");
        CHECK(lines[2].ends_with(" at dump_tasks_test.cpp:+0"));
        co_return;
    }

    CO_TEST_CASE("each kind of wait has its words") {
        sapwood::channel<int> empty(1);
        sapwood::channel<int> full(1);
        CHECK(full.try_send(1));
        sapwood::event never;
        sapwood::latch closed(1);
        sapwood::barrier lonely(2);
        sapwood::semaphore none(0);
        sapwood::mutex taken;
        sapwood::mutex of_condition;
        sapwood::condition_variable condition;
        auto ends = sapwood::pipe::make();
        std::vector<int> many;
        company all;
        all.add([&]() -> task<> { (void)co_await empty.receive(); }, "receive");
        all.add([&]() -> task<> { (void)co_await empty.receive_for(1h); }, "receive_for");
        all.add([&]() -> task<> { (void)co_await empty.receive_many(many, 9); }, "receive_many");
        all.add([&]() -> task<> { co_await full.send(2); }, "send");
        all.add([&]() -> task<> { co_await full.join(); }, "join of channel");
        all.add([&]() -> task<> { co_await never.wait(); }, "event");
        all.add([&]() -> task<> { co_await closed.wait(); }, "latch");
        all.add([&]() -> task<> { (void)co_await lonely.arrive_and_wait(); }, "barrier");
        all.add([&]() -> task<> { co_await none.acquire(); }, "semaphore");
        all.add([&]() -> task<> { co_await hold(taken, 1h); }, "holder");
        all.add([&]() -> task<> { co_await hold(taken, 1h); }, "mutex");
        all.add(
            [&]() -> task<> {
                auto held = co_await of_condition.lock();
                co_await condition.wait(held);
            },
            "condition");
        all.add(
            [&]() -> task<> {
                std::array<char, 8> bytes{};
                (void)co_await ends.reader.read_some(bytes);
            },
            "pipe");
        all.add([&]() -> task<> { co_await sapwood::timeout(1h, sleep_an_hour()); }, "timeout");
        all.add(
            [&]() -> task<> {
                (void)co_await sapwood::when_any(sapwood::sleep_for(1h), empty.receive());
            },
            "any");
        all.add(
            [&]() -> task<> {
                sapwood::task_group inner;
                inner.spawn(sleep_an_hour());
                inner.spawn(sleep_an_hour());
                co_await inner.join();
            },
            "group");
        all.add(
            [&]() -> task<> {
                const auto shielded = co_await sapwood::shield();
                co_await sapwood::sleep_for(2s);
            },
            "shielded");
        all.add(
            [&]() -> task<> {
                for (;;) {
                    co_await sapwood::yield();
                }
            },
            "yield");
        co_await sapwood::yield();
        co_await sapwood::yield();
        const std::string dump = dump_tasks();
        CAPTURE(dump);
        const auto told = [&](const char* name) {
            const std::string line = told_of(dump, name);
            return line.substr(0, line.find(", for 0.0 s, in a task_group that nobody awaits yet"));
        };
        CHECK(told("receive") == "receive from a channel");
        CHECK(told("receive_for") == "receive from a channel");
        CHECK(told("receive_many") == "receive_many from a channel");
        CHECK(told("send") == "send to a channel");
        CHECK(told("join of channel") == "join of a channel");
        CHECK(told("event") == "wait for an event");
        CHECK(told("latch") == "wait for a latch");
        CHECK(told("barrier") == "wait at a barrier");
        CHECK(told("semaphore") == "acquire of a semaphore");
        CHECK(told("holder") == "sleep");
        CHECK(told("mutex") == "lock of a mutex held by #11 \"holder\"");
        CHECK(told("condition") == "wait for a condition_variable");
        CHECK(told("pipe").starts_with("read of file descriptor"));
        CHECK(told("timeout") == "sleep");
        CHECK(told("any") == "when_any, 2 of 2 still running");
        CHECK(told("group") == "task_group, 2 still running");
        CHECK(told("shielded").starts_with("sleep, for 0.0 s, shielded"));
        CHECK(told("yield").starts_with("ready to run"));
        const auto lines = lines_of(dump);
        CHECK(lines.front() == "23 tasks, 1 ready to run");
        CHECK(std::count_if(lines.begin(), lines.end(), [](const std::string& line) {
                  return line.find(" s: ") != std::string::npos;
              }) == 23); // each in one place
        co_await all.end();
    }

    CO_TEST_CASE("a call on a pool's thread is told of") {
        std::atomic<bool> go_on = false;
        auto call = sapwood::spawn(
            [&]() -> task<> {
                co_await sapwood::run_blocking([&] {
                    while (!go_on.load()) {
                        std::this_thread::yield();
                    }
                });
            },
            {.name = "call"});
        co_await sapwood::yield();
        CHECK(told_of(dump_tasks(), "call").starts_with("run_blocking, for 0.0 s"));
        go_on.store(true);
        co_await call;
    }

    CO_TEST_CASE("who was asked to stop and has not come to it is told of") {
        auto sleeper = sapwood::spawn(sleep_an_hour(), {.name = "sleeper"});
        co_await sapwood::yield();
        sleeper.cancel();
        CHECK(told_of(dump_tasks(), "sleeper") == "ready to run, asked to stop, started by #1");
        CHECK_THROWS_AS(co_await sleeper, sapwood::cancelled);
    }

    CO_TEST_CASE("an operation that the kernel is to give back is still told of") {
        auto ends = sapwood::pipe::make();
        std::array<char, 8> bytes{};
        auto read = sapwood::spawn([&]() -> task<> { (void)co_await ends.reader.read_some(bytes); },
                                   {.name = "read"});
        co_await sapwood::yield();
        read.cancel();
        CHECK(told_of(dump_tasks(), "read").find("asked to stop") != std::string::npos);
        CHECK(told_of(dump_tasks(), "read").starts_with("read of file descriptor"));
        CHECK_THROWS_AS(co_await read, sapwood::cancelled);
    }

    CO_TEST_CASE("a deep chain of calls shows its innermost ones") {
        constexpr unsigned line = __LINE__;

        struct deep {
            static task<> call(int depth) {
                if (depth == 0) {
                    co_await sapwood::sleep_for(1h);
                } else {
                    co_await call(depth - 1);
                }
            }
        };

        auto chain = sapwood::spawn(deep::call(99), {.name = "chain"});
        co_await sapwood::yield();
        const auto lines = lines_of(dump_tasks({.calls_max = 3}), line);
        REQUIRE(lines.size() == 8);
        CHECK(lines[4] == "    ... 97 more calls");
        CHECK(lines[5].ends_with("deep::call() at dump_tasks_test.cpp:+7"));
        CHECK(lines[7].ends_with("deep::call() at dump_tasks_test.cpp:+5"));
        chain.cancel();
        CHECK_THROWS_AS(co_await chain, sapwood::cancelled);
    }

    CO_TEST_CASE("of ten thousand tasks the first are printed, and how many more there are") {
        std::vector<sapwood::join_handle<>> all;
        for (int i = 0; i < 10'000; ++i) {
            all.push_back(sapwood::spawn(sleep_an_hour()));
        }
        co_await sapwood::yield();
        const auto lines = lines_of(dump_tasks({.tasks_max = 100}));
        CHECK(lines.front() == "10001 tasks, 0 ready to run");
        CHECK(lines.size() == 1 + 2 * 100 + 1);
        CHECK(lines.back() == "... and 9901 more");
        for (auto& each : all) {
            each.cancel();
            CHECK_THROWS_AS(co_await each, sapwood::cancelled);
        }
    }

    CO_TEST_CASE("a chain of ten thousand joins takes no stack and few blanks") {
        std::vector<sapwood::join_handle<>> all;
        all.push_back(sapwood::spawn(sleep_an_hour()));
        for (std::size_t i = 0; i < 10'000; ++i) {
            all.push_back(sapwood::spawn([&, i]() -> task<> { co_await all[i]; }));
        }
        all.reserve(all.size());
        co_await sapwood::yield();
        const std::string dump = dump_tasks({.tasks_max = 100'000});
        CHECK(lines_of(dump).size() == 1 + 2 * 10'002);
        CHECK(dump.size() < 4u << 20);
        all.back().cancel();
        CHECK_THROWS_AS(co_await all.back(), sapwood::cancelled);
    }

    TEST_CASE("a loop that does not run has nothing to tell") {
        const sapwood::event_loop loop;
        CHECK(dump_tasks(loop) == "0 tasks, 0 ready to run\n");
    }

    TEST_CASE("a dump is written to a descriptor, and one that cannot be is dropped") {
        std::array<int, 2> ends{};
        REQUIRE(::pipe(ends.data()) == 0);
        sapwood::run([&]() -> task<> {
            dump_tasks(ends[1]);
            dump_tasks(-1);
            co_return;
        });
        std::array<char, 64> bytes{};
        REQUIRE(::read(ends[0], bytes.data(), bytes.size()) > 0);
        CHECK(std::string_view(bytes.data(), 23) == "1 task, 0 ready to run\n");
        ::close(ends[0]);
        ::close(ends[1]);
    }

    TEST_CASE("after a signal the tasks are on standard error, and the program goes on") {
        const auto output = sapwood::test::last_words([] {
            std::array<int, 2> ends{};
            REQUIRE(::pipe(ends.data()) == 0);
            const int standard_error = ::dup(STDERR_FILENO);
            ::dup2(ends[1], STDERR_FILENO);
            sapwood::run([&]() -> task<> {
                sapwood::dump_tasks_on();
                auto sleeper = sapwood::spawn(sleep_an_hour(), {.name = "sleeper"});
                ::kill(::getpid(), SIGUSR1);
                sapwood::file reader(::dup(ends[0]));
                std::array<char, 4096> bytes{};
                const auto size = co_await reader.read_some(bytes);
                (void)!::write(standard_error, bytes.data(), size);
                sleeper.cancel();
                co_await reader.close();
            });
            (void)!::write(standard_error, "ended", 5);
            ::abort();
        });
        CHECK(output == doctest::Contains("#3 \"sleeper\""));
        CHECK(output == doctest::Contains("#2 \"dump_tasks_on\""));
        CHECK(output == doctest::Contains("ended"));
    }
}
