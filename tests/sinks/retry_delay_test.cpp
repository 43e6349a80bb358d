#include "sinks/retry_delay.hpp"

#include <algorithm>
#include <chrono>
#include <doctest/doctest.h>

namespace {

using namespace std::chrono_literals;
using sapwood::clock;
using sapwood::detail::retry_delay;

constexpr retry_delay::bounds of_a_log{.first = 10ms, .longest = 1s};

} // namespace

TEST_SUITE("retry_delay") {
    TEST_CASE("each is between half and all of twice the one before, up to the longest") {
        for (std::uint64_t seed = 0; seed < 100; ++seed) {
            retry_delay delay(of_a_log, seed);
            clock::duration all = 10ms;
            for (int i = 0; i < 100; ++i) {
                const auto next = delay.next();
                CHECK(next >= all / 2);
                CHECK(next <= all);
                all = std::min<clock::duration>(2 * all, 1s);
            }
        }
    }

    TEST_CASE("they differ from each other, and from those of another seed, not from their own") {
        retry_delay one(of_a_log, 1);
        retry_delay same(of_a_log, 1);
        retry_delay other(of_a_log, 7);
        int equal = 0;
        clock::duration before{};
        for (int i = 0; i < 20; ++i) {
            const auto next = one.next();
            CHECK(next == same.next());
            equal += next == other.next() || next == before ? 1 : 0;
            before = next;
        }
        CHECK(equal == 0);
    }

    TEST_CASE("what has succeeded begins anew") {
        retry_delay delay(of_a_log, 1);
        for (int i = 0; i < 10; ++i) {
            (void)delay.next();
        }
        delay.reset();
        CHECK(delay.next() <= 10ms);
    }
}
