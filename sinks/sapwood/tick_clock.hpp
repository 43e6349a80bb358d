// Ticks: the cheapest time stamp there is, the same for all threads of a machine, and what turns
// them into the time of day. Threads that log only read the counter; one tick_clock, the
// consumer's, ties it to CLOCK_REALTIME. Where the kernel does not keep time by the processor's
// counter, a tick is a nanosecond of CLOCK_MONOTONIC.
#pragma once

#include <sapwood/wall_clock.hpp>

#include <cstdint>
#include <ctime>

namespace sapwood::detail {

[[nodiscard]] inline std::uint64_t monotonic_ns() noexcept {
    timespec time{};
    ::clock_gettime(CLOCK_MONOTONIC, &time);
    return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000 +
           static_cast<std::uint64_t>(time.tv_nsec);
}

/// Any thread. `trusted` is kernel_trusts_ticks(), asked once.
[[nodiscard]] inline std::uint64_t read_ticks([[maybe_unused]] bool trusted) noexcept {
#if defined(__x86_64__)
    if (trusted) [[likely]] {
        return __rdtsc();
    }
#endif
    return monotonic_ns();
}

/// How long so many ticks are, as the last tick_clock knows. Any thread.
[[nodiscard]] std::int64_t ticks_to_ns(std::uint64_t ticks, bool trusted) noexcept;

/// One thread.
class tick_clock {
  public:
    explicit tick_clock(bool trusted);

    /// Ties ticks to the time of day anew where that was done some time ago. Cheap where not.
    void refresh() noexcept;

    /// When the counter stood at `ticks`. Small corrections of the clock are waited out, so that
    /// the times of records in order of their ticks are in order, too; where somebody has set the
    /// clock, they jump.
    [[nodiscard]] wall_clock::time_point at(std::uint64_t ticks) noexcept {
        const auto since = static_cast<std::int64_t>(ticks - base_ticks_);
        __extension__ using wide = __int128;
        std::int64_t ns = base_ns_ + static_cast<std::int64_t>((wide{since} * rate_) >> 32);
        if (ns < told_ns_ && told_ns_ - ns < correction_ns_max) [[unlikely]] {
            ns = told_ns_;
        }
        told_ns_ = ns;
        return wall_clock::time_point(wall_clock::duration(ns));
    }

  private:
    static constexpr std::int64_t correction_ns_max = 1'000'000;

    struct reading {
        std::uint64_t ticks;
        std::uint64_t monotonic;
        std::int64_t real;
    };

    [[nodiscard]] reading read() const noexcept;

    /// From so many ticks in so many nanoseconds.
    void set_rate(std::uint64_t ticks, std::uint64_t ns) noexcept;

    const bool trusted_;
    /// Where the rate is measured from.
    reading origin_{};
    std::uint64_t base_ticks_ = 0;
    std::int64_t base_ns_ = 0;
    /// Nanoseconds per tick, times 2^32: the lowest bit is less than the counter's own error.
    std::int64_t rate_ = std::int64_t{1} << 32;
    bool has_good_rate_ = false;
    std::uint64_t refreshed_ns_ = 0;
    std::int64_t told_ns_ = 0;
};

} // namespace sapwood::detail
