// run_blocking: calls on other threads, awaited; cancelled only before they begin.
#include "support/child_process.hpp"
#include "support/co_test.hpp"

#include <sapwood/run_blocking.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <functional>
#include <future>
#include <memory>
#include <stdexcept>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

using sapwood::blocking_pool;
using sapwood::run_blocking;
using sapwood::task;
using sapwood::test::in_child;
using sapwood::test::last_words;

/// A call that runs until it is let go.
class gate {
  public:
    void pass() {
        entered_.set_value();
        opened_.get_future().wait();
    }

    void wait_until_entered() { entered_.get_future().wait(); }

    void open() { opened_.set_value(); }

  private:
    std::promise<void> entered_;
    std::promise<void> opened_;
};

task<int> call(blocking_pool& pool, std::function<int()> work) {
    co_return co_await pool.run(std::move(work));
}

} // namespace

// On the loop's own clock: what other threads do takes real time.
TEST_SUITE("run_blocking") {

    TEST_CASE("a call runs on another thread, and its result or exception is awaited") {
        sapwood::run([]() -> task<> {
            const auto loop_thread = std::this_thread::get_id();
            const auto call_thread =
                co_await run_blocking([] { return std::this_thread::get_id(); });
            CHECK(call_thread != loop_thread);
            CHECK(std::this_thread::get_id() == loop_thread);
            const auto fails = []() -> int { throw std::runtime_error("no such thing"); };
            auto handle = sapwood::spawn(call(blocking_pool::common(), fails));
            CHECK_THROWS_WITH_AS((void)co_await handle, "no such thing", std::runtime_error);
        });
    }

    TEST_CASE("results may be nothing, move-only or references, and the work move-only") {
        sapwood::run([]() -> task<> {
            bool ran = false;
            co_await run_blocking([&ran] { ran = true; });
            CHECK(ran);
            // By its name: gcc 12 destroys what a lambda inside a co_await expression holds twice.
            auto hand_over = [held = std::make_unique<int>(7)]() mutable {
                return std::move(held);
            };
            auto pointer = co_await run_blocking(std::move(hand_over));
            CHECK(*pointer == 7);
            int& same = co_await run_blocking([&]() -> int& { return *pointer; });
            CHECK(&same == pointer.get());
        });
    }

    TEST_CASE("while a call blocks the loop goes on") {
        sapwood::run([]() -> task<> {
            gate blocking;
            auto handle = sapwood::spawn(
                [&]() -> task<> { co_await run_blocking([&] { blocking.pass(); }); });
            co_await sapwood::yield();
            blocking.wait_until_entered();
            for (int turn = 0; turn < 100; ++turn) {
                co_await sapwood::yield();
            }
            CHECK_FALSE(handle.done());
            blocking.open();
            co_await handle;
        });
    }

    TEST_CASE("no more threads are started than calls at once, nor than allowed") {
        sapwood::run([]() -> task<> {
            blocking_pool pool(3);
            CHECK(pool.threads() == 0);
            for (int i = 0; i < 5; ++i) {
                co_await pool.run([] {});
            }
            CHECK(pool.threads() == 1);
            std::atomic<int> running{0};
            std::atomic<int> most{0};
            std::vector<sapwood::join_handle<int>> calls;
            for (int i = 0; i < 50; ++i) {
                calls.push_back(sapwood::spawn(call(pool, [&] {
                    const int now = running.fetch_add(1) + 1;
                    int seen = most.load();
                    while (seen < now && !most.compare_exchange_weak(seen, now)) {
                    }
                    std::this_thread::yield();
                    running.fetch_sub(1);
                    return 1;
                })));
            }
            int done = 0;
            for (auto& each : calls) {
                done += co_await each;
            }
            CHECK(done == 50);
            CHECK(most.load() <= 3);
            CHECK(pool.threads() == 3);
        });
    }

    TEST_CASE("calls in line begin in the order they came") {
        sapwood::run([]() -> task<> {
            blocking_pool pool(1);
            std::vector<int> order;
            std::vector<sapwood::join_handle<int>> calls;
            for (int i = 0; i < 20; ++i) {
                calls.push_back(sapwood::spawn(call(pool, [&order, i] {
                    order.push_back(i);
                    return i;
                })));
            }
            for (int i = 0; i < 20; ++i) {
                CHECK(co_await calls[static_cast<std::size_t>(i)] == i);
            }
            CHECK(std::is_sorted(order.begin(), order.end()));
        });
    }

    TEST_CASE("a cancelled call that had not begun never runs; one that had is awaited") {
        sapwood::run([]() -> task<> {
            blocking_pool pool(1);
            gate blocking;
            bool second_ran = false;
            std::string after;
            auto first = sapwood::spawn([&]() -> task<int> {
                const int value = co_await pool.run([&] {
                    blocking.pass();
                    return 1;
                });
                after += 'r';
                try {
                    co_await sapwood::sleep_for(std::chrono::hours(1));
                } catch (const sapwood::cancelled&) {
                    after += 'c'; // the request was not lost
                }
                co_return value;
            });
            auto second = sapwood::spawn(call(pool, [&] {
                second_ran = true;
                return 2;
            }));
            co_await sapwood::yield();
            blocking.wait_until_entered();
            first.cancel();
            second.cancel();
            CHECK_THROWS_AS((void)co_await second, sapwood::cancelled);
            CHECK_FALSE(first.done());
            blocking.open();
            CHECK(co_await first == 1);
            CHECK(after == "rc");
            CHECK_FALSE(second_ran);
        });
    }

    TEST_CASE("a task with a pending request does not begin a call") {
        sapwood::run([]() -> task<> {
            blocking_pool pool(1);
            bool ran = false;
            auto handle = sapwood::spawn(call(pool, [&] {
                ran = true;
                return 1;
            }));
            handle.cancel();
            CHECK_THROWS_AS((void)co_await handle, sapwood::cancelled);
            CHECK_FALSE(ran);
            CHECK(pool.threads() == 0);
        });
    }

    TEST_CASE("two loops share the common pool, and each call comes back to its own") {
        auto work = [] {
            return sapwood::run([]() -> task<int> {
                const auto home = std::this_thread::get_id();
                int sum = 0;
                for (int i = 0; i < 200; ++i) {
                    sum += co_await run_blocking([i] { return i; });
                    sum += std::this_thread::get_id() == home ? 0 : 1'000'000;
                }
                co_return sum;
            });
        };
        int other = 0;
        std::thread thread([&] { other = work(); });
        CHECK(work() == 19'900);
        thread.join();
        CHECK(other == 19'900);
    }

    TEST_CASE("signals go to the program's threads, not to the pool's") {
        CHECK(in_child([] {
                  return sapwood::run([]() -> task<std::string> {
                      sigset_t blocked;
                      co_await run_blocking(
                          [&] { ::pthread_sigmask(SIG_SETMASK, nullptr, &blocked); });
                      std::string seen = ::sigismember(&blocked, SIGTERM) == 1 ? "blocked" : "open";
                      ::pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
                      co_return seen +
                          (::sigismember(&blocked, SIGTERM) == 1 ? " blocked" : " open");
                  });
              }) == "blocked open");
    }

    TEST_CASE("a forked child has threads of its own") {
        CHECK(in_child([] {
                  auto seven = [] {
                      return sapwood::run(
                          []() -> task<int> { co_return co_await run_blocking([] { return 7; }); });
                  };
                  (void)seven();
                  const pid_t child = ::fork();
                  if (child == 0) {
                      ::_exit(seven());
                  }
                  int status = 0;
                  ::waitpid(child, &status, 0);
                  return std::to_string(WEXITSTATUS(status));
              }) == "7");
    }

    TEST_CASE("a pool without threads hits the assertion") {
        CHECK(last_words([] { const blocking_pool none(0); }) ==
              doctest::Contains("needs at least one thread"));
    }
}
