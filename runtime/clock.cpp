#include <sapwood/clock.hpp>

#include <ctime>

namespace sapwood {

clock::time_point coarse_clock_now() noexcept {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC_COARSE, &now); // steady_clock is CLOCK_MONOTONIC
    return clock::time_point(std::chrono::seconds(now.tv_sec) +
                             std::chrono::nanoseconds(now.tv_nsec));
}

} // namespace sapwood
