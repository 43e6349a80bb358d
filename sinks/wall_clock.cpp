#include <sapwood/wall_clock.hpp>

#include <ctime>
#include <fcntl.h>
#include <string_view>
#include <unistd.h>

namespace sapwood::detail {

constinit thread_local tick_calibration thread_ticks;

namespace {

/// A calibration is good for this long. The counter of a machine that keeps time by NTP is off by
/// at most 500 ppm: 5 us.
constexpr std::int64_t calibration_ns = 10'000'000;

/// The first rate is measured over at least this long: the two readings are some 50 ns apart from
/// their ticks, so the rate is off by at most 100 ppm.
constexpr std::int64_t rate_ns_min = 1'000'000;

/// And over at most this long, so that it fits into 64 bits.
constexpr std::int64_t rate_ns_max = 1'000'000'000;

/// More than any counter ticks between two calibrations whose rate is taken.
[[maybe_unused]] constexpr std::uint64_t passed_ticks_max = std::uint64_t{1} << 36;

/// A reading of all clocks that took longer (some 5 us) was interrupted.
[[maybe_unused]] constexpr std::uint64_t reading_ticks_max = 10'000;

/// A time that is behind what was told already by less than this is an error of the rate, to be
/// waited out; by more, somebody has set the clock.
constexpr std::int64_t correction_ns_max = 1'000'000;

std::int64_t read_ns(clockid_t clock) noexcept {
    timespec time{};
    ::clock_gettime(clock, &time);
    return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

} // namespace

bool kernel_trusts_ticks() noexcept {
    const int fd = ::open("/sys/devices/system/clocksource/clocksource0/current_clocksource",
                          O_RDONLY | O_CLOEXEC);
    char name[16] = {};
    const ssize_t size = fd >= 0 ? ::read(fd, name, sizeof(name) - 1) : -1;
    if (fd >= 0) {
        ::close(fd);
    }
    return size > 0 && std::string_view(name) == "tsc\n";
}

#if defined(__x86_64__)
namespace {

/// The counter and the system's clocks at one moment.
struct reading {
    std::uint64_t ticks;
    std::int64_t monotonic_ns;
    std::int64_t real_ns;
    /// Nothing came in between.
    bool is_one_moment;
};

reading read_all() noexcept {
    reading now{};
    for (int tries = 0; tries < 3 && !now.is_one_moment; ++tries) {
        const std::uint64_t before = __rdtsc();
        now.monotonic_ns = read_ns(CLOCK_MONOTONIC);
        now.real_ns = read_ns(CLOCK_REALTIME);
        const std::uint64_t took = __rdtsc() - before;
        now.ticks = before + took / 2;
        now.is_one_moment = took < reading_ticks_max;
    }
    return now;
}

} // namespace
#endif

std::int64_t calibrated_now_ns() noexcept {
#if defined(__x86_64__)
    static const bool trusted = kernel_trusts_ticks();
    if (!trusted) {
        return read_ns(CLOCK_REALTIME);
    }
    tick_calibration& ticks = thread_ticks;
    const reading now = read_all();
    const bool has_base = ticks.base_ticks != 0;
    const bool has_rate = ticks.ns_per_tick != 0;
    const std::int64_t passed_ns = now.monotonic_ns - ticks.base_monotonic_ns;
    std::int64_t now_ns = now.real_ns;
    if (has_rate) {
        const auto told_ns = ticks.base_ns + static_cast<std::int64_t>(
                                                 (ticks.valid_ticks * ticks.ns_per_tick) >> 32);
        if (now_ns < told_ns && told_ns - now_ns < correction_ns_max) {
            now_ns = told_ns;
        }
    }
    if (!now.is_one_moment || (has_base && !has_rate && passed_ns < rate_ns_min)) {
        return now_ns; // no good moment, or too early for a rate
    }
    // A counter that has not gone on has been set back: by a suspended or a moved machine.
    const std::uint64_t passed_ticks = now.ticks - ticks.base_ticks;
    const bool went_on = passed_ticks > 0 && passed_ticks < passed_ticks_max;
    if (!went_on) {
        ticks.ns_per_tick = 0;
        ticks.valid_ticks = 0;
    } else if (has_base && passed_ns >= rate_ns_min && passed_ns < rate_ns_max) {
        ticks.ns_per_tick = (static_cast<std::uint64_t>(passed_ns) << 32) / passed_ticks;
        ticks.valid_ticks = (static_cast<std::uint64_t>(calibration_ns) << 32) / ticks.ns_per_tick;
    }
    ticks.base_ticks = now.ticks;
    ticks.base_ns = now_ns;
    ticks.base_monotonic_ns = now.monotonic_ns;
    return now_ns;
#else
    return read_ns(CLOCK_REALTIME);
#endif
}

} // namespace sapwood::detail
