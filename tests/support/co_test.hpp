// Coroutines as test bodies:
//
//     CO_TEST_CASE("a task gives its result to who awaits it") {
//         CHECK(co_await answer() == 42);
//     }
//
// The body runs as the main task of a loop whose clock is virtual: sleeping takes no time. What it
// spawns must be over, or cancelled, when it ends, as in any other main task.
#pragma once

#include "support/virtual_time_ring.hpp"

#include <sapwood/event_loop.hpp>
#include <sapwood/run.hpp>

#include <doctest/doctest.h>
#include <memory>
#include <vector>

/// Shows the elements where a comparison of vectors fails.
template <class T>
struct doctest::StringMaker<std::vector<T>> {
    static String convert(const std::vector<T>& items) {
        String text = "{";
        for (const auto& item : items) {
            text += (&item == items.data() ? "" : ", ") + toString(item);
        }
        return text + "}";
    }
};

namespace sapwood::test {

/// Runs `main` on a new loop with a virtual clock.
template <class T>
T run_virtual(task<T> main, loop_options options = {}) {
    event_loop loop(std::make_unique<virtual_time_ring>(), std::move(options));
    return loop.run(std::move(main));
}

} // namespace sapwood::test

#define SAPWOOD_CO_TEST_CASE(body, name)                                                           \
    static ::sapwood::task<> body();                                                               \
    TEST_CASE(name) {                                                                              \
        ::sapwood::test::run_virtual(body());                                                      \
    }                                                                                              \
    static ::sapwood::task<> body()

#define CO_TEST_CASE(name) SAPWOOD_CO_TEST_CASE(DOCTEST_ANONYMOUS(co_test_body_), name)
