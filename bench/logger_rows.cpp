#include "logger_rows.hpp"

#include <algorithm>
#include <tuple>
#include <utility>

#include <fmt/format.h>

#include "harness/judged.hpp"
#include "harness/table.hpp"

namespace bench {

namespace {

constexpr double rate_mark = 10e6; // Integers, 2 threads.
constexpr double cpu_ns_mark = 120;
constexpr double times_one_thread_mark = 2.5;
constexpr double times_threads_mark = 5;
constexpr double p50_mark = 70;
constexpr double p99_mark = 200;
constexpr double p999_mark = 600;

double median_of(const std::vector<double>& samples) {
    return summarize(samples).median;
}

auto key_of(const rate_row& row) {
    return std::tuple(row.what, row.coroutines, row.threads);
}

std::string name_of(message what) {
    return std::string(message_names[static_cast<std::size_t>(what)]);
}

} // namespace

std::string producers_of(const rate_row& row) {
    return row.coroutines > 0 ? fmt::format("{} coroutines", row.coroutines)
                              : fmt::format("{} thread{}", row.threads, row.threads > 1 ? "s" : "");
}

double times(const rate_row& one, const rate_row& other) {
    std::vector<double> ratios;
    for (std::size_t i = 0; i < one.per_second.size(); ++i) {
        ratios.push_back(one.per_second[i] / other.per_second[i]);
    }
    return median_of(ratios);
}

const rate_row* best_peer(const std::vector<rate_row>& rows, const rate_row& beside) {
    const rate_row* best = nullptr;
    for (const rate_row& each : rows) {
        if (each.how->kind == logger_kind::peer && key_of(each) == key_of(beside) &&
            (best == nullptr || each.median() > best->median())) {
            best = &each;
        }
    }
    return best;
}

std::vector<logger_verdict> judge(const std::vector<rate_row>& rates,
                                  const std::vector<latency_row>& latencies) {
    std::vector<logger_verdict> verdicts;
    for (const rate_row& each : rates) {
        if (each.how->kind != logger_kind::sapwood || each.coroutines > 0) {
            continue;
        }
        if (each.what == message::integers && each.threads == 2) {
            verdicts.push_back(
                {"integers, 2 threads: M records/s", each.median() / 1e6, rate_mark / 1e6});
            verdicts.push_back({"integers, 2 threads: CPU per record, ns", median_of(each.cpu_ns),
                                cpu_ns_mark, true});
        }
        if (const rate_row* const best = best_peer(rates, each)) {
            verdicts.push_back(
                {fmt::format("{}, {}: rate, times that of the best peer ({})", name_of(each.what),
                             producers_of(each), best->how->name),
                 times(each, *best),
                 each.threads == 1 ? times_one_thread_mark : times_threads_mark});
        }
    }
    for (const latency_row& each : latencies) {
        if (each.how->kind == logger_kind::sapwood && !each.apart) {
            verdicts.push_back({"one call: p50, ns", median_of(each.p50), p50_mark, true});
            verdicts.push_back({"one call: p99, ns", median_of(each.p99), p99_mark, true});
            verdicts.push_back({"one call: p99.9, ns", median_of(each.p999), p999_mark, true});
        }
    }
    return verdicts;
}

void print_rates(const std::vector<rate_row>& rows) {
    table text{{{"message", align::left},
                {"producers"},
                {"logger", align::left},
                {"M records/s"},
                {"min"},
                {"max"},
                {"times best peer"},
                {"CPU ns/record"},
                {"user"},
                {"system"}}};
    std::vector<const rate_row*> sorted;
    for (const rate_row& each : rows) {
        sorted.push_back(&each);
    }
    std::ranges::stable_sort(sorted, {}, [](const rate_row* each) { return key_of(*each); });
    const rate_row* previous = nullptr;
    for (const rate_row* const each : sorted) {
        if (previous != nullptr && key_of(*previous) != key_of(*each)) {
            text.add_gap();
        }
        previous = each;
        const summary rate = summarize(each->per_second);
        const rate_row* const best = best_peer(rows, *each);
        const auto millions = [](double value) { return fmt::format("{:.2f}", value / 1e6); };
        const auto whole = [](const std::vector<double>& of) {
            return fmt::format("{:.0f}", median_of(of));
        };
        text.add_row({name_of(each->what), producers_of(*each), each->how->name,
                      millions(rate.median), millions(rate.min), millions(rate.max),
                      best == nullptr ? "" : fmt::format("{:.2f}", times(*each, *best)),
                      whole(each->cpu_ns), whole(each->user_ns), whole(each->system_ns)});
    }
    text.print(stdout);
}

void print_latencies(const std::vector<latency_row>& rows) {
    table text{{{"one call, ns", align::left},
                {"CPUs", align::left},
                {"p50"},
                {"p99"},
                {"p99.9"},
                {"worst"},
                {"p99.9, min"},
                {"max"}}};
    bool was_apart = false;
    for (const latency_row& each : rows) {
        if (each.apart && !was_apart) {
            text.add_gap();
        }
        was_apart = each.apart;
        const summary tail = summarize(each.p999);
        text.add_row(
            {each.how->name, each.apart ? "one each" : "any",
             fmt::format("{:.0f}", median_of(each.p50)), fmt::format("{:.0f}", median_of(each.p99)),
             fmt::format("{:.0f}", tail.median), fmt::format("{:.0f}", median_of(each.worst)),
             fmt::format("{:.0f}", tail.min), fmt::format("{:.0f}", tail.max)});
    }
    text.print(stdout);
    fmt::print("\n\"nothing\" is what the timer and the machine themselves take, \"a time stamp\" "
               "what\nreading the processor's counter once does; both are part of every row.\n");
}

void print_verdicts(const std::vector<logger_verdict>& verdicts) {
    if (verdicts.empty()) {
        return;
    }
    fmt::print("\n");
    table text{{{"sapwood", align::left}, {"median"}, {"mark"}, {"", align::left}}};
    for (const logger_verdict& each : verdicts) {
        text.add_row({each.claim, fmt::format("{:.2f}", each.value), fmt::format("{}", each.mark),
                      judged(each.reached())});
    }
    text.print(stdout);
}

void write_rows(json_writer& out, const std::vector<rate_row>& rates,
                const std::vector<latency_row>& latencies) {
    constexpr std::string_view kinds[] = {"sapwood", "peer", "limit"};
    const auto kind_of = [&](const logger_peer& of) {
        return kinds[static_cast<std::size_t>(of.kind)];
    };
    out.key("rates").begin_array();
    for (const rate_row& each : rates) {
        out.begin_object()
            .member("logger", each.how->name)
            .member("kind", kind_of(*each.how))
            .member("message", name_of(each.what))
            .member("producers", producers_of(each))
            .member("records_per_second", summarize(each.per_second))
            .member("cpu_ns", summarize(each.cpu_ns))
            .member("user_ns", summarize(each.user_ns))
            .member("system_ns", summarize(each.system_ns));
        if (const rate_row* const best = best_peer(rates, each)) {
            out.member("times_best_peer", times(each, *best));
        }
        out.end_object();
    }
    out.end_array().key("latencies").begin_array();
    for (const latency_row& each : latencies) {
        out.begin_object()
            .member("logger", each.how->name)
            .member("kind", kind_of(*each.how))
            .member("cpus", each.apart ? "one each" : "any")
            .member("p50", summarize(each.p50))
            .member("p99", summarize(each.p99))
            .member("p999", summarize(each.p999))
            .member("worst", summarize(each.worst))
            .end_object();
    }
    out.end_array();
}

} // namespace bench
