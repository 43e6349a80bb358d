// event_loop: fairness, who resumes whom and when, the end of run(), messages from other threads.
#include "support/child_process.hpp"
#include "support/co_test.hpp"
#include "support/scripted_ring.hpp"

#include "uring_ring.hpp"

#include <sapwood/channel.hpp>
#include <sapwood/file.hpp>
#include <sapwood/pipe.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>
#include <sapwood/task_group.hpp>
#include <sapwood/when_all.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

using namespace std::chrono_literals;
using sapwood::event_loop;
using sapwood::task;
using sapwood::test::in_child;
using sapwood::test::last_words;
using sapwood::test::scripted_ring;

task<> write_and_yield(std::string& trace, char mark, int times) {
    for (int i = 0; i < times; ++i) {
        trace += mark;
        co_await sapwood::yield();
    }
}

task<> sleep_for_a_day(bool& was_cancelled) {
    try {
        co_await sapwood::sleep_for(24h);
    } catch (const sapwood::cancelled&) {
        was_cancelled = true;
        throw;
    }
}

task<> do_nothing() {
    co_return;
}

/// Resumes who waits for it when `expected` messages have come.
class mailbox {
  public:
    class message final : public sapwood::arrival {
      public:
        explicit message(mailbox& to) : to_(&to) {}

        void arrive() noexcept override { to_->receive(); }

      private:
        mailbox* to_;
    };

    explicit mailbox(int expected) : queue_(1), expected_(expected) {}

    void receive() noexcept {
        if (++received_ == expected_) {
            (void)queue_.try_send(received_);
        }
    }

    [[nodiscard]] auto all() { return queue_.receive(); }

    [[nodiscard]] int received() const { return received_; }

  private:
    sapwood::channel<int> queue_;
    int expected_;
    int received_ = 0;
};

/// Passes on to a real ring, counts how often the loop waits there, and does something each time
/// when the loop has made up its mind to wait.
class waiting_ring final : public sapwood::ring {
  public:
    waiting_ring(std::unique_ptr<sapwood::ring> real, std::function<void()> at_wait)
        : real_(std::move(real)),
          at_wait_(std::move(at_wait)) {
        sq_ = (*real_).*(&waiting_ring::sq_);
        cq_ = (*real_).*(&waiting_ring::cq_);
    }

    void enter(sapwood::clock::time_point until) override {
        ((*real_).*(&waiting_ring::sq_)).tail = sq_.tail;
        if (until != dont_wait) {
            ++waits;
            at_wait_();
        }
        real_->enter(until);
    }

    [[nodiscard]] std::string report() const override { return "waiting"; }

    int waits = 0;

  private:
    std::unique_ptr<sapwood::ring> real_;
    std::function<void()> at_wait_;
};

/// What was written to the eventfds of this process and nobody has read yet.
std::uint64_t rings_in_eventfds() {
    std::uint64_t sum = 0;
    for (const auto& each : std::filesystem::directory_iterator("/proc/self/fdinfo")) {
        std::ifstream in(each.path());
        for (std::string line; std::getline(in, line);) {
            constexpr std::string_view name = "eventfd-count:";
            if (line.starts_with(name)) {
                sum += std::stoull(line.substr(name.size()), nullptr, 16);
            }
        }
    }
    return sum;
}

} // namespace

TEST_SUITE("event_loop") {

    CO_TEST_CASE("two tasks that yield take turns") {
        std::string trace;
        auto other = sapwood::spawn(write_and_yield(trace, 'b', 4));
        co_await write_and_yield(trace, 'a', 4);
        co_await other;
        CHECK(trace == "abababab");
    }

    CO_TEST_CASE("a task that becomes ready during a turn runs in the next one") {
        std::string trace;
        auto spawner = [&]() -> task<> {
            trace += '1';
            sapwood::spawn(write_and_yield(trace, 'c', 1)).detach();
            co_return;
        };
        auto first = sapwood::spawn(spawner());
        auto second = sapwood::spawn(write_and_yield(trace, '2', 1));
        co_await second;
        CHECK(trace == "12c");
    }

    CO_TEST_CASE("send only makes the receiver ready, and receive the sender") {
        std::string trace;
        sapwood::channel<int> queue(1);
        auto receiver = [&]() -> task<> {
            for (int i = 0; i < 3; ++i) {
                trace += std::to_string(co_await queue.receive());
            }
        };
        auto handle = sapwood::spawn(receiver());
        co_await sapwood::yield();
        for (int i = 0; i < 3; ++i) {
            trace += '[';
            co_await queue.send(i);
            trace += ']';
        }
        co_await handle;
        CHECK(trace == "[][][012]");
    }

    CO_TEST_CASE("close and cancel only make those who wait ready") {
        std::string trace;
        sapwood::channel<int> queue(1);
        auto receiver = [&]() -> task<> {
            const auto item = co_await sapwood::as_result(queue.receive());
            trace += item ? 'i' : 'e';
        };
        auto first = sapwood::spawn(receiver());
        auto second = sapwood::spawn(receiver());
        co_await sapwood::yield();
        first.cancel();
        trace += '1';
        queue.close();
        trace += '2';
        co_await first;
        co_await second;
        CHECK(trace == "12ee");
    }

    CO_TEST_CASE("tasks that never wait do not keep timers from firing") {
        bool stop = false;
        auto busy = [&]() -> task<> {
            while (!stop) {
                co_await sapwood::yield();
            }
        };
        auto handle = sapwood::spawn(busy());
        co_await sapwood::sleep_for(0h);
        stop = true;
        co_await handle;
        CHECK(handle.done());
    }

    CO_TEST_CASE("tasks that never wait do not keep completions from being seen") {
        bool stop = false;
        auto busy = [&]() -> task<> {
            while (!stop) {
                co_await sapwood::yield();
            }
        };
        auto handle = sapwood::spawn(busy());
        auto opened = co_await sapwood::file::open("/dev/null");
        CHECK(opened.is_open());
        stop = true;
        co_await handle;
    }

    CO_TEST_CASE("idle waits until no other task is ready") {
        std::string trace;
        auto other = sapwood::spawn(write_and_yield(trace, 'a', 5));
        co_await sapwood::idle(24h);
        trace += '!';
        co_await other;
        CHECK(trace == "aaaaa!");
    }

    CO_TEST_CASE("who becomes ready by idle is busy for the next who waits for it") {
        std::string trace;
        auto wait_idle = [&](char mark) -> task<> {
            co_await sapwood::idle(24h);
            co_await write_and_yield(trace, mark, 3);
        };
        auto first = sapwood::spawn(wait_idle('1'));
        auto second = sapwood::spawn(wait_idle('2'));
        co_await first;
        co_await second;
        CHECK(trace == "111222");
    }

    CO_TEST_CASE("idle comes before the loop would wait for a deadline") {
        auto& loop = event_loop::current();
        const auto before = loop.now();
        bool woke = false;
        auto sleeper = [&]() -> task<> {
            co_await sapwood::sleep_for(1s);
            woke = true;
        };
        auto handle = sapwood::spawn(sleeper());
        co_await sapwood::idle(24h);
        CHECK_FALSE(woke);
        CHECK(loop.now() == before);
        co_await handle;
    }

    CO_TEST_CASE("idle gives up at its deadline while others are busy") {
        bool stop = false;
        int turns = 0;
        auto busy = [&]() -> task<> {
            while (!stop) {
                ++turns;
                co_await sapwood::yield();
            }
        };
        auto handle = sapwood::spawn(busy());
        co_await sapwood::yield();
        co_await sapwood::idle(0s);
        CHECK(turns < 5);
        stop = true;
        co_await handle;
    }

    CO_TEST_CASE("who waits for idle can be cancelled, and several wait in order") {
        std::string trace;
        auto wait_idle = [&](char mark) -> task<> {
            co_await sapwood::idle(24h);
            trace += mark;
        };
        auto first = sapwood::spawn(wait_idle('1'));
        auto second = sapwood::spawn(wait_idle('2'));
        auto third = sapwood::spawn(wait_idle('3'));
        co_await sapwood::yield();
        second.cancel();
        CHECK_THROWS_AS(co_await second, sapwood::cancelled);
        co_await third;
        CHECK(trace == "13");
        co_await first;
    }

    TEST_CASE("run cancels and awaits everything when main ends") {
        bool first = false;
        bool second = false;
        bool cleaned_up = false;
        auto slow_to_end = [&]() -> task<> {
            try {
                co_await sapwood::sleep_for(24h);
            } catch (const sapwood::cancelled&) {
            }
            co_await sapwood::sleep_for(1h); // a cleanup may wait
            cleaned_up = true;
        };
        auto leave = [&]() -> task<> {
            sapwood::spawn(sleep_for_a_day(first)).detach();
            sapwood::spawn(sleep_for_a_day(second)).detach();
            sapwood::spawn(slow_to_end()).detach();
            co_await sapwood::yield();
        };
        sapwood::test::run_virtual(leave());
        CHECK(first);
        CHECK(second);
        CHECK(cleaned_up);
    }

    TEST_CASE("run cancels and awaits everything when main throws") {
        bool was_cancelled = false;
        auto leave = [&]() -> task<> {
            sapwood::spawn(sleep_for_a_day(was_cancelled)).detach();
            co_await sapwood::yield();
            throw std::runtime_error("main failed");
        };
        CHECK_THROWS_WITH_AS(sapwood::test::run_virtual(leave()), "main failed",
                             std::runtime_error);
        CHECK(was_cancelled);
    }

    TEST_CASE("run also ends tasks that others spawn while they are being cancelled") {
        bool was_cancelled = false;
        bool body_ran = false;
        auto late = [&]() -> task<> {
            body_ran = true;
            co_await sleep_for_a_day(was_cancelled);
        };
        auto spawner = [&]() -> task<> {
            try {
                co_await sapwood::sleep_for(24h);
            } catch (const sapwood::cancelled&) {
                sapwood::spawn(late()).detach();
            }
        };
        auto leave = [&]() -> task<> {
            sapwood::spawn(spawner()).detach();
            co_await sapwood::yield();
        };
        sapwood::test::run_virtual(leave());
        CHECK_FALSE(body_ran); // cancelled before its start
        CHECK_FALSE(was_cancelled);
    }

    TEST_CASE("a loop can be run again, also after main threw") {
        event_loop loop;
        auto answer = []() -> task<int> {
            co_await sapwood::yield();
            co_return 42;
        };
        auto fail = []() -> task<> {
            co_await sapwood::yield();
            throw std::runtime_error("main failed");
        };
        CHECK(loop.run(answer()) == 42);
        CHECK_THROWS_AS(loop.run(fail()), std::runtime_error);
        CHECK(loop.run(answer()) == 42);
    }

    TEST_CASE("current() is the loop that runs on this thread") {
        event_loop loop;
        event_loop* seen = nullptr;
        auto look = [&]() -> task<> {
            seen = &event_loop::current();
            co_return;
        };
        loop.run(look());
        CHECK(seen == &loop);
    }

    TEST_CASE("two threads each run a loop of their own") {
        auto count = []() -> task<int> {
            int turns = 0;
            for (; turns < 1000; ++turns) {
                co_await sapwood::yield();
            }
            co_return turns;
        };
        int there = 0;
        std::thread other([&] { there = sapwood::run(count()); });
        const int here = sapwood::run(count());
        other.join();
        CHECK(here == 1000);
        CHECK(there == 1000);
    }

    TEST_CASE("a loop whose tasks only use memory and never wait enters its ring not at all") {
        auto made = std::make_unique<scripted_ring>();
        const auto& ring = *made;
        event_loop loop(std::move(made));
        std::string trace;
        loop.run(write_and_yield(trace, 'a', 100));
        CHECK(trace.size() == 100);
        CHECK(ring.enters() == 0);
    }

    TEST_CASE("timers that are due together cost one enter, however many") {
        auto made = std::make_unique<scripted_ring>();
        const auto& ring = *made;
        event_loop loop(std::move(made));
        int woke = 0;
        auto sleeper = [&]() -> task<> {
            co_await sapwood::sleep_until(sapwood::clock::time_point(48h));
            ++woke;
        };
        auto sleep_all = [&]() -> task<> {
            std::vector<sapwood::join_handle<void>> handles;
            for (int i = 0; i < 1000; ++i) {
                handles.push_back(sapwood::spawn(sleeper()));
            }
            for (auto& handle : handles) {
                co_await handle;
            }
        };
        loop.run(sleep_all());
        CHECK(woke == 1000);
        CHECK(ring.enters() == 1);
    }

    TEST_CASE("messages of many threads all arrive") {
        constexpr int threads = 4;
        constexpr int each = 2000;
        mailbox box(threads * each);
        std::vector<mailbox::message> messages(threads * each, mailbox::message(box));
        event_loop loop;
        std::vector<std::thread> senders;
        auto wait_for_all = [&]() -> task<> {
            for (int t = 0; t < threads; ++t) {
                senders.emplace_back([&, t] {
                    for (int i = 0; i < each; ++i) {
                        loop.post(messages[static_cast<std::size_t>(t * each + i)]);
                    }
                });
            }
            co_await box.all();
        };
        loop.run(wait_for_all());
        for (auto& sender : senders) {
            sender.join();
        }
        CHECK(box.received() == threads * each);
    }

    TEST_CASE("messages of one thread arrive in the order they were posted") {
        std::vector<int> order;

        struct numbered final : sapwood::arrival {
            void arrive() noexcept override { to->push_back(number); }

            std::vector<int>* to = nullptr;
            int number = 0;
        };

        std::vector<numbered> messages(100);
        event_loop loop;
        auto wait_for_all = [&]() -> task<> {
            std::thread sender([&] {
                for (int i = 0; i < 100; ++i) {
                    auto& message = messages[static_cast<std::size_t>(i)];
                    message.to = &order;
                    message.number = i;
                    loop.post(message);
                }
            });
            sender.join();
            co_await sapwood::yield();
        };
        loop.run(wait_for_all());
        REQUIRE(order.size() == 100);
        CHECK(std::is_sorted(order.begin(), order.end()));
    }

    TEST_CASE("a burst of messages wakes a waiting loop once") {
        constexpr int burst = 1000;
        event_loop* waiting = nullptr;
        mailbox box(burst);
        std::vector<mailbox::message> messages(burst, mailbox::message(box));
        std::uint64_t rings = 0;
        // All of it comes when the loop has looked for messages and found none: it does not wait
        // for the kernel before the last one is there.
        auto made = std::make_unique<waiting_ring>(
            std::make_unique<sapwood::uring_ring>(sapwood::uring_ring::options{}), [&] {
                std::thread([&] {
                    if (box.received() == 0) {
                        const std::uint64_t before = rings_in_eventfds();
                        for (auto& message : messages) {
                            waiting->post(message);
                        }
                        rings = rings_in_eventfds() - before;
                    }
                }).join();
            });
        const auto& ring = *made;
        event_loop loop(std::move(made));
        waiting = &loop;
        auto wait_for_all = [&]() -> task<> { co_await box.all(); };
        loop.run(wait_for_all());
        CHECK(box.received() == burst);
        CHECK(rings == 1);
        CHECK(ring.waits == 1);
    }

    TEST_CASE("a message that is posted to a loop that does not run arrives at the latest when "
              "the loop is destroyed") {
        mailbox box(2);
        mailbox::message message(box);
        {
            event_loop loop;
            loop.post(message);
            CHECK(box.received() == 0);
        }
        CHECK(box.received() == 1);
    }

    TEST_CASE("a message may be posted again while it arrives") {
        struct repeater final : sapwood::arrival {
            void arrive() noexcept override {
                if (++arrived < 3) {
                    loop->post(*this);
                }
            }

            event_loop* loop = nullptr;
            int arrived = 0;
        };

        event_loop loop;
        repeater message;
        message.loop = &loop;
        auto wait = [&]() -> task<> {
            loop.post(message);
            for (int i = 0; i < 5; ++i) {
                co_await sapwood::yield();
            }
        };
        loop.run(wait());
        CHECK(message.arrived == 3);
    }

    TEST_CASE("a task that holds the loop is told of, with how long, and only such a one") {
        auto ring = std::make_unique<sapwood::test::virtual_time_ring>();
        auto& time = *ring;
        event_loop loop(std::move(ring));
        std::vector<sapwood::clock::duration> held;
        loop.on_slow_task(50ms, [&](const sapwood::slow_task& slow) { held.push_back(slow.held); });
        auto compute = [&]() -> task<> {
            co_await sapwood::yield();
            time.pass(1s);
            co_await sapwood::yield();
            time.pass(49ms);
            co_await sapwood::sleep_for(1h);
            time.pass(50ms);
            co_await sapwood::yield();
            loop.on_slow_task({}, nullptr);
            co_await sapwood::yield();
            time.pass(1s);
            co_await sapwood::yield();
        };
        loop.run(compute());
        CHECK(held == std::vector<sapwood::clock::duration>{1s, 50ms});
    }

    TEST_CASE("who held the loop is told by its name, and by where it went on") {
        auto ring = std::make_unique<sapwood::test::virtual_time_ring>();
        auto& time = *ring;
        event_loop loop(std::move(ring));
        std::vector<std::string> told;
        unsigned line = 0;
        loop.on_slow_task(50ms, [&](const sapwood::slow_task& slow) {
            told.push_back(std::string(slow.name) + (slow.resumed_at.line() == line ? " +" : " -") +
                           (slow.resumed_at.line() == 0 ? "start" : ""));
        });
        auto work = [&]() -> task<> {
            time.pass(1s);
            line = __LINE__ + 1;
            co_await sapwood::yield();
            time.pass(1s); // and the task, with its name, is gone when this is told
        };
        auto spawn_both = [&]() -> task<> {
            co_await sapwood::spawn(work, {.name = "literal"});
            line = 0;
            co_await sapwood::spawn(work, {.name = std::string("a name of its own")});
        };
        loop.run(spawn_both());
        CHECK(told == std::vector<std::string>{"literal -start", "literal +",
                                               "a name of its own -start", "a name of its own +"});
    }

    TEST_CASE("stats count turns, resumptions, and tasks of every kind") {
        auto made = std::make_unique<scripted_ring>();
        event_loop loop(std::move(made));
        loop.run([]() -> task<> {
            auto& here = event_loop::current();
            const auto before = here.stats();
            CHECK(before.tasks_started == 1);
            CHECK(before.turns == 1);
            CHECK(before.resumptions == 1);
            CHECK(before.ready == 0);
            CHECK(before.operations_in_flight == 0);
            CHECK(before.operations_waiting == 0);
            sapwood::task_group group;
            group.spawn(do_nothing());
            auto spawned = sapwood::spawn(do_nothing());
            const auto with_two = here.stats();
            CHECK(with_two.tasks == 3);
            CHECK(with_two.ready == 2);
            co_await sapwood::yield();
            CHECK(here.stats().tasks == 1);
            CHECK(here.stats().turns == 2);
            CHECK(here.stats().resumptions == 4);
            co_await sapwood::when_all(do_nothing(), do_nothing());
            CHECK(here.stats().tasks_started == 5);
            co_await group.join();
            co_await spawned;
        }());
        const auto end = loop.stats();
        CHECK(end.tasks == 0);
        CHECK(end.ready == 0);
        CHECK(end.enters_per_turn() == doctest::Approx(0));
        CHECK(sapwood::loop_stats{.turns = 4, .enters = 1}.enters_per_turn() ==
              doctest::Approx(0.25));
    }

    TEST_CASE("stats tell what the ring has, and what waits for room in it") {
        event_loop loop({.sq_entries = 4, .cq_entries = 4});
        loop.run([]() -> task<> {
            auto ends = sapwood::pipe::make();
            std::vector<sapwood::join_handle<>> readers;
            for (int i = 0; i < 9; ++i) {
                readers.push_back(sapwood::spawn([&]() -> task<> {
                    std::array<char, 1> byte{};
                    (void)co_await ends.reader.read_some(byte);
                }));
            }
            co_await sapwood::yield();
            const auto crowded = event_loop::current().stats();
            CHECK(crowded.operations_in_flight == 4);
            CHECK(crowded.operations_waiting == 5);
            for (auto& each : readers) {
                each.cancel();
            }
            for (auto& each : readers) {
                CHECK_THROWS_AS(co_await each, sapwood::cancelled);
            }
            CHECK(event_loop::current().stats().operations_in_flight == 0);
        }());
    }

    TEST_CASE("stats count tasks, timers, and operations there and back") {
        event_loop loop;
        loop.run([]() -> task<> {
            auto& here = event_loop::current();
            const auto before = here.stats();
            CHECK(before.tasks == 1);
            CHECK(before.timers == 0);
            bool was_cancelled = false;
            auto sleeper = sapwood::spawn(sleep_for_a_day(was_cancelled));
            co_await sapwood::yield();
            auto file = co_await sapwood::file::open("/dev/null");
            co_await file.close();
            const auto after = here.stats();
            CHECK(after.tasks == 2);
            CHECK(after.timers == 1);
            CHECK(after.operations_started - before.operations_started >= 2);
            CHECK(after.operations_completed - before.operations_completed >= 2);
            CHECK(after.enters > before.enters);
        }());
        const auto end = loop.stats();
        CHECK(end.tasks == 0);
        CHECK(end.timers == 0);
    }

    TEST_CASE("run inside run hits the assertion") {
        auto nested = []() -> task<> {
            sapwood::run(do_nothing());
            co_return;
        };
        CHECK(last_words([&] { sapwood::run(nested()); }) ==
              doctest::Contains("run() was called inside a running loop"));
    }

    TEST_CASE("running a loop on another thread than made it hits the assertion") {
        CHECK(last_words([] {
                  event_loop loop;
                  std::thread([&] { loop.run(do_nothing()); }).join();
              }) == doctest::Contains("on another thread than the one that made it"));
    }

    TEST_CASE("a loop that is used in a forked child hits the assertion there") {
        auto fork_and_go_on = []() -> task<> {
            if (const pid_t child = ::fork(); child != 0) {
                ::waitpid(child, nullptr, 0);
                std::abort();
            }
            co_await sapwood::yield();
        };
        CHECK(last_words([&] { sapwood::run(fork_and_go_on()); }) ==
              doctest::Contains("an event_loop was used in a child process"));
    }

    TEST_CASE("a forked child may run a loop of its own, and end as the parent would") {
        CHECK(in_child([&] {
                  event_loop of_parent;
                  of_parent.run(do_nothing());
                  const pid_t child = ::fork();
                  if (child == 0) {
                      sapwood::run(do_nothing());
                      return std::string("child");
                  }
                  int status = 0;
                  ::waitpid(child, &status, 0);
                  of_parent.run(do_nothing());
                  return std::to_string(status);
              }) == "child0");
    }

    TEST_CASE("the scripted ring ends a program whose loop would wait for ever") {
        auto wait_for_nobody = []() -> task<> {
            sapwood::channel<int> queue(1);
            (void)co_await queue.receive();
        };
        CHECK(last_words([&] {
                  event_loop loop(std::make_unique<scripted_ring>());
                  loop.run(wait_for_nobody());
              }) == doctest::Contains("would wait for ever"));
    }
}
