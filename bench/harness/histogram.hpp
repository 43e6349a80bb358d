// Counts every sample of a run by size: percentiles of millions of them in 60 KiB, right to within
// 1/128 (as HdrHistogram does it: 128 steps of equal width from each power of two to the next).
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace bench {

class histogram {
  public:
    void add(std::uint64_t value) {
        ++counts_[index_of(value)];
        ++count_;
    }

    [[nodiscard]] std::uint64_t count() const { return count_; }

    // The upper bound of the smallest values that are `share` (0 to 1) of all. 0 where none are.
    [[nodiscard]] std::uint64_t percentile(double share) const;

    void clear() { *this = histogram{}; }

  private:
    static constexpr unsigned step_bits = 7;
    static constexpr std::uint64_t steps = 1u << step_bits;

    // Values below `steps` stand for themselves; above, the highest bit chooses the row.
    [[nodiscard]] static std::size_t index_of(std::uint64_t value) {
        if (value < steps) {
            return value;
        }
        const unsigned shift = static_cast<unsigned>(std::bit_width(value)) - step_bits - 1;
        return ((shift + 1) << step_bits) + ((value >> shift) & (steps - 1));
    }

    [[nodiscard]] static std::uint64_t upper_bound_of(std::size_t index);

    std::array<std::uint64_t, (64 - step_bits + 1) << step_bits> counts_{};
    std::uint64_t count_ = 0;
};

} // namespace bench
