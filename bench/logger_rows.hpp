// The rows of bench_logger: what was measured, how it compares, and which marks it reaches.
#pragma once

#include <string>
#include <vector>

#include "harness/json.hpp"
#include "harness/summary.hpp"
#include "logger_case.hpp"

namespace bench {

// How many records a second one logger got into its file, and for how much.
struct rate_row {
    const logger_peer* how = nullptr;
    message what = message::integers;
    std::uint64_t threads = 1;
    std::uint64_t coroutines = 0;
    std::vector<double> per_second = {};
    std::vector<double> user_ns = {};
    std::vector<double> system_ns = {};
    std::vector<double> cpu_ns = {};

    [[nodiscard]] double median() const { return summarize(per_second).median; }
};

// How long one call takes.
struct latency_row {
    const logger_peer* how = nullptr;
    bool apart = false;
    std::vector<double> p50 = {};
    std::vector<double> p99 = {};
    std::vector<double> p999 = {};
    std::vector<double> worst = {};
};

// The same message and producers, by the best of the peers; null where there is none.
[[nodiscard]] const rate_row* best_peer(const std::vector<rate_row>& rows, const rate_row& beside);

// The median of the ratios within each round.
[[nodiscard]] double times(const rate_row& one, const rate_row& other);

struct logger_verdict {
    std::string claim;
    double value = 0;
    double mark = 0;
    bool at_most = false;

    [[nodiscard]] bool reached() const { return at_most ? value <= mark : value >= mark; }
};

[[nodiscard]] std::vector<logger_verdict> judge(const std::vector<rate_row>& rates,
                                                const std::vector<latency_row>& latencies);

[[nodiscard]] std::string producers_of(const rate_row& row);

void print_rates(const std::vector<rate_row>& rows);
void print_latencies(const std::vector<latency_row>& rows);
void print_verdicts(const std::vector<logger_verdict>& verdicts);

void write_rows(json_writer& out, const std::vector<rate_row>& rates,
                const std::vector<latency_row>& latencies);

} // namespace bench
