#include <sapwood/tick_clock.hpp>

#include <atomic>

namespace sapwood::detail {

namespace {

/// The counter of a machine that keeps time by NTP is off by at most 500 ppm: 5 us in 10 ms.
constexpr std::uint64_t refresh_ns = 10'000'000;
/// The rate is measured anew from here on: over less the readings' own errors count.
constexpr std::uint64_t rate_over_ns = 1'000'000'000;
/// And over less it is not better than the one before. Two readings some 50 ns off each are 1 ppm.
constexpr std::uint64_t good_rate_ns = 100'000'000;
/// The first rate: 500 ppm, until there is a better one.
constexpr std::uint64_t first_rate_ns = 200'000;

/// The rate is the machine's: the next log of this process begins with the last one's. Zero until
/// one is known; the lowest bit tells whether it is a good one.
std::atomic<std::int64_t> known_rate = 0;

} // namespace

std::int64_t ticks_to_ns(std::uint64_t ticks, bool trusted) noexcept {
    if (!trusted) {
        return static_cast<std::int64_t>(ticks);
    }
    __extension__ using wide = __int128;
    return static_cast<std::int64_t>((wide{ticks} * known_rate.load(std::memory_order_relaxed)) >>
                                     32);
}

tick_clock::tick_clock(bool trusted) : trusted_(trusted), origin_(read()) {
    base_ticks_ = origin_.ticks;
    base_ns_ = origin_.real;
    refreshed_ns_ = origin_.monotonic;
    if (!trusted_) {
        return;
    }
    if (const std::int64_t known = known_rate.load(std::memory_order_relaxed); known != 0) {
        rate_ = known;
        has_good_rate_ = (known & 1) != 0;
        return;
    }
    reading later = read();
    while (later.monotonic - origin_.monotonic < first_rate_ns) {
        later = read(); // once in a process's life; no record can be told its time before
    }
    set_rate(later.ticks - origin_.ticks, later.monotonic - origin_.monotonic);
}

void tick_clock::set_rate(std::uint64_t ticks, std::uint64_t ns) noexcept {
    has_good_rate_ = ns >= good_rate_ns;
    __extension__ using wide = unsigned __int128;
    rate_ = static_cast<std::int64_t>((wide{ns} << 32) / ticks) & ~std::int64_t{1};
    rate_ |= has_good_rate_ ? 1 : 0;
    known_rate.store(rate_, std::memory_order_relaxed);
}

tick_clock::reading tick_clock::read() const noexcept {
    reading best{};
    std::uint64_t best_took = ~std::uint64_t{0};
    for (int i = 0; i < 3; ++i) { // one of them is not interrupted
        const std::uint64_t before = read_ticks(trusted_);
        timespec real{};
        ::clock_gettime(CLOCK_REALTIME, &real);
        const std::uint64_t monotonic = monotonic_ns();
        const std::uint64_t took = read_ticks(trusted_) - before;
        if (took < best_took) {
            best_took = took;
            best = {before + took / 2, monotonic,
                    std::int64_t{real.tv_sec} * 1'000'000'000 + real.tv_nsec};
        }
    }
    return best;
}

void tick_clock::refresh() noexcept {
    const std::uint64_t now_ns = monotonic_ns();
    if (now_ns - refreshed_ns_ < refresh_ns) {
        return;
    }
    const reading now = read();
    refreshed_ns_ = now_ns;
    const std::uint64_t ticks = now.ticks - origin_.ticks;
    const std::uint64_t passed = now.monotonic - origin_.monotonic;
    if (trusted_ && (passed >= good_rate_ns || !has_good_rate_)) {
        if (now.ticks <= origin_.ticks) { // set back by a suspended or moved machine
            origin_ = now;
            has_good_rate_ = false;
        } else {
            set_rate(ticks, passed);
            if (passed > rate_over_ns) {
                origin_ = now;
            }
        }
    }
    base_ticks_ = now.ticks;
    base_ns_ = now.real;
}

} // namespace sapwood::detail
