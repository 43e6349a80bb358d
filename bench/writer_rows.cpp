#include "writer_rows.hpp"

#include <algorithm>
#include <cstddef>
#include <utility>

#include <fmt/format.h>

namespace bench {

namespace {

constexpr double ten_thousand_share_mark = 0.8; // Of the rate with one producer.
constexpr double waiting_bytes_mark = 1024;     // Per producer, of 10000.

const row* sapwood_row(const std::vector<row>& rows, std::uint64_t producers) {
    const auto found = std::ranges::find_if(rows, [&](const row& r) {
        return r.how->kind == writer_kind::sapwood && r.producers == producers;
    });
    return found == rows.end() ? nullptr : &*found;
}

} // namespace

double rate_of(const row& r) {
    return summarize(r.measured.records_per_second).median;
}

const row* best_threaded(const std::vector<row>& rows) {
    const row* best = nullptr;
    for (const row& r : rows) {
        if (r.how->kind == writer_kind::threads &&
            (best == nullptr || rate_of(r) > rate_of(*best))) {
            best = &r;
        }
    }
    return best;
}

summary rate_ratio(const row& one, const row& other) {
    std::vector<double> ratios;
    for (std::size_t i = 0; i < one.measured.records_per_second.size(); ++i) {
        ratios.push_back(one.measured.records_per_second[i] / other.measured.records_per_second[i]);
    }
    return summarize(std::move(ratios));
}

std::vector<verdict> judge(const std::vector<row>& rows) {
    const row* one = sapwood_row(rows, 1);
    const row* many = sapwood_row(rows, 10000);
    const row* best = best_threaded(rows);
    std::vector<verdict> verdicts;
    if (one == nullptr || many == nullptr) {
        return verdicts;
    }
    if (best != nullptr) {
        const double times = rate_ratio(*one, *best).median;
        verdicts.push_back({"times_best_threaded",
                            fmt::format("rate with 1 producer, times that of the best threaded "
                                        "writer ({}, {} threads)",
                                        best->how->name, best->producers),
                            times, times_best_threaded_mark, times >= times_best_threaded_mark});
    }
    double cpu_ns = 0;
    for (const row& r : rows) {
        if (r.how->kind == writer_kind::sapwood) {
            cpu_ns = std::max(cpu_ns, summarize(r.measured.cpu_ns).median);
        }
    }
    verdicts.push_back({"cpu_ns", "CPU per record at the worst number of producers, ns", cpu_ns,
                        cpu_ns_mark, cpu_ns <= cpu_ns_mark});
    const double share = rate_ratio(*many, *one).median;
    verdicts.push_back({"ten_thousand_share", "rate with 10000 producers, share of that with 1",
                        share, ten_thousand_share_mark, share >= ten_thousand_share_mark});
    const double bytes =
        1024 *
        (summarize(many->measured.peak_kib).median - summarize(one->measured.peak_kib).median) /
        (10000 - 1);
    verdicts.push_back({"waiting_bytes", "memory per waiting producer, bytes", bytes,
                        waiting_bytes_mark, bytes <= waiting_bytes_mark});
    return verdicts;
}

} // namespace bench
