// The clock of deadlines and timers.
#pragma once

#include <chrono>
#include <concepts>
#include <ratio>
#include <utility>

namespace sapwood {

/// Monotonic. A loop asks its ring what time it is, which may run ahead of the machine's clock
/// (virtual time); event_loop::now() tells.
using clock = std::chrono::steady_clock;

/// How long, in whatever unit the caller has: `5s`, `0.5s`, `std::chrono::hours::max()`. What the
/// clock has no room for is the longest that it has; std::chrono's own conversion would overflow,
/// mostly into the past.
class time_span {
  public:
    constexpr time_span() = default;

    template <class Rep, class Period>
    constexpr time_span(std::chrono::duration<Rep, Period> from) noexcept : value_(clamp(from)) {}

    constexpr operator clock::duration() const noexcept { return value_; }

  private:
    template <class Rep, class Period>
    [[nodiscard]] static constexpr clock::duration
    clamp(std::chrono::duration<Rep, Period> from) noexcept {
        using factor = std::ratio_divide<Period, clock::period>;
        constexpr clock::rep most = clock::duration::max().count() / factor::num;
        if constexpr (std::integral<Rep> && factor::den == 1) {
            if (std::cmp_greater(from.count(), most)) {
                return clock::duration::max();
            }
            if (std::cmp_less(from.count(), -most)) {
                return clock::duration::min();
            }
            return clock::duration(static_cast<clock::rep>(from.count()) * factor::num);
        } else {
            const std::chrono::duration<long double, clock::period> wide(from);
            constexpr auto limit = -static_cast<long double>(clock::duration::min().count());
            if (wide.count() >= limit) {
                return clock::duration::max();
            }
            if (wide.count() > -limit) {
                return clock::duration(static_cast<clock::rep>(wide.count()));
            }
            return clock::duration::min(); // or no number
        }
    }

    clock::duration value_{};
};

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
