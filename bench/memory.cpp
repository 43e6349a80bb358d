// Question: what do idle connections and sleeping tasks cost?
// Method: *Idle*: a server in a process of its own gets --connections connections; over each one
//     message is answered, which is checked, then all are left alone. Its private memory then,
//     less that of the server without a connection, by the number of them. Each connection's
//     handler waits with a buffer of 512 bytes of its own where it has one. The kernel's memory is
//     not counted. *Sleepers*: a process of its own spawns --tasks tasks, all of which are asleep
//     at once, and joins them, twice; see memory_case.hpp. Python does it with a tenth of them. The
//     row is the median of the rounds.
// Unit: bytes per connection; bytes per task, and nanoseconds of CPU time per task to spawn, put to
//     sleep, wake and join, the first time (which has to get the memory) and the second time.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "echo_load.hpp"
#include "harness/child.hpp"
#include "harness/json.hpp"
#include "harness/judged.hpp"
#include "harness/machine.hpp"
#include "harness/rounds.hpp"
#include "harness/server_process.hpp"
#include "harness/summary.hpp"
#include "harness/table.hpp"
#include "memory_case.hpp"

namespace {

using namespace bench;
using std::chrono::milliseconds;

constexpr double idle_bytes_mark = 2048;
constexpr double sleeper_bytes_mark = 400;
constexpr double sleeper_ns_mark = 250; // The second time.
constexpr milliseconds sleep_duration{4000};

struct options {
    unsigned rounds = 3;
    std::size_t connections = 10'000;
    std::uint64_t tasks = 1'000'000;
    bool without_asyncio = false;
    std::string json;
    std::string child; // Set in the processes this program starts: the library.
};

struct row {
    std::string what; // "idle connection" or "sleeping task"
    std::string library;
    std::vector<std::string> command{};
    std::uint64_t count = 0;
    std::vector<double> bytes{};
    std::vector<double> first_ns{}; // Empty for connections.
    std::vector<double> second_ns{};
};

constexpr std::string_view idle = "idle connection";
constexpr std::string_view sleeping = "sleeping task";

double each(double all, std::uint64_t count) {
    return all / static_cast<double>(count);
}

void measure_idle(row& measured) {
    server_process server{{.arguments = measured.command, .environment = {}, .cpu = -1}};
    const std::uint64_t before = server.private_bytes();
    echo_load load{server.port(), measured.count, 64};
    histogram unused;
    load.run(milliseconds{0}, unused);
    load.finish();
    if (load.answers() != measured.count) {
        throw std::runtime_error(
            fmt::format("{} of {} connections were answered", load.answers(), measured.count));
    }
    const auto grown = static_cast<double>(server.private_bytes()) - static_cast<double>(before);
    measured.bytes.push_back(each(grown, measured.count));
}

void measure_sleepers(row& measured, const interrupts& signals) {
    const child_result child = run_child(measured.command, signals);
    sleepers_costs costs;
    std::int64_t first_ns = 0;
    std::int64_t second_ns = 0;
    std::istringstream output{child.output};
    if (!(output >> costs.first.bytes >> first_ns >> costs.second.bytes >> second_ns)) {
        throw std::runtime_error("the sleepers' process printed something else: " + child.output);
    }
    measured.bytes.push_back(each(static_cast<double>(costs.first.bytes), measured.count));
    measured.first_ns.push_back(each(static_cast<double>(first_ns), measured.count));
    measured.second_ns.push_back(each(static_cast<double>(second_ns), measured.count));
}

// In the process that sleeps: prints what the parent reads in measure_sleepers.
void run_child_sleepers(const options& chosen) {
    const sleepers_job job{.tasks = chosen.tasks, .duration = sleep_duration};
    const sleepers_costs costs =
        chosen.child == "asio" ? measure_asio_sleepers(job) : measure_sapwood_sleepers(job);
    fmt::print("{} {} {} {}\n", costs.first.bytes, costs.first.cpu.count(), costs.second.bytes,
               costs.second.cpu.count());
}

std::vector<row> make_rows(const options& chosen) {
    const std::string directory = program_directory();
    std::vector<row> rows;
    const auto add_idle = [&](std::string library, const char* program, const char* server) {
        rows.push_back({.what = std::string{idle},
                        .library = std::move(library),
                        .command = {directory + '/' + program, server, "--buffer", "512"},
                        .count = chosen.connections});
    };
    add_idle("sapwood", "bench_echo_server", "sapwood");
    add_idle("asio", "bench_echo_server", "asio");
    add_idle("asio, io_uring", "bench_echo_server_asio_uring", "asio_uring");
    add_idle("epoll", "bench_echo_server", "epoll");
    add_idle("liburing", "bench_echo_server", "liburing");
    for (const std::string library : {"sapwood", "asio"}) {
        rows.push_back({.what = std::string{sleeping},
                        .library = library,
                        .command = {"/proc/self/exe", "--child", library, "--tasks",
                                    std::to_string(chosen.tasks)},
                        .count = chosen.tasks});
    }
    if (!chosen.without_asyncio) {
        const std::uint64_t tasks = std::max<std::uint64_t>(chosen.tasks / 10, 1);
        rows.push_back(
            {.what = std::string{sleeping},
             .library = "asyncio",
             .command = {"python3", directory + "/memory_asyncio.py", std::to_string(tasks),
                         std::to_string(sleep_duration.count() / 1000)},
             .count = tasks});
    }
    return rows;
}

struct verdict {
    std::string claim;
    double value;
    double mark;

    [[nodiscard]] bool reached() const { return value <= mark; }
};

std::vector<verdict> judge(const std::vector<row>& rows) {
    std::vector<verdict> verdicts;
    for (const row& ours : rows) {
        if (ours.library != "sapwood") {
            continue;
        }
        const bool is_idle = ours.what == idle;
        verdicts.push_back({fmt::format("bytes per {}", ours.what), summarize(ours.bytes).median,
                            is_idle ? idle_bytes_mark : sleeper_bytes_mark});
        if (!is_idle) {
            verdicts.push_back({"ns to spawn, sleep, wake and join, the second time",
                                summarize(ours.second_ns).median, sleeper_ns_mark});
        }
    }
    return verdicts;
}

void print_rows(const std::vector<row>& rows) {
    table text{{{"what", align::left},
                {"library", align::left},
                {"how many"},
                {"bytes each"},
                {"min"},
                {"max"},
                {"CPU ns each, first"},
                {"second"}}};
    std::string previous;
    for (const row& measured : rows) {
        if (!previous.empty() && previous != measured.what) {
            text.add_gap();
        }
        previous = measured.what;
        const auto rounded = [](double value) { return fmt::format("{:.0f}", value); };
        const auto median = [&](const std::vector<double>& of) {
            return of.empty() ? std::string{} : rounded(summarize(of).median);
        };
        const summary bytes = summarize(measured.bytes);
        text.add_row({measured.what, measured.library, std::to_string(measured.count),
                      rounded(bytes.median), rounded(bytes.min), rounded(bytes.max),
                      median(measured.first_ns), median(measured.second_ns)});
    }
    text.print(stdout);
}

void print_verdicts(const std::vector<verdict>& verdicts) {
    fmt::print("\n");
    table text{{{"sapwood", align::left}, {"median"}, {"mark"}, {"", align::left}}};
    for (const verdict& v : verdicts) {
        text.add_row({v.claim, fmt::format("{:.0f}", v.value), fmt::format("{:.0f}", v.mark),
                      judged(v.reached())});
    }
    text.print(stdout);
}

void write_json(const options& chosen, const facts& machine, const std::vector<row>& rows,
                const std::vector<verdict>& verdicts) {
    json_writer out;
    out.begin_object()
        .member("bench", "memory")
        .member("unit", "bytes, ns")
        .member("rounds", std::uint64_t{chosen.rounds})
        .key("machine");
    write_facts(out, machine);
    out.key("rows").begin_array();
    for (const row& measured : rows) {
        out.begin_object()
            .member("what", measured.what)
            .member("library", measured.library)
            .member("count", measured.count)
            .member("bytes", summarize(measured.bytes));
        if (!measured.first_ns.empty()) {
            out.member("first_ns", summarize(measured.first_ns))
                .member("second_ns", summarize(measured.second_ns));
        }
        out.end_object();
    }
    out.end_array().key("verdicts").begin_array();
    for (const verdict& v : verdicts) {
        out.begin_object()
            .member("claim", v.claim)
            .member("value", v.value)
            .member("mark", v.mark)
            .end_object();
    }
    out.end_array().end_object().write_file(chosen.json);
}

void run(const options& chosen) {
    const interrupts signals;
    const facts machine = machine_facts();
    fmt::print("bench_memory: what idle connections and sleeping tasks cost, median of {} "
               "rounds\n\n",
               chosen.rounds);
    print_facts(machine);
    fmt::print("\n");
    std::fflush(stdout);
    allow_descriptors(chosen.connections + 100);

    std::vector<row> rows = make_rows(chosen);
    std::vector<std::string> names;
    for (const row& planned : rows) {
        names.push_back(fmt::format("{}, {}", planned.what, planned.library));
    }
    run_interleaved(chosen.rounds, names, [&](std::size_t i) {
        signals.check();
        if (rows[i].what == idle) {
            measure_idle(rows[i]);
        } else {
            measure_sleepers(rows[i], signals);
        }
    });

    const std::vector<verdict> verdicts = judge(rows);
    print_rows(rows);
    print_verdicts(verdicts);
    if (!chosen.json.empty()) {
        write_json(chosen, machine, rows, verdicts);
    }
}

} // namespace

int main(int argc, char** argv) {
    options chosen;
    CLI::App app{"Measures what idle connections and sleeping tasks cost."};
    app.add_option("--rounds", chosen.rounds, "Runs of every row")
        ->check(CLI::Range(1U, 1000U))
        ->capture_default_str();
    app.add_option("--connections", chosen.connections, "Idle at once")
        ->check(CLI::Range(1U, 25'000U))
        ->capture_default_str();
    app.add_option("--tasks", chosen.tasks, "Asleep at once")
        ->check(CLI::Range(1U, 100'000'000U))
        ->capture_default_str();
    app.add_flag("--without-asyncio", chosen.without_asyncio, "Leave Python out");
    app.add_option("--json", chosen.json, "Write the rows to this file, too");
    // For the processes this program starts, and not shown.
    app.add_option("--child", chosen.child)->group("");
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : 2;
    }
    try {
        if (chosen.child.empty()) {
            run(chosen);
        } else {
            run_child_sleepers(chosen);
        }
    } catch (const bench::interrupted&) {
        return 130;
    } catch (const std::exception& error) {
        fmt::print(stderr, "bench_memory: {}\n", error.what());
        return 1;
    }
    return 0;
}
