// The rows of bench_writers: what was measured of each, and how sapwood's compare to the marks.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "harness/summary.hpp"
#include "writer.hpp"

namespace bench {

// What the project wants its own rows to reach.
inline constexpr double times_best_threaded_mark = 3;
inline constexpr double cpu_ns_mark = 150;

// One of each per round.
struct samples {
    std::vector<double> records_per_second;
    std::vector<double> user_ns;
    std::vector<double> system_ns;
    std::vector<double> cpu_ns;
    std::vector<double> peak_kib;
};

struct row {
    const writer* how = nullptr;
    std::uint64_t producers = 0;
    samples measured;
};

// The median, in records per second.
[[nodiscard]] double rate_of(const row& r);

// The threaded row with the highest rate, null if there is none.
[[nodiscard]] const row* best_threaded(const std::vector<row>& rows);

// Of one row's rate to another's, within a round.
[[nodiscard]] summary rate_ratio(const row& one, const row& other);

// What the marks are about: a claim, its number, and whether it is reached.
struct verdict {
    std::string name; // In the JSON file.
    std::string claim;
    double value;
    double mark;
    bool reached;
};

// Empty unless there are sapwood rows with 1 and 10000 producers.
[[nodiscard]] std::vector<verdict> judge(const std::vector<row>& rows);

} // namespace bench
