// Random trees of everything that starts, joins, limits and stops tasks, cancelled at random
// moments of virtual time. Whatever happens, what was started ends, what was taken is given back,
// and nobody is stopped whom nobody asked to.
#include "support/co_test.hpp"

#include <sapwood/sapwood.hpp>

#include <cstdint>
#include <optional>
#include <random>
#include <stdexcept>
#include <vector>

namespace {

using namespace std::chrono_literals;
using sapwood::sleep_for;
using sapwood::task;
using sapwood::timeout;

struct counts {
    int started = 0;
    int ended = 0;
    int in_section = 0;
    int intrusions = 0;
    int permits_over = 0;
    int wrong_depth = 0;
    int stray_timeouts = 0;
    int stray_cancels = 0;
};

class counted {
  public:
    explicit counted(counts& of) noexcept : counts_(of) { ++counts_.started; }

    counted(const counted&) = delete;
    counted& operator=(const counted&) = delete;

    ~counted() { ++counts_.ended; }

  private:
    counts& counts_;
};

const sapwood::task_local<int> depth_of_task(-1);

class forest {
  public:
    explicit forest(std::uint32_t seed) : random_(seed) {}

    /// One tree, perhaps cancelled, to its end.
    task<> grow() {
        auto tree = sapwood::spawn(node(0));
        const bool is_cancelled = chance(2);
        if (is_cancelled) {
            co_await sleep_for(some_time());
            tree.cancel();
        }
        try {
            co_await tree;
        } catch (const sapwood::cancelled&) {
            tally.stray_cancels += is_cancelled ? 0 : 1;
        } catch (const std::system_error& failure) {
            tally.stray_timeouts += failure.code() == std::errc::timed_out ? 1 : 0;
        } catch (const std::runtime_error&) {
        }
    }

    [[nodiscard]] bool is_at_rest() const {
        return !section_.is_locked() && permits_.available() == permits_max;
    }

    counts tally;

  private:
    static constexpr std::size_t permits_max = 2;
    static constexpr int depth_max = 5;

    [[nodiscard]] unsigned below(unsigned bound) {
        return static_cast<unsigned>(random_() % bound);
    }

    [[nodiscard]] bool chance(unsigned one_in) { return below(one_in) == 0; }

    [[nodiscard]] sapwood::clock::duration some_time() { return 1ms * below(20); }

    task<> node(int depth) {
        const counted alive(tally);
        const auto bound = depth_of_task.bind(depth);
        const unsigned steps = 1 + below(3);
        for (unsigned i = 0; i < steps; ++i) {
            if (depth < depth_max) {
                co_await branch(depth);
            } else {
                co_await leaf();
            }
            tally.wrong_depth += depth_of_task.get() == depth ? 0 : 1;
        }
    }

    task<> branch(int depth) {
        switch (below(12)) {
        case 0:
        case 1:
            co_await limited(depth);
            break;
        case 2:
        case 3:
            co_await group(depth);
            break;
        case 4: {
            (void)co_await sapwood::when_any(node(depth + 1), node(depth + 1));
            break;
        }
        case 5: {
            std::vector<task<>> racers;
            for (unsigned i = 0; i < 1 + below(3); ++i) {
                racers.push_back(node(depth + 1));
            }
            (void)co_await sapwood::when_any(std::move(racers));
            break;
        }
        case 6:
            (void)co_await sapwood::when_all(node(depth + 1), leaf());
            break;
        case 7:
            co_await cancelled_child(depth);
            break;
        case 8:
            co_await in_section(depth);
            break;
        case 9:
            co_await with_permit(depth);
            break;
        case 10: {
            const auto shielded = co_await sapwood::shield();
            co_await leaf();
            break;
        }
        default:
            co_await leaf();
        }
    }

    task<> limited(int depth) {
        try {
            if (chance(2)) {
                co_await timeout(some_time(), node(depth + 1));
            } else {
                co_await timeout(some_time(), timeout(some_time(), node(depth + 1)));
            }
        } catch (const std::system_error& failure) {
            if (failure.code() != std::errc::timed_out) {
                throw;
            }
        }
    }

    task<> group(int depth) {
        co_await sapwood::with_task_group([&](sapwood::task_group& group) -> task<> {
            for (unsigned i = 0; i < below(4); ++i) {
                group.spawn(node(depth + 1));
                if (chance(4)) {
                    co_await leaf();
                }
            }
            if (chance(8)) {
                group.cancel();
            }
            if (chance(4)) {
                group.spawn([&]() -> task<> {
                    co_await sleep_for(some_time());
                    group.spawn(node(depth + 1));
                });
            }
        });
    }

    task<> cancelled_child(int depth) {
        auto child = sapwood::spawn(node(depth + 1));
        co_await sleep_for(some_time());
        child.cancel();
        try {
            co_await child;
        } catch (const sapwood::cancelled&) {
            // The child's: this task refuses its own, if there was one as well.
        }
    }

    task<> in_section(int depth) {
        std::optional<sapwood::mutex_lock> held;
        try {
            held = co_await timeout(some_time(), section_.lock());
        } catch (const std::system_error&) {
            co_return;
        }
        tally.intrusions += tally.in_section++ == 0 ? 0 : 1;

        struct leaving {
            int& inside;

            ~leaving() { --inside; }
        };

        const leaving at_end{tally.in_section};
        if (chance(2)) {
            tally.in_section--;
            const auto notified =
                co_await sapwood::as_result(timeout(some_time(), changed_.wait(*held)));
            (void)notified;
            tally.intrusions += tally.in_section++ == 0 ? 0 : 1;
        }
        changed_.notify_one();
        if (depth + 2 < depth_max && chance(4)) {
            (void)co_await sapwood::as_result(timeout(5ms, sleep_for(some_time())));
        }
        co_await sleep_for(some_time());
    }

    task<> with_permit(int) {
        if (!co_await sapwood::as_result(timeout(some_time(), permits_.acquire()))) {
            co_return;
        }

        struct releasing {
            sapwood::semaphore& permits;

            ~releasing() { permits.release(); }
        };

        const releasing at_end{permits_};
        tally.permits_over += permits_.available() < permits_max ? 0 : 1;
        co_await leaf();
    }

    task<> leaf() {
        const counted alive(tally);
        switch (below(8)) {
        case 0:
            co_await sapwood::yield();
            break;
        case 1: {
            sapwood::channel<int> items(1);
            (void)co_await sapwood::when_any(items.receive(), sleep_for(some_time()));
            break;
        }
        case 2: {
            sapwood::channel<int> items(1);
            auto send = [&]() -> task<> {
                for (int i = 0; i < 3; ++i) {
                    co_await sleep_for(some_time());
                    co_await items.send(i);
                }
            };
            auto receive = [&]() -> task<> {
                for (int i = 0; i < 3; ++i) {
                    (void)co_await items.receive();
                }
            };
            (void)co_await sapwood::when_all(send(), receive());
            break;
        }
        case 3:
            (void)co_await sapwood::as_result(timeout(some_time(), meeting_.arrive_and_wait()));
            break;
        case 4:
            if (!co_await sapwood::as_result(sleep_for(some_time()))) {
                co_await sleep_for(some_time()); // a cleanup that waits
                throw sapwood::cancelled{};
            }
            break;
        case 5:
            if (chance(6)) {
                throw std::runtime_error("as planned");
            }
            break;
        default:
            co_await sleep_for(some_time());
        }
    }

    std::mt19937 random_;
    sapwood::mutex section_;
    sapwood::condition_variable changed_;
    sapwood::semaphore permits_{permits_max};
    sapwood::barrier meeting_{2};
};

} // namespace

TEST_SUITE("structure_stress") {

    TEST_CASE("random trees end exactly, give back what they took, and stop only who was asked") {
        constexpr int forests = 100;
        constexpr int trees = 30;
        const std::uint32_t first_seed = std::random_device()();
        CAPTURE(first_seed);
        int started = 0;
        for (std::uint32_t seed = first_seed; seed != first_seed + forests; ++seed) {
            CAPTURE(seed);
            forest woods(seed);
            auto grow_all = [&]() -> task<> {
                std::vector<task<>> all;
                for (int i = 0; i < trees; ++i) {
                    all.push_back(woods.grow());
                }
                co_await sapwood::when_all(std::move(all));
            };
            sapwood::loop_options options;
            options.on_unhandled_exception = [](const std::exception_ptr&) {};
            sapwood::test::run_virtual(grow_all(), options);
            REQUIRE(woods.tally.started == woods.tally.ended);
            REQUIRE(woods.is_at_rest());
            REQUIRE(woods.tally.in_section == 0);
            REQUIRE(woods.tally.intrusions == 0);
            REQUIRE(woods.tally.permits_over == 0);
            REQUIRE(woods.tally.wrong_depth == 0);
            REQUIRE(woods.tally.stray_timeouts == 0);
            REQUIRE(woods.tally.stray_cancels == 0);
            started += woods.tally.started;
        }
        CHECK(started > forests * trees);
    }
}
