// What is reported of one configuration's samples: the median, and the extremes as the spread.
//
// The median is the number to compare; min and max say how far to trust it. No mean: one sample
// taken while a neighbour used the machine would move it.
#pragma once

#include <vector>

namespace bench {

struct summary {
    double median = 0;
    double min = 0;
    double max = 0;
};

// Precondition: at least one sample.
[[nodiscard]] summary summarize(std::vector<double> samples);

} // namespace bench
