// What bench_collector measures, and the rows that it measures for: each takes one figure more, of
// a daemon and a log of its own. One thread.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "collector_load.hpp"
#include "harness/summary.hpp"

namespace bench {

class interrupts;

struct collector_bench {
    unsigned rounds = 3;
    unsigned sample_ms = 3000;
    unsigned overload_ms = 5000;
    unsigned churn_ms = 5000;
    double churn_rate = 0; // as fast as it goes
    unsigned idle = 9'900; // With those that are active as many as the daemon lets in.
    std::string directory;
    std::vector<std::string> only;
    std::string json;
};

/// A figure of a row: what it is called, and what it should be at least, or at most.
struct figure {
    std::string name;
    std::vector<double> samples;
    double mark = 0;
    bool is_at_most = false;

    [[nodiscard]] bool reached() const {
        const double median = summarize(samples).median;
        return mark == 0 || (is_at_most ? median <= mark : median >= mark);
    }
};

struct row {
    std::string name;
    std::vector<figure> figures;
    std::function<void(row&)> measure;

    void note(std::size_t which, double value) { figures[which].samples.push_back(value); }
};

/// What a closed load gets; figures are records per second, p99, CPU of the daemon, and of
/// who loads it.
void measure_posts(row& into, const collector_bench& chosen, int cpu, const std::string& durability,
                   const std::string& preallocated_bytes, const http_load_shape& shape);

/// The same of one record a request by wrk, which others measure with.
void measure_wrk(row& into, const collector_bench& chosen, int cpu, const interrupts& signals);

/// Whether it is there.
[[nodiscard]] bool has_wrk();

void measure_lines(row& into, const collector_bench& chosen, int cpu,
                   const std::string& durability);
void measure_idle(row& into, const collector_bench& chosen, int cpu);

/// How much it can take is found first; then comes twice as much, whether it is answered or not.
void measure_overload(row& into, const collector_bench& chosen, int cpu);
void measure_churn(row& into, const collector_bench& chosen, int cpu);

} // namespace bench
