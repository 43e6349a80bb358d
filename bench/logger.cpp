// Question: how fast do the threads and coroutines of a program get their log lines into a file,
// what does it cost, and how long does a call take?
// Method: every logger, message and number of producers runs once per round, in a process of its
//     own; a row is the median of the rounds. Time runs from before the logger is made until its
//     file is complete and closed. The file is then checked line by line and removed. For the
//     latency, one thread makes bursts of 20 calls, 500 us apart, and times each with the
//     processor's counter; what the timer itself and the machine take is a row, too. Nothing is
//     subtracted.
// Unit: records per second of wall time; nanoseconds of CPU time (user and system, all threads of
//     the process) per record; nanoseconds per call.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <spdlog/version.h>

#include "harness/child.hpp"
#include "harness/json.hpp"
#include "harness/machine.hpp"
#include "harness/rounds.hpp"
#include "harness/scratch_directory.hpp"
#include "logger_case.hpp"
#include "logger_rows.hpp"

namespace bench {

namespace {

std::vector<logger_peer> all_loggers() {
    using enum logger_kind;
    return {
        {.name = "sapwood",
         .kind = sapwood,
         .has_coroutines = true,
         .write = &log_with_sapwood,
         .time_calls = &time_sapwood},
        {.name = "sapwood, own thread",
         .kind = sapwood,
         .has_threads = false,
         .has_coroutines = true,
         .write = &log_with_sapwood_thread},
        {.name = "spdlog", .write = &log_with_spdlog, .time_calls = &time_spdlog},
        {.name = "spdlog async", .write = &log_with_spdlog_async, .time_calls = &time_spdlog_async},
        {.name = "glog", .write = &log_with_glog, .time_calls = &time_glog},
        {.name = "memcpy limit", .kind = limit, .write = &log_with_memcpy},
        {.name = "a time stamp", .kind = limit, .time_calls = &time_time_stamp},
        {.name = "nothing", .kind = limit, .time_calls = &time_nothing},
    };
}

struct options {
    unsigned rounds = 5;
    std::uint64_t records = 3'000'000;
    std::string directory = program_directory();
    std::string json;
    std::vector<std::string> only;
    std::vector<std::string> others;
    bool latency_only = false;
    bool rates_only = false;
    // For the processes this program starts.
    std::string child;
    bool child_latency = false;
    unsigned what = 0;
    logger_job job;
};

// In the process that logs: prints what the parent reads in measure().
void run_as_child(options& chosen) {
    const std::vector<logger_peer> loggers = all_loggers();
    const auto how = std::ranges::find(loggers, chosen.child, &logger_peer::name);
    if (how == loggers.end()) {
        throw std::runtime_error("there is no logger named " + chosen.child);
    }
    chosen.job.what = static_cast<message>(chosen.what);
    chosen.job.records = chosen.records;
    if (chosen.child_latency) {
        std::vector<double> ns;
        how->time_calls(chosen.job, ns);
        std::ranges::sort(ns);
        const auto at = [&](double share) {
            return ns[static_cast<std::size_t>(share * static_cast<double>(ns.size()))];
        };
        fmt::print("{} {} {} {}\n", at(0.5), at(0.99), at(0.999), ns.back());
        return;
    }
    run_meter meter;
    how->write(chosen.job, meter);
    fmt::print("{} {} {}\n", meter.wall().count(), meter.user_before().count(),
               meter.system_before().count());
}

// Runs a logger on a job and reads the numbers that it prints.
std::vector<double> run_logger(const logger_peer& how, const logger_job& job, bool latency,
                               const interrupts& signals, child_result& child) {
    std::vector<std::string> arguments{how.program,
                                       "--child",
                                       how.name,
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
    if (latency) {
        arguments.emplace_back("--child-latency");
    }
    if (job.apart) {
        arguments.emplace_back("--apart");
    }
    child = run_child(arguments, signals);
    std::istringstream output{child.output};
    std::vector<double> numbers;
    for (double number = 0; output >> number;) {
        numbers.push_back(number);
    }
    if (numbers.size() != (latency ? 4U : 3U)) {
        throw std::runtime_error(how.name + " printed something else: " + child.output);
    }
    return numbers;
}

void measure(rate_row& planned, const options& chosen, const interrupts& signals) {
    const scratch_directory scratch{chosen.directory, "bench_logger"};
    const logger_job job{.path = scratch.file(),
                         .what = planned.what,
                         .threads = planned.threads,
                         .coroutines = planned.coroutines,
                         .records = chosen.records};
    child_result child;
    const auto numbers = run_logger(*planned.how, job, false, signals, child);
    verify_log(job);
    const auto records = static_cast<double>(job.records);
    const auto ns_per_record = [&](std::chrono::microseconds all, double before_us) {
        return (static_cast<double>(all.count()) - before_us) * 1e3 / records;
    };
    const double user = ns_per_record(child.user, numbers[1]);
    const double system = ns_per_record(child.system, numbers[2]);
    planned.per_second.push_back(records * 1e9 / numbers[0]);
    planned.user_ns.push_back(user);
    planned.system_ns.push_back(system);
    planned.cpu_ns.push_back(user + system);
}

void measure(latency_row& planned, const options& chosen, const interrupts& signals) {
    const scratch_directory scratch{chosen.directory, "bench_logger"};
    child_result child;
    const auto numbers = run_logger(*planned.how, {.path = scratch.file(), .apart = planned.apart},
                                    true, signals, child);
    planned.p50.push_back(numbers[0]);
    planned.p99.push_back(numbers[1]);
    planned.p999.push_back(numbers[2]);
    planned.worst.push_back(numbers[3]);
}

// Those of this program, and others': NAME=PROGRAM.
std::vector<logger_peer> choose_loggers(const options& chosen) {
    std::vector<logger_peer> loggers = all_loggers();
    for (const std::string& other : chosen.others) {
        const auto equals = other.find('=');
        if (equals == other.npos) {
            throw std::runtime_error("--peer " + other + ": write NAME=PROGRAM");
        }
        // They are called by name there: here it only counts that they are not null.
        loggers.push_back({.name = other.substr(0, equals),
                           .write = &log_with_memcpy,
                           .time_calls = &time_nothing,
                           .program = other.substr(equals + 1)});
    }
    if (!chosen.only.empty()) {
        std::erase_if(loggers, [&](const logger_peer& each) {
            return std::ranges::find(chosen.only, each.name) == chosen.only.end();
        });
    }
    if (loggers.empty()) {
        throw std::runtime_error("there is no logger of that name");
    }
    return loggers;
}

std::vector<rate_row> make_rates(const std::vector<logger_peer>& loggers) {
    std::vector<rate_row> rows;
    for (const logger_peer& how : loggers) {
        for (const message what : {message::text, message::integers, message::number}) {
            if (how.write == nullptr) {
                break;
            }
            for (const std::uint64_t threads : {1U, 2U, 4U}) {
                if (how.has_threads) {
                    rows.push_back({.how = &how, .what = what, .threads = threads});
                }
            }
            if (how.has_coroutines) {
                rows.push_back({.how = &how, .what = what, .coroutines = 1000});
            }
        }
    }
    return rows;
}

std::vector<latency_row> make_latencies(const std::vector<logger_peer>& loggers) {
    std::vector<latency_row> rows;
    for (const bool apart : {false, true}) {
        for (const logger_peer& how : loggers) {
            if (how.time_calls != nullptr && (!apart || std::thread::hardware_concurrency() > 1)) {
                rows.push_back({.how = &how, .apart = apart});
            }
        }
    }
    return rows;
}

void write_json(const options& chosen, const facts& machine, const std::vector<rate_row>& rates,
                const std::vector<latency_row>& latencies,
                const std::vector<logger_verdict>& verdicts) {
    json_writer out;
    out.begin_object()
        .member("bench", "logger")
        .member("unit", "records/s, ns/record, ns/call")
        .member("rounds", std::uint64_t{chosen.rounds})
        .member("records", chosen.records)
        .key("machine");
    write_facts(out, machine);
    write_rows(out, rates, latencies);
    out.key("verdicts").begin_array();
    for (const logger_verdict& each : verdicts) {
        out.begin_object()
            .member("claim", each.claim)
            .member("value", each.value)
            .member("mark", each.mark)
            .member("limit", each.at_most ? "at most" : "at least")
            .end_object();
    }
    out.end_array().end_object().write_file(chosen.json);
}

void run(const options& chosen) {
    const interrupts signals;
    facts machine = machine_facts();
    machine.emplace_back("file system", file_system_of(chosen.directory));
    machine.emplace_back(
        "spdlog", fmt::format("{}.{}.{}", SPDLOG_VER_MAJOR, SPDLOG_VER_MINOR, SPDLOG_VER_PATCH));
    fmt::print("bench_logger: {} records into one file, median of {} rounds\n\n", chosen.records,
               chosen.rounds);
    print_facts(machine);
    fmt::print("\n");
    std::fflush(stdout);
    const std::vector<logger_peer> loggers = choose_loggers(chosen);
    std::vector<rate_row> rates;
    std::vector<latency_row> latencies;
    std::vector<std::string> names;
    if (!chosen.rates_only) {
        latencies = make_latencies(loggers);
    }
    if (!chosen.latency_only) {
        rates = make_rates(loggers);
    }
    for (const latency_row& each : latencies) {
        names.push_back(each.how->name + ", latency");
    }
    for (const rate_row& each : rates) {
        names.push_back(fmt::format("{}, {}, {}", each.how->name,
                                    message_names[static_cast<std::size_t>(each.what)],
                                    producers_of(each)));
    }
    run_interleaved(chosen.rounds, names, [&](std::size_t i) {
        if (i < latencies.size()) {
            measure(latencies[i], chosen, signals);
        } else {
            measure(rates[i - latencies.size()], chosen, signals);
        }
    });
    if (!latencies.empty()) {
        print_latencies(latencies);
        fmt::print("\n");
    }
    if (!rates.empty()) {
        print_rates(rates);
    }
    const auto verdicts = judge(rates, latencies);
    print_verdicts(verdicts);
    if (!chosen.json.empty()) {
        write_json(chosen, machine, rates, latencies, verdicts);
    }
}

} // namespace

} // namespace bench

int main(int argc, char** argv) {
    bench::options chosen;
    CLI::App app{"Measures loggers: sapwood's, spdlog and glog."};
    app.add_option("--rounds", chosen.rounds, "Runs of every row")->capture_default_str();
    app.add_option("--records", chosen.records, "Records of all producers together")
        ->capture_default_str();
    app.add_option("--dir", chosen.directory, "Where the files are written, and removed again")
        ->check(CLI::ExistingDirectory);
    app.add_option("--json", chosen.json, "Write the results to this file, too");
    app.add_option("--logger", chosen.only, "Measure these loggers only");
    app.add_option("--peer", chosen.others,
                   "NAME=PROGRAM: measure a logger of another program's, too, which takes the "
                   "arguments that this one gives to its children");
    app.add_flag("--latency", chosen.latency_only, "Measure the latency of a call only");
    app.add_flag("--rates", chosen.rates_only, "Do not measure the latency of a call");
    app.add_option("--child", chosen.child)->group("");
    app.add_flag("--child-latency", chosen.child_latency)->group("");
    app.add_option("--path", chosen.job.path)->group("");
    app.add_option("--what", chosen.what)->group("");
    app.add_option("--threads", chosen.job.threads)->group("");
    app.add_option("--coroutines", chosen.job.coroutines)->group("");
    app.add_flag("--apart", chosen.job.apart)->group("");
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
