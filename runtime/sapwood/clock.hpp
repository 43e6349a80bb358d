// The clock of deadlines and timers.
#pragma once

#include <chrono>

namespace sapwood {

/// Monotonic. A loop asks its ring what time it is, which may run ahead of the machine's clock
/// (virtual time); event_loop::now() tells.
using clock = std::chrono::steady_clock;

/// `now` plus `duration`, and the end of time where that would overflow.
[[nodiscard]] constexpr clock::time_point saturating_add(clock::time_point now,
                                                         clock::duration duration) noexcept {
    if (duration > clock::duration::zero() && duration > clock::time_point::max() - now) {
        return clock::time_point::max();
    }
    return now + duration;
}

/// The same clock as of the last tick of the kernel, some milliseconds ago at most: it is read
/// without asking the hardware.
[[nodiscard]] clock::time_point coarse_clock_now() noexcept;

} // namespace sapwood
