// Question: how fast do many producers get their records into one file, and what does it cost?
// Method: every writer and number of producers runs once per round, in a process of its own, with
//     the same records (writer_record.hpp); the row is the median of the rounds. Time runs from
//     before the first producer starts until the file is complete and closed; durability is not
//     part of it. The file is then checked line by line and removed.
// Unit: records per second of wall time; nanoseconds of CPU time (user, system; all threads of the
//     process) per record; peak resident memory of the process (VmHWM) in MiB.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <spdlog/version.h>

#include "harness/child.hpp"
#include "harness/json.hpp"
#include "harness/judged.hpp"
#include "harness/machine.hpp"
#include "harness/rounds.hpp"
#include "harness/scratch_directory.hpp"
#include "harness/summary.hpp"
#include "harness/table.hpp"
#include "writer.hpp"
#include "writer_rows.hpp"
#include "writer_verify.hpp"

namespace {

using namespace bench;

struct options {
    unsigned rounds = 5;
    std::uint64_t records = 3'000'000;
    std::string directory;
    std::string only;
    std::string json;
    std::string child; // Set in the processes this program starts: the writer's name.
    writer_job job;    // Theirs, too.
};

const writer& find_writer(const std::string& name) {
    const auto found = std::ranges::find(all_writers(), name, &writer::name);
    if (found == all_writers().end()) {
        throw std::runtime_error("there is no writer named " + name);
    }
    return *found;
}

std::uint64_t peak_memory_kib() {
    std::ifstream status{"/proc/self/status"};
    for (std::string line; std::getline(status, line);) {
        if (line.starts_with("VmHWM:")) {
            return std::stoull(line.substr(6));
        }
    }
    throw std::runtime_error("the kernel does not tell the peak memory in /proc/self/status");
}

// In the process that writes: runs the writer and prints what the parent reads in run_writer.
void run_child_writer(const options& chosen) {
    run_meter meter;
    find_writer(chosen.child).write(chosen.job, meter);
    fmt::print("{} {} {} {}\n", meter.wall().count(), meter.user_before().count(),
               meter.system_before().count(), peak_memory_kib());
}

void run_writer(row& planned, const options& chosen, const interrupts& signals) {
    const scratch_directory scratch{chosen.directory, "bench_writers"};
    const writer_job job{
        .path = scratch.file(), .producers = planned.producers, .records = chosen.records};

    time_window window{.begin = std::chrono::system_clock::now(), .end = {}};
    const child_result child =
        run_child({"/proc/self/exe", "--child", std::string{planned.how->name}, "--producers",
                   std::to_string(job.producers), "--records", std::to_string(job.records),
                   "--path", job.path},
                  signals);
    window.end = std::chrono::system_clock::now();

    std::int64_t wall_ns = 0;
    std::int64_t user_before_us = 0;
    std::int64_t system_before_us = 0;
    double peak_kib = 0;
    std::istringstream output{child.output};
    if (!(output >> wall_ns >> user_before_us >> system_before_us >> peak_kib)) {
        throw std::runtime_error("a writer printed something else: " + child.output);
    }
    verify_file(job, window);

    const auto records = static_cast<double>(job.records);
    const auto ns_per_record = [&](std::chrono::nanoseconds cpu) {
        return static_cast<double>(cpu.count()) / records;
    };
    const double user = ns_per_record(child.user - std::chrono::microseconds{user_before_us});
    const double system = ns_per_record(child.system - std::chrono::microseconds{system_before_us});
    samples& measured = planned.measured;
    measured.records_per_second.push_back(records * 1e9 / static_cast<double>(wall_ns));
    measured.user_ns.push_back(user);
    measured.system_ns.push_back(system);
    measured.cpu_ns.push_back(user + system);
    measured.peak_kib.push_back(peak_kib);
}

std::vector<row> make_rows(const options& chosen) {
    std::vector<row> rows;
    for (const writer& how : all_writers()) {
        if (!chosen.only.empty() && chosen.only != how.name) {
            continue;
        }
        for (const std::uint64_t producers : how.producers) {
            rows.push_back({.how = &how, .producers = producers, .measured = {}});
        }
    }
    return rows;
}

void print_rows(const std::vector<row>& rows) {
    table text{{{"writer", align::left},
                {"producers"},
                {"M records/s"},
                {"min"},
                {"max"},
                {"times best threaded"},
                {"CPU ns/record"},
                {"user ns"},
                {"system ns"},
                {"peak MiB"}}};
    const row* const best = best_threaded(rows);
    const writer* previous = nullptr;
    for (const row& r : rows) {
        if (previous != nullptr && previous != r.how) {
            text.add_gap();
        }
        previous = r.how;
        const auto rate = summarize(r.measured.records_per_second);
        const auto millions = [](double value) { return fmt::format("{:.2f}", value / 1e6); };
        const auto median = [](const std::vector<double>& of) {
            return fmt::format("{:.0f}", summarize(of).median);
        };
        text.add_row({std::string{r.how->name}, std::to_string(r.producers), millions(rate.median),
                      millions(rate.min), millions(rate.max),
                      best == nullptr ? "" : fmt::format("{:.2f}", rate_ratio(r, *best).median),
                      median(r.measured.cpu_ns), median(r.measured.user_ns),
                      median(r.measured.system_ns),
                      fmt::format("{:.1f}", summarize(r.measured.peak_kib).median / 1024)});
    }
    text.print(stdout);
}

void print_verdicts(const std::vector<verdict>& verdicts) {
    if (verdicts.empty()) {
        fmt::print("\nNo marks to compare: there are no sapwood rows with 1 and 10000 "
                   "producers.\n");
        return;
    }
    fmt::print("\n");
    table text{{{"sapwood", align::left}, {"median"}, {"mark"}, {"", align::left}}};
    for (const verdict& v : verdicts) {
        text.add_row({v.claim, fmt::format("{:.2f}", v.value), fmt::format("{}", v.mark),
                      judged(v.reached)});
    }
    text.print(stdout);
}

std::string_view kind_name(writer_kind kind) {
    constexpr std::string_view names[] = {"sapwood", "threads", "limit"};
    return names[static_cast<std::size_t>(kind)];
}

void write_json(const options& chosen, const facts& machine, const std::vector<row>& rows,
                const std::vector<verdict>& verdicts) {
    json_writer out;
    out.begin_object()
        .member("bench", "writers")
        .member("unit", "records/s, ns/record, KiB")
        .member("rounds", std::uint64_t{chosen.rounds})
        .member("records", chosen.records)
        .key("machine");
    write_facts(out, machine);
    const row* const best = best_threaded(rows);
    out.key("rows").begin_array();
    for (const row& r : rows) {
        out.begin_object()
            .member("writer", r.how->name)
            .member("kind", kind_name(r.how->kind))
            .member("producers", r.producers)
            .member("records_per_second", summarize(r.measured.records_per_second))
            .member("cpu_ns", summarize(r.measured.cpu_ns))
            .member("user_ns", summarize(r.measured.user_ns))
            .member("system_ns", summarize(r.measured.system_ns))
            .member("peak_kib", summarize(r.measured.peak_kib));
        if (best != nullptr) {
            out.member("times_best_threaded", rate_ratio(r, *best));
        }
        out.end_object();
    }
    out.end_array().key("verdicts").begin_array();
    for (const verdict& v : verdicts) {
        out.begin_object()
            .member("name", v.name)
            .member("claim", v.claim)
            .member("value", v.value)
            .member("mark", v.mark)
            .end_object();
    }
    out.end_array().key("marks").begin_object();
    out.member("times_best_threaded", times_best_threaded_mark).member("cpu_ns", cpu_ns_mark);
    out.end_object().end_object().write_file(chosen.json);
}

void run(const options& chosen) {
    const interrupts signals;
    facts machine = machine_facts();
    machine.emplace_back("fmt", fmt::format("{}.{}.{}", FMT_VERSION / 10000,
                                            FMT_VERSION / 100 % 100, FMT_VERSION % 100));
    machine.emplace_back(
        "spdlog", fmt::format("{}.{}.{}", SPDLOG_VER_MAJOR, SPDLOG_VER_MINOR, SPDLOG_VER_PATCH));
    const std::string file_system = file_system_of(chosen.directory);
    machine.emplace_back("file system", file_system);

    fmt::print("bench_writers: {} records of many producers into one file, median of {} rounds\n\n",
               chosen.records, chosen.rounds);
    print_facts(machine);
    if (file_system == "tmpfs") {
        fmt::print("\n{} is in memory: choose a directory on a disk with --dir.\n",
                   chosen.directory);
    }
    fmt::print("\n");
    std::fflush(stdout);

    std::vector<row> rows = make_rows(chosen);
    std::vector<std::string> names;
    for (const row& r : rows) {
        names.push_back(fmt::format("{}, {} producers", r.how->name, r.producers));
    }
    run_interleaved(chosen.rounds, names,
                    [&](std::size_t i) { run_writer(rows[i], chosen, signals); });

    const std::vector<verdict> verdicts = judge(rows);
    print_rows(rows);
    print_verdicts(verdicts);
    if (!chosen.json.empty()) {
        write_json(chosen, machine, rows, verdicts);
    }
}

std::vector<std::string> writer_names() {
    std::vector<std::string> names;
    for (const writer& how : all_writers()) {
        names.emplace_back(how.name);
    }
    return names;
}

} // namespace

int main(int argc, char** argv) {
    options chosen;
    chosen.directory = program_directory();
    CLI::App app{"Measures how fast many producers get their records into one file, by sapwood, "
                 "threads and spdlog."};
    app.add_option("--rounds", chosen.rounds, "Runs of every row")
        ->check(CLI::Range(1U, 1000U))
        ->capture_default_str();
    app.add_option("--records", chosen.records, "Records of all producers together")
        ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{1'000'000'000}))
        ->capture_default_str();
    app.add_option("--dir", chosen.directory, "Where the files are written, and removed again")
        ->check(CLI::ExistingDirectory)
        ->capture_default_str();
    app.add_option("--writer", chosen.only, "Measure this writer only")
        ->check(CLI::IsMember(writer_names()));
    app.add_option("--json", chosen.json, "Write the rows to this file, too");
    // For the processes this program starts, and not shown.
    app.add_option("--child", chosen.child)->group("");
    app.add_option("--producers", chosen.job.producers)->group("");
    app.add_option("--path", chosen.job.path)->group("");
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : 2;
    }
    try {
        if (chosen.child.empty()) {
            run(chosen);
        } else {
            chosen.job.records = chosen.records;
            run_child_writer(chosen);
        }
    } catch (const bench::interrupted&) {
        return 130;
    } catch (const std::exception& error) {
        fmt::print(stderr, "bench_writers: {}\n", error.what());
        return 1;
    }
    return 0;
}
