// Connections that are many: what it costs to let another one in.
#include "support/allocations.hpp"
#include "support/co_test.hpp"

#include <collector/connection.hpp>

#include <sapwood/event.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>
#include <sapwood/timeout.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <doctest/doctest.h>
#include <memory>
#include <vector>

namespace {

using namespace std::chrono_literals;
using sapwood::task;
using sapwood::collector::collector_limits;
using sapwood::collector::connection;
using sapwood::collector::connections;
using sapwood::collector::intake;

/// Somebody who says nothing, counts how often he is looked at, and notes that he has ended.
class silent final : public connection {
  public:
    struct notes {
        std::size_t looks = 0;
        std::vector<std::size_t> ended;
    };

    silent(intake& shared, std::size_t number, notes& of)
        : connection(shared),
          number_(number),
          notes_(of) {}

    [[nodiscard]] task<> run() override {
        (void)co_await sapwood::as_result(sapwood::sleep_for(24h));
        notes_.ended.push_back(number_);
    }

    [[nodiscard]] bool is_idle() const noexcept override {
        ++notes_.looks;
        return true;
    }

  private:
    const std::size_t number_;
    notes& notes_;
};

/// Somebody who says nothing, and does not end before he may, as who waits for a log that is full.
class stuck final : public connection {
  public:
    stuck(intake& shared, sapwood::event& may_end) : connection(shared), may_end_(may_end) {}

    [[nodiscard]] task<> run() override {
        (void)co_await sapwood::as_result(sapwood::sleep_for(24h));
        co_await may_end_.wait();
    }

    [[nodiscard]] bool is_idle() const noexcept override { return true; }

  private:
    sapwood::event& may_end_;
};

/// Somebody who, told to end, has more than one thing to wait for.
class reluctant final : public connection {
  public:
    using connection::connection;

    [[nodiscard]] task<> run() override {
        for (int i = 0; i < 3; ++i) {
            (void)co_await sapwood::as_result(sapwood::sleep_for(24h));
        }
    }

    [[nodiscard]] bool is_idle() const noexcept override { return false; }
};

task<> end_of(sapwood::join_handle<void>& what) {
    what.cancel();
    try {
        co_await what;
    } catch (const sapwood::cancelled&) {
        // It goes on for ever.
    }
}

} // namespace

TEST_SUITE("connection") {
    CO_TEST_CASE("however often somebody comes where there is no room, nobody looks at all of them "
                 "each time") {
        collector_limits limits;
        limits.connections_max = 1000;
        intake shared(limits);
        connections all(shared);
        auto watching = sapwood::spawn(all.watch());
        silent::notes notes;
        const std::size_t many = limits.connections_max;
        for (std::size_t i = 0; i < many; ++i) {
            all.add(std::make_unique<silent>(shared, i, notes), {});
        }
        co_await sapwood::sleep_for(5s);
        notes.looks = 0;
        for (std::size_t i = 0; i < many; ++i) {
            co_await all.room();
            all.add(std::make_unique<silent>(shared, many + i, notes), {});
        }
        CHECK(shared.gate.idle_closed == many);
        CHECK(all.size() == many);
        CHECK(notes.looks < 20 * many);
        // Those who have just come have stayed: the others had said nothing for longer.
        std::ranges::sort(notes.ended);
        REQUIRE(notes.ended.size() == many);
        CHECK(notes.ended.front() == 0);
        CHECK(notes.ended.back() == many - 1);
        // Where nobody may be closed yet it is not looked again and again either.
        co_await sapwood::sleep_for(500ms);
        notes.looks = 0;
        for (int i = 0; i < 100; ++i) {
            auto waiting = sapwood::spawn(all.room());
            co_await sapwood::yield();
            CHECK(!waiting.done());
            co_await end_of(waiting);
        }
        CHECK(notes.looks == many);
        CHECK(shared.gate.idle_closed == many);
        co_await end_of(watching);
        CHECK(co_await all.drain(sapwood::event_loop::current().now() + 1s) == 0);
    }

    CO_TEST_CASE("who was closed for others and does not end keeps them out for no longer than a "
                 "second") {
        collector_limits limits;
        limits.connections_max = 3;
        intake shared(limits);
        connections all(shared);
        auto watching = sapwood::spawn(all.watch());
        silent::notes notes;
        sapwood::event may_end;
        all.add(std::make_unique<stuck>(shared, may_end), {});
        co_await sapwood::sleep_for(1s); // he has said nothing for longest
        for (std::size_t i = 0; i < 2; ++i) {
            all.add(std::make_unique<silent>(shared, i, notes), {});
        }
        co_await sapwood::sleep_for(5s);
        const auto before = sapwood::event_loop::current().now();
        const auto room = co_await sapwood::as_result(sapwood::timeout(1min, all.room()));
        CHECK(room.has_value());
        CHECK(sapwood::event_loop::current().now() - before > 500ms); // he was waited for
        CHECK(sapwood::event_loop::current().now() - before < 3s);
        CHECK(shared.gate.idle_closed == 2);
        CHECK(notes.ended.size() == 1);
        may_end.set();
        co_await end_of(watching);
        CHECK(co_await all.drain(sapwood::event_loop::current().now() + 1s) == 0);
    }

    CO_TEST_CASE("without memory for a look at deadlines it looks again when there is some") {
        const collector_limits limits;
        intake shared(limits);
        connections all(shared);
        auto watching = sapwood::spawn(all.watch());
        co_await sapwood::sleep_for(1s); // it has begun
        const auto before = shared.now;
        {
            const sapwood::test::failing_allocations none(1);
            while (!none.struck()) { // until the date is made anew, by the machine's clock
                co_await sapwood::sleep_for(250ms);
            }
        }
        co_await sapwood::sleep_for(1s);
        CHECK(!watching.done());
        CHECK(shared.now >= before + 1s);
        co_await end_of(watching);
    }

    CO_TEST_CASE("who goes on to wait when he is told to end is told again") {
        intake shared({});
        connections all(shared);
        for (int i = 0; i < 3; ++i) {
            all.add(std::make_unique<reluctant>(shared), {});
        }
        const auto before = sapwood::event_loop::current().now();
        CHECK(co_await all.drain(before + 1s) == 3);
        CHECK(sapwood::event_loop::current().now() - before < 2s);
    }
}
