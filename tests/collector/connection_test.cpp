// Connections that are many: what it costs to let another one in.
#include "support/co_test.hpp"

#include <collector/connection.hpp>

#include <sapwood/sleep.hpp>

#include <chrono>
#include <cstddef>
#include <doctest/doctest.h>
#include <memory>

namespace {

using namespace std::chrono_literals;
using sapwood::task;
using sapwood::collector::collector_limits;
using sapwood::collector::connection;
using sapwood::collector::connections;
using sapwood::collector::intake;

/// Somebody who says nothing, and counts how often he is looked at.
class silent final : public connection {
  public:
    silent(intake& shared, std::size_t& looks) : connection(shared), looks_(looks) {}

    [[nodiscard]] task<> run() override { co_await sapwood::sleep_for(24h); }

    [[nodiscard]] bool is_idle() const noexcept override {
        ++looks_;
        return true;
    }

  private:
    std::size_t& looks_;
};

} // namespace

TEST_SUITE("connection") {
    CO_TEST_CASE("however often somebody comes where there is no room, nobody looks at all of them "
                 "each time") {
        collector_limits limits;
        limits.connections_max = 1000;
        intake shared(limits);
        connections all(shared);
        auto watching = sapwood::spawn(all.watch());
        std::size_t looks = 0;
        for (std::size_t i = 0; i < limits.connections_max; ++i) {
            all.add(std::make_unique<silent>(shared, looks), {});
        }
        co_await sapwood::sleep_for(5s);
        looks = 0;
        constexpr std::size_t more = 500;
        for (std::size_t i = 0; i < more; ++i) {
            co_await all.room();
            all.add(std::make_unique<silent>(shared, looks), {});
        }
        CHECK(shared.gate.idle_closed == more);
        CHECK(all.size() == limits.connections_max);
        CHECK(looks < 20 * more);
        // Those who have just come stay: the others have said nothing for longer.
        co_await sapwood::sleep_for(5s);
        looks = 0;
        for (std::size_t i = 0; i < more; ++i) {
            co_await all.room();
            all.add(std::make_unique<silent>(shared, looks), {});
        }
        // Where nobody may be closed yet it is not looked again and again either.
        looks = 0;
        for (int i = 0; i < 100; ++i) {
            auto waiting = sapwood::spawn(all.room());
            co_await sapwood::yield();
            waiting.cancel();
            try {
                co_await waiting;
            } catch (const sapwood::cancelled&) {
                // There was no room.
            }
        }
        CHECK(looks <= 2 * limits.connections_max);
        watching.cancel();
        try {
            co_await watching;
        } catch (const sapwood::cancelled&) {
            // It goes on for ever.
        }
        CHECK(co_await all.drain(sapwood::event_loop::current().now() + 1s) == 0);
    }
}
