// How long to wait before something that failed is tried again: longer and longer, up to a bound,
// and never the same for two who began together. From a seed, so that a run can be repeated.
#pragma once

#include <sapwood/clock.hpp>

#include <algorithm>
#include <cstdint>

namespace sapwood::detail {

class retry_delay {
  public:
    struct bounds {
        clock::duration first;
        clock::duration longest;
    };

    retry_delay(bounds of, std::uint64_t seed) noexcept : bounds_(of), state_(seed | 1) {}

    /// The next delay: between half and all of first, of twice first, and so on.
    [[nodiscard]] clock::duration next() noexcept {
        const auto all = std::min(bounds_.longest, bounds_.first * (std::int64_t{1} << doublings_));
        if (doublings_ < doublings_max) {
            ++doublings_;
        }
        // xorshift64*, by Marsaglia and Vigna.
        state_ ^= state_ >> 12;
        state_ ^= state_ << 25;
        state_ ^= state_ >> 27;
        const auto random = static_cast<std::uint32_t>((state_ * 0x2545f4914f6cdd1d) >> 32);
        return all / 2 + clock::duration((all / 2).count() * random >> 32);
    }

    /// It has succeeded.
    void reset() noexcept { doublings_ = 0; }

  private:
    static constexpr unsigned doublings_max = 16;

    bounds bounds_;
    unsigned doublings_ = 0;
    std::uint64_t state_;
};

} // namespace sapwood::detail
