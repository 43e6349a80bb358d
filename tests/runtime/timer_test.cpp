// timer_queue: against a model, and misuse.
#include "support/child_process.hpp"

#include <sapwood/timer.hpp>

#include <doctest/doctest.h>
#include <memory>
#include <random>
#include <set>
#include <vector>

namespace {

using namespace std::chrono_literals;
using sapwood::clock;
using sapwood::test::last_words;

clock::time_point at(unsigned number) {
    return clock::time_point(std::chrono::nanoseconds(number));
}

class noting_timer final : public sapwood::timer {
  public:
    explicit noting_timer(std::vector<noting_timer*>& fired) : fired_(&fired) {}

    void fire() noexcept override { fired_->push_back(this); }

    clock::time_point deadline;

  private:
    std::vector<noting_timer*>* fired_;
};

} // namespace

TEST_SUITE("timer") {

    TEST_CASE("the queue fires exactly what is due, nearest first, like a sorted multiset") {
        const unsigned seed = std::random_device{}();
        CAPTURE(seed);
        std::mt19937 random(seed);
        std::vector<noting_timer*> fired;
        std::vector<std::unique_ptr<noting_timer>> timers;
        for (int i = 0; i < 300; ++i) {
            timers.push_back(std::make_unique<noting_timer>(fired));
        }
        sapwood::timer_queue queue;
        std::multiset<clock::time_point> model;
        clock::time_point now = at(0);
        for (int step = 0; step < 50'000; ++step) {
            auto& timer = *timers[random() % timers.size()];
            switch (random() % 8) {
            case 0: {
                now += std::chrono::nanoseconds(random() % 50);
                fired.clear();
                queue.fire_due(now);
                auto last = clock::time_point::min();
                for (const auto* const node : fired) {
                    REQUIRE_FALSE(node->armed());
                    REQUIRE(node->deadline <= now);
                    REQUIRE(node->deadline >= last);
                    last = node->deadline;
                    const auto found = model.find(node->deadline);
                    REQUIRE(found != model.end());
                    model.erase(found);
                }
                break;
            }
            case 1:
            case 2:
                if (timer.armed()) {
                    queue.remove(timer);
                    REQUIRE_FALSE(timer.armed());
                    model.erase(model.find(timer.deadline));
                }
                break;
            default:
                if (!timer.armed()) {
                    timer.deadline = now + std::chrono::nanoseconds(random() % 1000);
                    queue.add(timer, timer.deadline);
                    model.insert(timer.deadline);
                }
            }
            REQUIRE(queue.size() == model.size());
            REQUIRE(queue.empty() == model.empty());
            if (!model.empty()) {
                REQUIRE(queue.nearest() == *model.begin());
            }
        }
        queue.fire_due(clock::time_point::max());
        CHECK(queue.empty());
    }

    TEST_CASE("a timer is due at its deadline and not a tick before") {
        std::vector<noting_timer*> fired;
        noting_timer timer(fired);
        sapwood::timer_queue queue;
        queue.add(timer, at(100));
        queue.fire_due(at(99));
        CHECK(fired.empty());
        queue.fire_due(at(100));
        CHECK(fired.size() == 1);
        CHECK(queue.empty());
    }

    TEST_CASE("a timer can be armed again after it has fired or was taken out") {
        std::vector<noting_timer*> fired;
        noting_timer timer(fired);
        sapwood::timer_queue queue;
        queue.add(timer, at(1));
        queue.fire_due(at(1));
        queue.add(timer, at(2));
        queue.remove(timer);
        queue.add(timer, at(3));
        queue.fire_due(at(3));
        CHECK(fired.size() == 2);
    }

    TEST_CASE("destroying an armed timer hits the assertion") {
        CHECK(last_words([] {
                  std::vector<noting_timer*> fired;
                  sapwood::timer_queue queue;
                  noting_timer timer(fired);
                  queue.add(timer, at(1));
              }) == doctest::Contains("a timer was destroyed while it is armed"));
    }

    TEST_CASE("arming a timer twice hits the assertion") {
        CHECK(last_words([] {
                  std::vector<noting_timer*> fired;
                  sapwood::timer_queue queue;
                  noting_timer timer(fired);
                  queue.add(timer, at(1));
                  queue.add(timer, at(2));
              }) == doctest::Contains("a timer was armed twice"));
    }

    TEST_CASE("taking out a timer that is not armed hits the assertion") {
        CHECK(last_words([] {
                  std::vector<noting_timer*> fired;
                  sapwood::timer_queue queue;
                  noting_timer timer(fired);
                  queue.remove(timer);
              }) == doctest::Contains("a timer that is not armed"));
    }
}
