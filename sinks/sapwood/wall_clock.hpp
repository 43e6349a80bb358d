// wall_clock: the time of day for log records, to the nanosecond, for the price of reading the
// processor's time stamp counter. Each thread ties the counter to CLOCK_REALTIME anew every few
// milliseconds, so it follows the system clock's adjustments; in between, and across small
// corrections, a thread's time never runs backwards. Where the kernel does not trust the counter
// as its own clock source, every call reads CLOCK_REALTIME. Any thread.
#pragma once

#include <chrono>
#include <cstdint>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

namespace sapwood {

namespace detail {

/// How a thread turns ticks into time.
struct tick_calibration {
    std::uint64_t base_ticks = 0;
    std::int64_t base_ns = 0;
    /// Nanoseconds per tick, times 2^32.
    std::uint64_t ns_per_tick = 0;
    /// So many ticks after base_ticks it is time to calibrate again. 0: before the first time, and
    /// where ticks cannot be trusted.
    std::uint64_t valid_ticks = 0;
    /// CLOCK_MONOTONIC at base_ticks.
    std::int64_t base_monotonic_ns = 0;
};

[[gnu::tls_model("initial-exec")]] extern constinit thread_local tick_calibration thread_ticks;

[[nodiscard]] std::int64_t calibrated_now_ns() noexcept;

/// Whether the kernel keeps time by the processor's counter. It watches its clock source: while
/// that is the counter, the counter ticks evenly, on all processors alike.
[[nodiscard]] bool kernel_trusts_ticks() noexcept;

} // namespace detail

struct wall_clock {
    using duration = std::chrono::nanoseconds;
    using rep = duration::rep;
    using period = duration::period;
    using time_point = std::chrono::sys_time<duration>;
    static constexpr bool is_steady = false;

    [[nodiscard]] static time_point now() noexcept {
#if defined(__x86_64__)
        const detail::tick_calibration& ticks = detail::thread_ticks;
        const std::uint64_t since = __rdtsc() - ticks.base_ticks;
        if (since < ticks.valid_ticks) [[likely]] {
            return time_point(duration(
                ticks.base_ns + static_cast<std::int64_t>((since * ticks.ns_per_tick) >> 32)));
        }
#endif
        return time_point(duration(detail::calibrated_now_ns()));
    }
};

} // namespace sapwood
