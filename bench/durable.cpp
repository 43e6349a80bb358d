// Question: how many records a second can be made durable, when every producer waits for its own
//     record to be on disk before it writes the next?
// Method: every row runs for a time once per round, in a process of its own; the row is the median
//     of the rounds. The floor is one thread with write and fdatasync; the direct floor writes
//     blocks past the page cache over zeros. Afterwards the file is checked: every record that was
//     acknowledged is in it once, each producer's in order.
// Unit: acknowledged records per second of wall time; nanoseconds of CPU time (all threads of the
//     process, and the kernel's for it) per record.

#include <algorithm>
#include <cstdio>
#include <exception>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "durable_case.hpp"
#include "harness/child.hpp"
#include "harness/json.hpp"
#include "harness/judged.hpp"
#include "harness/machine.hpp"
#include "harness/rounds.hpp"
#include "harness/scratch_directory.hpp"
#include "harness/summary.hpp"
#include "harness/table.hpp"

namespace {

using namespace bench;

struct writer {
    const char* name;
    durable_result (*write)(const durable_job&);
    std::vector<std::uint64_t> producers;
};

const std::vector<writer>& all_writers() {
    static const std::vector<writer> all{
        {"floor", &write_by_floor, {1}},
        {"direct floor", &write_by_direct_floor, {1}},
        {"threads", &write_by_threads, {1, 2, 4, 16, 256, 2000}},
        {"sapwood", &write_by_sapwood, {1, 2, 4, 16, 256, 2000, 10000}},
        {"preallocated", &write_by_preallocated_sapwood, {1, 2, 4, 16, 256, 2000, 10000}},
    };
    return all;
}

struct row {
    const writer* how;
    std::uint64_t producers;
    std::vector<double> rate;
    std::vector<double> cpu_ns;
};

struct options {
    unsigned rounds = 5;
    std::chrono::milliseconds::rep time = 1000;
    std::string directory;
    std::string only;
    std::string json;
    std::string child;
    durable_job job;
};

constexpr double rate_mark = 2e6;  // with 10,000 producers
constexpr double floor_mark = 0.9; // of the floor, with one

// Throws where a record that was acknowledged is not there, is there twice, or is out of order.
void verify(const durable_job& job, const std::vector<std::uint64_t>& acknowledged) {
    std::ifstream file{job.path};
    std::vector<std::uint64_t> next(job.producers);
    std::uint64_t number = 0;
    for (std::string line; std::getline(file, line);) {
        ++number;
        const auto at = line.find(" info producer ");
        unsigned long long producer = 0;
        unsigned long long record = 0;
        if (at == line.npos ||
            std::sscanf(line.c_str() + at, " info producer %llu record %llu has", &producer,
                        &record) != 2 ||
            producer >= job.producers || next[producer] != record) {
            throw std::runtime_error(fmt::format("line {} is wrong: {}", number, line));
        }
        ++next[producer];
    }
    for (std::uint64_t i = 0; i < job.producers; ++i) {
        if (next[i] < acknowledged[i]) {
            throw std::runtime_error(
                fmt::format("producer {}: {} records were acknowledged and {} are there", i,
                            acknowledged[i], next[i]));
        }
    }
}

const writer& find_writer(const std::string& name) {
    const auto found = std::ranges::find(all_writers(), name, &writer::name);
    if (found == all_writers().end()) {
        throw std::runtime_error("there is no writer named " + name);
    }
    return *found;
}

// In the process that writes.
void run_child_writer(const options& chosen) {
    const durable_result result = find_writer(chosen.child).write(chosen.job);
    fmt::print("{}", result.wall.count());
    for (const std::uint64_t count : result.acknowledged) {
        fmt::print(" {}", count);
    }
    fmt::print("\n");
}

void run_writer(row& planned, const options& chosen, const interrupts& signals) {
    const scratch_directory folder{chosen.directory, "bench_durable"};
    const durable_job job{.path = folder.file(),
                          .producers = planned.producers,
                          .time = std::chrono::milliseconds{chosen.time}};
    const child_result child = run_child({"/proc/self/exe", "--child", planned.how->name,
                                          "--producers", std::to_string(job.producers), "--time",
                                          std::to_string(chosen.time), "--path", job.path},
                                         signals);
    std::istringstream output{child.output};
    std::int64_t wall_ns = 0;
    output >> wall_ns;
    std::vector<std::uint64_t> acknowledged;
    std::uint64_t records = 0;
    for (std::uint64_t count = 0; output >> count;) {
        acknowledged.push_back(count);
        records += count;
    }
    if (wall_ns == 0 || acknowledged.size() != job.producers) {
        throw std::runtime_error("a writer printed something else: " + child.output);
    }
    verify(job, acknowledged);
    planned.rate.push_back(static_cast<double>(records) * 1e9 / static_cast<double>(wall_ns));
    planned.cpu_ns.push_back(static_cast<double>((child.user + child.system).count()) * 1e3 /
                             static_cast<double>(records));
}

double rate_of(const std::vector<row>& rows, std::string_view name, std::uint64_t producers) {
    for (const row& r : rows) {
        if (r.how->name == name && r.producers == producers) {
            return summarize(r.rate).median;
        }
    }
    return 0;
}

struct verdict {
    std::string name;
    std::string claim;
    double value;
    double mark;
};

std::vector<verdict> judge(const std::vector<row>& rows) {
    std::vector<verdict> verdicts;
    const double floor = rate_of(rows, "floor", 1);
    for (const std::string_view how : {"sapwood", "preallocated"}) {
        if (const double one = rate_of(rows, how, 1); floor > 0 && one > 0) {
            verdicts.push_back({fmt::format("{}_one_of_floor", how),
                                fmt::format("1 producer, {}, of the floor's rate", how),
                                one / floor, floor_mark});
        }
    }
    if (const double many = rate_of(rows, "sapwood", 10000); many > 0) {
        verdicts.push_back(
            {"rate_10000", "10000 producers, M records/s", many / 1e6, rate_mark / 1e6});
    }
    for (const std::string_view how : {"sapwood", "preallocated"}) {
        for (const std::uint64_t producers : {1U, 2U, 4U, 16U, 256U, 2000U}) {
            const double threads = rate_of(rows, "threads", producers);
            const double ours = rate_of(rows, how, producers);
            if (threads > 0 && ours > 0) {
                verdicts.push_back(
                    {fmt::format("{}_of_threads_{}", how, producers),
                     fmt::format("{} producers, {}, of the threads' rate", producers, how),
                     ours / threads, 1});
            }
        }
    }
    return verdicts;
}

void print_rows(const std::vector<row>& rows) {
    table text{{{"writer", align::left},
                {"producers"},
                {"durable records/s"},
                {"min"},
                {"max"},
                {"CPU ns/record"}}};
    const writer* previous = nullptr;
    for (const row& r : rows) {
        if (previous != nullptr && previous != r.how) {
            text.add_gap();
        }
        previous = r.how;
        const auto rate = summarize(r.rate);
        text.add_row({r.how->name, std::to_string(r.producers), fmt::format("{:.0f}", rate.median),
                      fmt::format("{:.0f}", rate.min), fmt::format("{:.0f}", rate.max),
                      fmt::format("{:.0f}", summarize(r.cpu_ns).median)});
    }
    text.print(stdout);
    fmt::print("\n");
    const auto verdicts = judge(rows);
    if (verdicts.empty()) {
        return;
    }
    table marks{{{"sapwood", align::left}, {"median"}, {"mark"}, {"", align::left}}};
    for (const verdict& v : verdicts) {
        marks.add_row({v.claim, fmt::format("{:.2f}", v.value), fmt::format("{}", v.mark),
                       judged(v.value >= v.mark)});
    }
    marks.print(stdout);
}

void write_json(const options& chosen, const facts& machine, const std::vector<row>& rows) {
    json_writer out;
    out.begin_object()
        .member("bench", "durable")
        .member("unit", "records/s, ns/record")
        .member("rounds", std::uint64_t{chosen.rounds})
        .key("machine");
    write_facts(out, machine);
    out.key("rows").begin_array();
    for (const row& r : rows) {
        out.begin_object()
            .member("writer", r.how->name)
            .member("producers", r.producers)
            .member("records_per_second", summarize(r.rate))
            .member("cpu_ns", summarize(r.cpu_ns))
            .end_object();
    }
    out.end_array().key("verdicts").begin_array();
    for (const verdict& v : judge(rows)) {
        out.begin_object()
            .member("name", v.name)
            .member("claim", v.claim)
            .member("value", v.value)
            .member("mark", v.mark)
            .end_object();
    }
    out.end_array().end_object().write_file(chosen.json);
}

void run(const options& chosen) {
    const interrupts signals;
    facts machine = machine_facts();
    const std::string file_system = file_system_of(chosen.directory);
    machine.emplace_back("file system", file_system);
    fmt::print(
        "bench_durable: records of about 100 bytes, each awaited until it is durable, median "
        "of {} rounds of {} ms\n\n",
        chosen.rounds, chosen.time);
    print_facts(machine);
    if (file_system == "tmpfs") {
        fmt::print("\n{} is in memory: choose a directory on a disk with --dir.\n",
                   chosen.directory);
    }
    fmt::print("\n");
    std::fflush(stdout);

    std::vector<row> rows;
    std::vector<std::string> names;
    for (const writer& how : all_writers()) {
        if (!chosen.only.empty() && chosen.only != how.name) {
            continue;
        }
        for (const std::uint64_t producers : how.producers) {
            rows.push_back({.how = &how, .producers = producers, .rate = {}, .cpu_ns = {}});
            names.push_back(fmt::format("{}, {} producers", how.name, producers));
        }
    }
    run_interleaved(chosen.rounds, names,
                    [&](std::size_t i) { run_writer(rows[i], chosen, signals); });
    print_rows(rows);
    if (!chosen.json.empty()) {
        write_json(chosen, machine, rows);
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
    CLI::App app{"Measures how many records a second become durable, each awaited by who wrote it, "
                 "by sapwood and by threads that share syncs."};
    app.add_option("--rounds", chosen.rounds, "Runs of every row")
        ->check(CLI::Range(1U, 1000U))
        ->capture_default_str();
    app.add_option("--time", chosen.time, "Milliseconds of each run")
        ->check(CLI::Range(1, 600'000))
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
            chosen.job.time = std::chrono::milliseconds{chosen.time};
            run_child_writer(chosen);
        }
    } catch (const bench::interrupted&) {
        return 130;
    } catch (const std::exception& error) {
        fmt::print(stderr, "bench_durable: {}\n", error.what());
        return 1;
    }
    return 0;
}
