#include "harness/histogram.hpp"

#include <cmath>

namespace bench {

std::uint64_t histogram::percentile(double share) const {
    const auto wanted = static_cast<std::uint64_t>(std::ceil(share * static_cast<double>(count_)));
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
        seen += counts_[i];
        if (seen >= wanted && seen > 0) {
            return upper_bound_of(i);
        }
    }
    return 0;
}

std::uint64_t histogram::upper_bound_of(std::size_t index) {
    if (index < steps) {
        return index;
    }
    const std::size_t shift = (index >> step_bits) - 1;
    const std::uint64_t base = steps + (index & (steps - 1));
    return ((base + 1) << shift) - 1;
}

} // namespace bench
