// action_chain: tasks that each begin in what the one before them did, for ever: what is kept of
// that, and where their records are.
#include "support/action_lines.hpp"
#include "support/allocations.hpp"
#include "support/co_test.hpp"

#include <sapwood/activity.hpp>
#include <sapwood/event.hpp>
#include <sapwood/logger.hpp>
#include <sapwood/run_blocking.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>
#include <sapwood/task_group.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <doctest/doctest.h>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace sapwood;
using strings = std::vector<std::string>;
using test::action_log;

/// Tasks each of which is started in what the one before it did.
struct chain {
    const logger& log;
    const logger& other;

    static constexpr unsigned many = 10'000;

    /// What is there when few are over, and when many are.
    std::ptrdiff_t early = 0;
    std::ptrdiff_t late = 0;
    unsigned running = 0;

    void count(unsigned more) {
        if (more == many - 1'000) {
            early = test::allocations_alive();
        } else if (more == 0) {
            late = test::allocations_alive();
        }
    }

    /// The next begins when this one's has ended.
    task<> one_by_one(unsigned more) {
        count(more);
        auto action = log.start_action("tick");
        co_await yield();
        if (more > 0) {
            spawn(one_by_one(more - 1)).detach();
        }
    }

    /// The next begins while this one's goes on.
    task<> overlapping(unsigned more) {
        count(more);
        auto action = log.start_action("tick");
        if (more > 0) {
            spawn(overlapping(more - 1)).detach();
        }
        co_await yield();
        co_await yield();
        co_await yield();
    }

    task<> of_two_logs(unsigned more) {
        count(more);
        auto action = log.start_action("tick");
        auto inner = other.start_action("tock");
        co_await yield();
        if (more > 0) {
            spawn(of_two_logs(more - 1)).detach();
        }
    }

    /// Each is ended while the next part goes on.
    task<> of_parts(unsigned more) {
        count(more);
        auto part = log.start_action("first");
        co_await yield();
        if (more > 0) {
            spawn(of_parts(more - 1)).detach();
        }
        part = log.start_action("second");
    }

    /// Each is looked at by another thread meanwhile.
    task<> with_calls(unsigned more) {
        count(more);
        ++running;
        auto action = log.start_action("tick");
        if (more > 0) {
            spawn(with_calls(more - 1)).detach();
        }
        co_await run_blocking([this] {
            other.info("in nothing");
            auto outer = other.start_action("tock");
            log.info("in a tick");
        });
        --running;
    }

    task<> run(task<> (chain::*which)(unsigned)) {
        spawn((this->*which)(many)).detach();
        while (late == 0 || running > 0) {
            co_await yield();
        }
    }

    /// Each is ended in a visit of it, where the next one is begun.
    void visits() {
        unsigned more = many;
        auto given = log.start_action("call");
        given.leave();
        while (more-- > 0) {
            count(more);
            action next;
            {
                const auto here = given.enter();
                next = log.start_action("call");
                next.leave();
                given.succeed();
            }
            given = std::move(next);
        }
    }
};

/// Of four: says where it is when all of their actions are over.
task<> say_below(const logger& log, int number, event& are_over) {
    auto action = log.start_action(std::to_string(number));
    if (number < 4) {
        spawn(say_below(log, number + 1, are_over)).detach();
    } else {
        are_over.set();
    }
    action.succeed();
    co_await are_over.wait();
    log.info("{} goes on", number);
}

/// A thread that ends an action whenever it is given one.
class ending_thread {
  public:
    void end(action& which) {
        given_.store(&which, std::memory_order_release);
        given_.notify_one();
    }

    /// Returns when it has done so.
    void wait() const {
        while (action* const at_work = given_.load(std::memory_order_acquire)) {
            given_.wait(at_work, std::memory_order_acquire);
        }
    }

    ending_thread() = default;
    ending_thread(const ending_thread&) = delete;
    ending_thread& operator=(const ending_thread&) = delete;

    ~ending_thread() {
        action none;
        is_over_.store(true, std::memory_order_release);
        end(none);
        thread_.join();
    }

  private:
    void work() {
        while (!is_over_.load(std::memory_order_acquire)) {
            given_.wait(nullptr, std::memory_order_acquire);
            if (action* const which = given_.load(std::memory_order_acquire)) {
                which->succeed();
                given_.store(nullptr, std::memory_order_release);
                given_.notify_one();
            }
        }
    }

    std::atomic<action*> given_{nullptr};
    std::atomic<bool> is_over_{false};
    std::thread thread_{[this] { work(); }};
};

/// Begins in what has ended, has its own action ended elsewhere, and leaves it at once.
task<> leave_what_ends(const logger& log, ending_thread& elsewhere, action& own) {
    own = log.start_action("own");
    const detail::activity* const inside = detail::current_activity();
    elsewhere.end(own);
    while (detail::current_activity() == inside) {
        log.info("where?");
    }
    co_return;
}

} // namespace

TEST_SUITE("action_chain") {

    TEST_CASE("tasks that each begin in what the one before did keep nothing of it") {
        const action_log all;
        const action_log others;
        const auto grown = [&](auto run) {
            chain made{.log = all.log, .other = others.log};
            std::thread([&] { run(made); }).join(); // whose memory is not another one's
            return made.late - made.early;
        };
        for (const auto& [name, make] : {std::pair{std::string("one by one"), &chain::one_by_one},
                                         {"overlapping", &chain::overlapping},
                                         {"of two logs", &chain::of_two_logs},
                                         {"of parts", &chain::of_parts}}) {
            CAPTURE(name);
            const auto run = [which = make](chain& made) { test::run_virtual(made.run(which)); };
            CHECK(grown(run) < 500);
        }
        CHECK(grown([](chain& made) { made.visits(); }) < 500);
    }

    TEST_CASE("and threads that look for their place in it meanwhile find it") {
        const action_log all;
        const action_log others;
        chain made{.log = all.log, .other = others.log};
        test::run_virtual(made.run(&chain::with_calls));
        std::size_t inside = 0;
        for (const auto& line : all.lines()) {
            inside += line.message == "in a tick" && !line.place.empty() ? 1 : 0;
        }
        CHECK(inside == chain::many + 1);
        const auto told = others.outline();
        CHECK(std::ranges::count(told, "in nothing") == chain::many + 1);
        CHECK(std::ranges::count(told, "tock+@1") == chain::many + 1);
    }

    CO_TEST_CASE("and where each of them goes on when its own is over is what it was begun in") {
        const action_log all;
        event are_over;
        co_await with_task_group([&](task_group& group) -> task<> {
            group.spawn(say_below(all.log, 1, are_over));
            co_await are_over.wait();
            for (int i = 0; i < 8; ++i) {
                co_await yield();
            }
        });
        const strings told = all.outline();
        CHECK(strings(told.end() - 4, told.end()) ==
              strings{"4 goes on@3,3,4", "1 goes on", "2 goes on@4", "3 goes on@3,4"});
    }

    TEST_CASE("what ends on another thread while its task leaves it leaves the task below it") {
        constexpr int rounds = 500;
        const action_log all;
        int where_they_belong = 0;
        test::run_virtual([&]() -> task<> {
            ending_thread elsewhere;
            for (int i = 0; i < rounds; ++i) {
                auto outer = all.log.start_action("outer");
                auto inner = all.log.start_action("inner");
                action own;
                auto leaving = spawn(leave_what_ends(all.log, elsewhere, own));
                inner.succeed();
                outer.succeed(); // and only the inner one keeps it
                co_await leaving;
                elsewhere.wait();
                where_they_belong += detail::current_activity() == nullptr ? 1 : 0;
            }
        }());
        CHECK(where_they_belong == rounds);
    }
}
