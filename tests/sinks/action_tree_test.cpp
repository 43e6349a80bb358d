// action, by chance: a program of nested actions, awaited and spawned tasks, branches, groups,
// requests to stop, exceptions, scopes that move, and calls on other threads, which notes what it
// does; the tree that is read out of the log is that one. Its seed is printed where it fails, and
// may be given in SAPWOOD_TEST_SEED; SAPWOOD_TEST_ACTIONS is how many actions there are.
#include "support/action_lines.hpp"
#include "support/action_nodes.hpp"
#include "support/co_test.hpp"

#include <sapwood/logger.hpp>
#include <sapwood/run_blocking.hpp>
#include <sapwood/sanitizers.hpp>
#include <sapwood/shield.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/task_group.hpp>
#include <sapwood/timeout.hpp>
#include <sapwood/when_all.hpp>
#include <sapwood/when_any.hpp>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <doctest/doctest.h>
#include <mutex>
#include <random>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace {

using namespace sapwood;
using namespace std::chrono_literals;
using test::node;
using test::read_tree;

struct random_failure : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// Threads of the pool note their actions, too.
class random_program {
  public:
    random_program(const logger& log, std::uint64_t seed, std::uint32_t actions)
        : log_(log),
          random_(seed),
          nodes_(actions + 1) {}

    task<> run() {
        while (made_ + 1 < nodes_.size()) {
            try {
                co_await act(0, 0);
            } catch (const random_failure&) {
            }
        }
    }

    [[nodiscard]] const std::vector<node>& nodes() const { return nodes_; }

  private:
    unsigned below(unsigned limit) {
        const std::lock_guard lock(mutex_);
        return static_cast<unsigned>(random_() % limit);
    }

    /// Below `parent`; 0 where there are enough.
    std::uint32_t add_node(std::uint32_t parent) {
        const std::lock_guard lock(mutex_);
        if (made_ + 1 >= nodes_.size()) {
            return 0;
        }
        nodes_[++made_].parent = parent;
        nodes_[parent].children += parent != 0 ? 1 : 0;
        return made_;
    }

    void end_node(std::uint32_t id, char outcome) {
        const std::lock_guard lock(mutex_);
        nodes_[id].outcome = outcome;
    }

    void say(std::uint32_t inside) {
        log_.info("in {}", inside);
        const std::lock_guard lock(mutex_);
        nodes_[inside].messages += 1;
    }

    /// Notes how `body` ends, as who awaits it sees it.
    task<> act(std::uint32_t parent, unsigned depth) {
        const std::uint32_t id = add_node(parent);
        if (id == 0) {
            co_return;
        }
        try {
            co_await body(id, depth);
            end_node(id, 's');
        } catch (const random_failure&) {
            end_node(id, 'f');
            throw;
        } catch (const cancelled&) {
            end_node(id, 'c');
            throw;
        }
    }

    task<> body(std::uint32_t id, unsigned depth) {
        auto action = log_.start_action(std::to_string(id));
        const unsigned steps = below(5);
        for (unsigned i = 0; i < steps; ++i) {
            co_await step(id, depth);
        }
    }

    task<> step(std::uint32_t id, unsigned depth) {
        const unsigned what = depth < 6 ? below(16) : below(3);
        switch (what) {
        case 0:
            say(id);
            break;
        case 1:
            co_await sleep_for(std::chrono::milliseconds(below(5)));
            break;
        case 2:
            if (below(4) == 0) {
                throw random_failure("by chance");
            }
            break;
        case 3:
        case 4:
            co_await tolerate(act(id, depth + 1));
            break;
        case 5:
            co_await act(id, depth + 1);
            break;
        case 6:
            co_await when_all(tolerate(act(id, depth + 1)), tolerate(act(id, depth + 1)));
            break;
        case 7:
            co_await spawn_some(id, depth);
            break;
        case 8:
            co_await group_some(id, depth);
            break;
        case 9:
            co_await stop_some(id, depth);
            break;
        case 10:
            co_await when_any(tolerate(act(id, depth + 1)), tolerate(act(id, depth + 1)),
                              sleep_some());
            break;
        case 11:
            co_await stop_in_time(id, depth);
            break;
        case 12:
            leave_and_enter(id);
            break;
        case 13:
            co_await give_away(id);
            break;
        case 14:
            continue_it(id);
            break;
        default:
            co_await pool_.run([this, id, depth] { act_on_thread(id, depth + 1); });
        }
    }

    static task<> tolerate(task<> one) {
        try {
            co_await std::move(one);
        } catch (const random_failure&) {
        }
    }

    task<> spawn_some(std::uint32_t id, unsigned depth) {
        auto one = spawn(tolerate(act(id, depth + 1)));
        auto two = spawn(tolerate(act(id, depth + 1)));
        say(id);
        co_await two;
        co_await one;
    }

    /// A member that fails has the others cancelled.
    task<> group_some(std::uint32_t id, unsigned depth) {
        co_await tolerate(with_members(id, depth));
    }

    task<> with_members(std::uint32_t id, unsigned depth) {
        co_await with_task_group([this, id, depth](task_group& group) -> task<> {
            group.spawn(act(id, depth + 1));
            group.spawn(act(id, depth + 1));
            say(id);
            co_return;
        });
    }

    task<> stop_some(std::uint32_t id, unsigned depth) {
        auto one = spawn(tolerate(act(id, depth + 1)));
        co_await sleep_for(std::chrono::milliseconds(below(3)));
        one.cancel();
        try {
            co_await one;
        } catch (const cancelled&) {
            // it was the task that was stopped; where this one is, too, its next wait says so
        }
    }

    task<> sleep_some() { co_await sleep_for(std::chrono::milliseconds(below(5))); }

    task<> stop_in_time(std::uint32_t id, unsigned depth) {
        try {
            co_await timeout(std::chrono::milliseconds(1 + below(3)), tolerate(act(id, depth + 1)));
        } catch (const std::system_error&) { // its time is over
        }
    }

    void leave_and_enter(std::uint32_t parent) {
        const std::uint32_t id = add_node(parent);
        if (id == 0) {
            return;
        }
        auto action = log_.start_action(std::to_string(id));
        say(id);
        action.leave();
        say(parent);
        {
            const auto here = action.enter();
            say(id);
        }
        auto moved = std::move(action);
        say(parent);
        moved.succeed();
        end_node(id, 's');
    }

    /// To a task that ends it.
    task<> give_away(std::uint32_t parent) {
        const auto shielded = co_await shield(); // or it might never begin
        const std::uint32_t id = add_node(parent);
        if (id == 0) {
            co_return;
        }
        auto action = log_.start_action(std::to_string(id));
        say(id);
        action.leave();
        auto taker = spawn(take(std::move(action), parent, id));
        say(parent);
        co_await taker;
    }

    /// It is in what `parent` is in, too.
    task<> take(sapwood::action given, std::uint32_t parent, std::uint32_t id) {
        say(parent);
        {
            const auto here = given.enter();
            say(id);
        }
        given.fail("chance", "elsewhere");
        end_node(id, 'f');
        say(parent);
        co_return;
    }

    void continue_it(std::uint32_t parent) {
        const std::uint32_t id = add_node(parent);
        if (id == 0) {
            return;
        }
        const std::string task_id = log_.serialize_task_id();
        say(parent);
        auto action = log_.continue_task(task_id, std::to_string(id));
        say(id);
        end_node(id, 's');
    }

    /// Notes how it ends, as who calls it sees it.
    void act_on_thread(std::uint32_t parent, unsigned depth) {
        const std::uint32_t id = add_node(parent);
        if (id == 0) {
            return;
        }
        try {
            end_node(id, end_on_thread(id, depth));
        } catch (const random_failure&) {
            end_node(id, 'f');
            throw;
        }
    }

    char end_on_thread(std::uint32_t id, unsigned depth) {
        auto action = log_.start_action(std::to_string(id));
        const unsigned steps = below(4);
        for (unsigned i = 0; i < steps; ++i) {
            if (depth < 6 && below(2) == 0) {
                tolerate_on_thread(id, depth + 1);
            } else {
                say(id);
            }
        }
        switch (below(8)) {
        case 0:
            action.fail("chance", "on a thread");
            return 'f';
        case 1:
            throw random_failure("by chance, on a thread");
        default:
            return 's';
        }
    }

    /// Or lets it go on to who has called.
    void tolerate_on_thread(std::uint32_t parent, unsigned depth) {
        const bool is_let_through = below(2) == 0;
        try {
            act_on_thread(parent, depth);
        } catch (const random_failure&) {
            if (is_let_through) {
                throw;
            }
            say(parent); // which tells what it was
        }
    }

    const logger& log_;
    blocking_pool pool_{2};
    std::mutex mutex_;
    std::mt19937_64 random_;
    std::vector<node> nodes_;
    std::uint32_t made_ = 0;
};

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
    const char* const text = std::getenv(name);
    return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

/// How many actions the log tells otherwise than they ran.
std::size_t wrong_actions(std::uint64_t seed, std::uint32_t actions) {
    test::action_log all{.ring_bytes = 64u << 20};
    random_program program(all.log, seed, actions);
    test::run_virtual(program.run());
    all.log.flush_blocking();
    read_tree read(actions);
    for (const std::string& line : test::lines_of(all.memory->text())) {
        read.take(line);
    }
    std::size_t wrong = 0;
    for (std::uint32_t id = 1; id <= actions; ++id) {
        if (read.nodes()[id] != program.nodes()[id] && ++wrong <= 5) {
            const node& told = read.nodes()[id];
            const node& ran = program.nodes()[id];
            MESSAGE("action ", id, ": parent ", told.parent, " is ", ran.parent, ", messages ",
                    told.messages, " are ", ran.messages, ", children ", told.children, " are ",
                    ran.children, ", outcome ", told.outcome, " is ", ran.outcome);
        }
    }
    return wrong;
}

} // namespace

TEST_SUITE("action_tree") {

    TEST_CASE("the tree that the log tells is the one that ran") {
        constexpr std::uint64_t many = test::has_tsan                   ? 8'000
                                       : SAPWOOD_ADDRESS_SANITIZER != 0 ? 12'000
                                                                        : 100'000;
        const auto actions =
            static_cast<std::uint32_t>(from_environment("SAPWOOD_TEST_ACTIONS", many));
        const char* const ring = std::getenv("SAPWOOD_RING");
        const std::uint64_t seed = from_environment(
            "SAPWOOD_TEST_SEED", actions + (ring != nullptr && *ring == 'p' ? 1 : 0));
        CAPTURE(seed);
        CHECK(wrong_actions(seed, actions) == 0);
    }

    TEST_CASE("so it is in a run that nobody has seen before") {
        const std::uint64_t seed = from_environment("SAPWOOD_TEST_SEED", std::random_device()());
        CAPTURE(seed);
        CHECK(wrong_actions(seed, 2'000) == 0);
    }
}
