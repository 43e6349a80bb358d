// The chance of a simulation: the same numbers for the same seed, on every machine. splitmix64
// (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014). A value type.
#pragma once

#include <cstdint>

namespace sapwood {

class sim_random {
  public:
    explicit sim_random(std::uint64_t seed) noexcept : state_(seed) {}

    std::uint64_t next() noexcept {
        state_ += 0x9e3779b97f4a7c15;
        std::uint64_t mixed = state_;
        mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
        mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
        return mixed ^ (mixed >> 31);
    }

    /// 0 to `limit` - 1; `limit` is at least 1.
    std::uint64_t below(std::uint64_t limit) noexcept {
        __extension__ using wide = unsigned __int128;
        return static_cast<std::uint64_t>((static_cast<wide>(next()) * limit) >> 64);
    }

    /// `first` to `last`, both included.
    std::uint64_t between(std::uint64_t first, std::uint64_t last) noexcept {
        return first + below(last - first + 1);
    }

    /// Once in `times` on average; never where that is 0.
    bool one_in(std::uint64_t times) noexcept { return times != 0 && below(times) == 0; }

  private:
    std::uint64_t state_;
};

} // namespace sapwood
