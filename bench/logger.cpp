// Question: how fast do the threads of a program get their log lines into a file, what does it
// cost, and how long does a call take?
// Method: every logger, message and number of threads runs once per round, in a process of its own;
//     a row is the median of the rounds. Time runs from before the logger is made until its file is
//     complete and closed. The file is then checked line by line and removed. For the latency, one
//     thread makes bursts of 20 calls, 500 us apart, and times each with the processor's counter.
// Unit: records per second of wall time; nanoseconds of CPU time (user and system, all threads of
//     the process) per record; nanoseconds per call.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <unistd.h>
#include <x86intrin.h>

#include "harness/child.hpp"
#include "harness/machine.hpp"
#include "harness/rounds.hpp"
#include "harness/summary.hpp"
#include "harness/table.hpp"
#include "logger_case.hpp"

namespace bench {

namespace {

constexpr logger_peer loggers[] = {
    {"sapwood", true, &log_with_sapwood, &time_sapwood},
    {"spdlog", false, &log_with_spdlog, &time_spdlog},
    {"spdlog async", false, &log_with_spdlog_async, &time_spdlog_async},
    {"glog", false, &log_with_glog, nullptr},
    {"memcpy limit", false, &log_with_memcpy, nullptr},
};

constexpr unsigned burst_calls = 20;
constexpr unsigned bursts = 4000;
constexpr std::chrono::microseconds between_bursts{500};

} // namespace

std::span<const logger_peer> all_loggers() {
    return loggers;
}

void time_bursts(const logger_job& /*job*/, std::vector<double>& nanoseconds, void (*call)(void*),
                 void* with) {
    using clock = std::chrono::steady_clock;
    const auto begin = clock::now();
    const std::uint64_t begin_ticks = __rdtsc();
    std::vector<std::uint64_t> ticks;
    ticks.reserve(std::size_t{burst_calls} * bursts);
    unsigned processor = 0;
    for (unsigned burst = 0; burst < bursts; ++burst) {
        for (unsigned i = 0; i < burst_calls; ++i) {
            const std::uint64_t before = __rdtscp(&processor);
            call(with);
            ticks.push_back(__rdtscp(&processor) - before);
        }
        // Not a sleep: how long a thread takes to wake up is not the question.
        for (const auto next = clock::now() + between_bursts; clock::now() < next;) {
        }
    }
    const double ns_per_tick =
        std::chrono::duration<double, std::nano>(clock::now() - begin).count() /
        static_cast<double>(__rdtsc() - begin_ticks);
    for (const std::uint64_t each : ticks) {
        nanoseconds.push_back(static_cast<double>(each) * ns_per_tick);
    }
}

namespace {

struct options {
    unsigned rounds = 5;
    std::uint64_t records = 3'000'000;
    std::string directory = program_directory();
    std::string only;
    bool latency_only = false;
    // For the processes this program starts.
    std::string child;
    bool child_latency = false;
    unsigned what = 0;
    logger_job job;
};

struct row {
    const logger_peer* how = nullptr;
    message what = message::integers;
    std::uint64_t threads = 1;
    std::uint64_t coroutines = 0;
    bool latency = false;
    std::vector<double> rate = {};
    std::vector<double> cpu_ns = {};
    std::vector<double> p50 = {};
    std::vector<double> p99 = {};
    std::vector<double> p999 = {};
};

const logger_peer& find_logger(const std::string& name) {
    const auto found = std::ranges::find(loggers, name, &logger_peer::name);
    if (found == std::end(loggers)) {
        throw std::runtime_error("there is no logger named " + name);
    }
    return *found;
}

void run_as_child(options& chosen) {
    chosen.job.what = static_cast<message>(chosen.what);
    chosen.job.records = chosen.records;
    const logger_peer& how = find_logger(chosen.child);
    if (chosen.child_latency) {
        std::vector<double> ns;
        how.time_calls(chosen.job, ns);
        std::ranges::sort(ns);
        const auto at = [&](double share) {
            return ns[static_cast<std::size_t>(share * static_cast<double>(ns.size()))];
        };
        fmt::print("{} {} {}\n", at(0.5), at(0.99), at(0.999));
        return;
    }
    run_meter meter;
    how.write(chosen.job, meter);
    fmt::print("{} {}\n", meter.wall().count(),
               (meter.user_before() + meter.system_before()).count());
}

void measure(row& planned, const options& chosen, const interrupts& signals) {
    std::string directory = chosen.directory + "/bench_logger.XXXXXX";
    if (::mkdtemp(directory.data()) == nullptr) {
        throw std::system_error{errno, std::generic_category(), "cannot write to " + directory};
    }
    const logger_job job{.path = directory + "/bench.log",
                         .what = planned.what,
                         .threads = planned.threads,
                         .coroutines = planned.coroutines,
                         .records = chosen.records};
    std::vector<std::string> arguments{"/proc/self/exe",
                                       "--child",
                                       std::string{planned.how->name},
                                       "--path",
                                       job.path,
                                       "--what",
                                       std::to_string(static_cast<unsigned>(job.what)),
                                       "--threads",
                                       std::to_string(job.threads),
                                       "--coroutines",
                                       std::to_string(job.coroutines),
                                       "--records",
                                       std::to_string(job.records)};
    if (planned.latency) {
        arguments.emplace_back("--child-latency");
    }
    const child_result child = run_child(arguments, signals);
    std::istringstream output{child.output};
    if (planned.latency) {
        double p50 = 0;
        double p99 = 0;
        double p999 = 0;
        output >> p50 >> p99 >> p999;
        planned.p50.push_back(p50);
        planned.p99.push_back(p99);
        planned.p999.push_back(p999);
    } else {
        double wall_ns = 0;
        double cpu_before_us = 0;
        output >> wall_ns >> cpu_before_us;
        verify_log(job);
        const auto records = static_cast<double>(job.records);
        const auto cpu_us = static_cast<double>((child.user + child.system).count());
        planned.rate.push_back(records * 1e9 / wall_ns);
        planned.cpu_ns.push_back((cpu_us - cpu_before_us) * 1e3 / records);
    }
    std::filesystem::remove_all(directory);
}

std::vector<row> make_rows(const options& chosen) {
    std::vector<row> rows;
    const auto is_chosen = [&](const logger_peer& one) {
        return chosen.only.empty() || chosen.only == one.name;
    };
    for (const logger_peer& how : loggers) {
        if (!is_chosen(how)) {
            continue;
        }
        if (how.time_calls != nullptr) {
            rows.push_back({.how = &how, .latency = true});
        }
        if (chosen.latency_only) {
            continue;
        }
        for (const message what : {message::text, message::integers, message::number}) {
            for (const std::uint64_t threads : {1U, 2U, 4U}) {
                rows.push_back({.how = &how, .what = what, .threads = threads});
            }
            if (how.has_coroutines) {
                rows.push_back({.how = &how, .what = what, .coroutines = 1000});
            }
        }
    }
    return rows;
}

void print_rates(const std::vector<row>& rows) {
    table text{{{"message", align::left},
                {"producers"},
                {"logger", align::left},
                {"M records/s"},
                {"min"},
                {"max"},
                {"CPU ns/record"}}};
    std::vector<const row*> sorted;
    for (const row& r : rows) {
        if (!r.latency) {
            sorted.push_back(&r);
        }
    }
    std::ranges::stable_sort(sorted, [](const row* a, const row* b) {
        return std::tuple(a->what, a->coroutines, a->threads) <
               std::tuple(b->what, b->coroutines, b->threads);
    });
    for (const row* r : sorted) {
        const summary rate = summarize(r->rate);
        text.add_row({std::string{message_names[static_cast<std::size_t>(r->what)]},
                      r->coroutines > 0 ? fmt::format("{} coroutines", r->coroutines)
                                        : fmt::format("{} threads", r->threads),
                      std::string{r->how->name}, fmt::format("{:.2f}", rate.median / 1e6),
                      fmt::format("{:.2f}", rate.min / 1e6), fmt::format("{:.2f}", rate.max / 1e6),
                      fmt::format("{:.0f}", summarize(r->cpu_ns).median)});
    }
    text.print(stdout);
}

void print_latencies(const std::vector<row>& rows) {
    table text{{{"one call, ns", align::left}, {"p50"}, {"p99"}, {"p99.9"}}};
    for (const row& r : rows) {
        if (r.latency) {
            text.add_row({std::string{r.how->name}, fmt::format("{:.0f}", summarize(r.p50).median),
                          fmt::format("{:.0f}", summarize(r.p99).median),
                          fmt::format("{:.0f}", summarize(r.p999).median)});
        }
    }
    text.print(stdout);
}

void run(const options& chosen) {
    const interrupts signals;
    fmt::print("bench_logger: {} records into one file, median of {} rounds\n\n", chosen.records,
               chosen.rounds);
    print_facts(machine_facts());
    fmt::print("\n");
    std::fflush(stdout);
    std::vector<row> rows = make_rows(chosen);
    std::vector<std::string> names;
    for (const row& r : rows) {
        names.push_back(fmt::format("{}, {}{}", r.how->name,
                                    message_names[static_cast<std::size_t>(r.what)],
                                    r.latency ? ", latency" : ""));
    }
    run_interleaved(chosen.rounds, names,
                    [&](std::size_t i) { measure(rows[i], chosen, signals); });
    print_latencies(rows);
    if (!chosen.latency_only) {
        fmt::print("\n");
        print_rates(rows);
    }
}

} // namespace

} // namespace bench

int main(int argc, char** argv) {
    bench::options chosen;
    CLI::App app{"Measures loggers: sapwood's, spdlog and glog."};
    app.add_option("--rounds", chosen.rounds, "Runs of every row")->capture_default_str();
    app.add_option("--records", chosen.records, "Records of all threads together")
        ->capture_default_str();
    app.add_option("--dir", chosen.directory, "Where the files are written, and removed again")
        ->check(CLI::ExistingDirectory);
    app.add_option("--logger", chosen.only, "Measure this logger only");
    app.add_flag("--latency", chosen.latency_only, "Measure the latency of a call only");
    app.add_option("--child", chosen.child)->group("");
    app.add_flag("--child-latency", chosen.child_latency)->group("");
    app.add_option("--path", chosen.job.path)->group("");
    app.add_option("--what", chosen.what)->group("");
    app.add_option("--threads", chosen.job.threads)->group("");
    app.add_option("--coroutines", chosen.job.coroutines)->group("");
    CLI11_PARSE(app, argc, argv);
    try {
        if (chosen.child.empty()) {
            bench::run(chosen);
        } else {
            bench::run_as_child(chosen);
        }
    } catch (const bench::interrupted&) {
        return 130;
    } catch (const std::exception& error) {
        fmt::print(stderr, "bench_logger: {}\n", error.what());
        return 1;
    }
    return 0;
}
