#include "harness/summary.hpp"

#include <algorithm>
#include <cstddef>
#include <stdexcept>

namespace bench {

summary summarize(std::vector<double> samples) {
    if (samples.empty()) {
        throw std::logic_error("a configuration was reported without having been measured");
    }
    std::ranges::sort(samples);
    const std::size_t middle = samples.size() / 2;
    const double median =
        samples.size() % 2 == 1 ? samples[middle] : (samples[middle - 1] + samples[middle]) / 2;
    return {.median = median, .min = samples.front(), .max = samples.back()};
}

} // namespace bench
