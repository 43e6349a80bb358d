// shield and spawn_shielded: what must not be stopped half way.
#include "support/child_process.hpp"
#include "support/co_test.hpp"

#include <sapwood/shield.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>

#include <optional>
#include <string>

namespace {

using namespace std::chrono_literals;
using sapwood::task;

task<> note_steps(std::string& steps) {
    {
        const auto outer = co_await sapwood::shield();
        {
            const auto inner = co_await sapwood::shield();
            co_await sapwood::sleep_for(1s);
            steps += "inner ";
        }
        co_await sapwood::sleep_for(1s);
        steps += "outer ";
    }
    co_await sapwood::sleep_for(1s);
    steps += "never";
}

struct counting_listener final : sapwood::stop_listener {
    int requests = 0;

    void stop_requested() noexcept override { ++requests; }
};

task<int> take_two_seconds() {
    co_await sapwood::sleep_for(1s);
    co_await sapwood::sleep_for(1s);
    co_return 7;
}

} // namespace

TEST_SUITE("shield") {

    CO_TEST_CASE("a request to stop is delivered at the first wait after the last shield") {
        std::string steps;
        auto noting = sapwood::spawn(note_steps(steps));
        co_await sapwood::sleep_for(500ms);
        noting.cancel();
        bool was_stopped = false;
        try {
            co_await noting;
        } catch (const sapwood::cancelled&) {
            was_stopped = true;
        }
        CHECK(was_stopped);
        CHECK(steps == "inner outer ");
    }

    CO_TEST_CASE("a loop of shielded steps is stopped between two of them") {
        int steps = 0;
        const auto body = [](int& count) -> task<> {
            for (;;) {
                const auto shielded = co_await sapwood::shield();
                co_await sapwood::sleep_for(1s);
                ++count;
            }
        };
        auto stepping = sapwood::spawn(body(steps));
        co_await sapwood::sleep_for(2500ms);
        stepping.cancel();
        bool was_stopped = false;
        try {
            co_await stepping;
        } catch (const sapwood::cancelled&) {
            was_stopped = true;
        }
        CHECK(was_stopped);
        CHECK(steps == 3);
    }

    CO_TEST_CASE("a shielded task starts although it was asked to stop before, and ends itself") {
        counting_listener listener;
        auto handle = sapwood::spawn_shielded(take_two_seconds(), listener);
        handle.cancel();
        CHECK(listener.requests == 1);
        CHECK(co_await handle == 7);
    }

    TEST_CASE("at the end of the loop a shielded task is told, and awaited") {
        counting_listener listener;
        bool ended = false;
        const auto body = [](bool& over) -> task<> {
            co_await sapwood::sleep_for(1s);
            over = true;
        };
        const auto main = [&body](counting_listener& told, bool& over) -> task<> {
            sapwood::spawn_shielded(body(over), told).detach();
            co_return;
        };
        sapwood::test::run_virtual(main(listener, ended));
        CHECK(ended);
        CHECK(listener.requests == 1);
    }

    TEST_CASE("a shield that is kept longer than its task lives hits the assertion") {
        const auto keep = [](std::optional<sapwood::shield_scope>& kept) -> task<> {
            kept.emplace(co_await sapwood::shield());
        };
        const auto misuse = [&keep]() -> task<> {
            std::optional<sapwood::shield_scope> kept;
            auto handle = sapwood::spawn(keep(kept));
            co_await handle;
        };
        CHECK(sapwood::test::last_words([&] { sapwood::test::run_virtual(misuse()); }) ==
              doctest::Contains("a task ended while a shield of it is kept"));
    }
}
