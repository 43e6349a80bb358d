// Question: what does one core of `sapwood serve` take, and what does a connection cost?
// Method: the daemon runs on a CPU of its own, this process loads it from another, with records of
//     130 bytes. Each row has a daemon and a log of its own; the median of the rounds counts.
//     After each run the daemon is told to end, and the log is read: every record that was
//     acknowledged has to be there, and each once.
// Unit: records per second that were acknowledged; milliseconds from before a request is sent until
//     its answer is there; nanoseconds of CPU time of the daemon per record; bytes of its private
//     memory, without what the kernel has for a connection.
// Longer runs: --overload 60000 --churn 3600000, a minute of the one and an hour of the other.
// The marks are for a machine that does nothing else, with one CPU for each of the two.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <functional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "collector_load.hpp"
#include "harness/child.hpp"
#include "harness/json.hpp"
#include "harness/machine.hpp"
#include "harness/rounds.hpp"
#include "harness/scratch_directory.hpp"
#include "harness/server_process.hpp"
#include "harness/table.hpp"

namespace {

using namespace bench;
using std::chrono::milliseconds;

struct options {
    unsigned rounds = 3;
    unsigned sample_ms = 3000;
    unsigned overload_ms = 5000;
    unsigned churn_ms = 5000;
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

/// A daemon with a log, until it is told to end.
class daemon_under_test {
  public:
    daemon_under_test(const options& chosen, int cpu, const std::string& durability,
                      const std::string& preallocated_bytes = "0")
        : folder_{chosen.directory, "bench_collector"},
          lines_at_{folder_.file() + ".sock"},
          server_{
              {.arguments = {program_directory() + "/../tools/sapwood", "serve", "--log",
                             folder_.file(), "--http", "127.0.0.1:0", "--unix", lines_at_,
                             "--durability", durability, "--preallocate-bytes", preallocated_bytes,
                             // All of them are one peer's.
                             "--limit", "connections_per_peer=100000"},
               .environment = {},
               .cpu = cpu}} {
        // The first of its lines names the port.
    }

    [[nodiscard]] const server_process& server() const { return server_; }

    [[nodiscard]] const std::string& lines_at() const { return lines_at_; }

    /// Ends it, and reads its log: every record once.
    [[nodiscard]] record_numbers logged() {
        (void)server_.stop();
        record_numbers found;
        std::ifstream log{folder_.file()};
        for (std::string line; std::getline(log, line);) {
            const std::uint64_t number = number_in(line);
            if (found.has(number)) {
                throw std::runtime_error(fmt::format("record {} is in the log twice", number));
            }
            found.add(number);
        }
        return found;
    }

    /// The same, and every one of `wanted` has to be there.
    void verify(const record_numbers& wanted, std::uint64_t up_to) {
        const record_numbers found = logged();
        for (std::uint64_t number = 0; number < up_to; ++number) {
            if (wanted.has(number) && !found.has(number)) {
                throw std::runtime_error(
                    fmt::format("record {} was acknowledged, and is not in the log", number));
            }
        }
    }

  private:
    scratch_directory folder_;
    std::string lines_at_;
    server_process server_;
};

double per_second(std::uint64_t count, std::chrono::nanoseconds time) {
    return static_cast<double>(count) * 1e9 / static_cast<double>(time.count());
}

double ms_of(const histogram& latencies, double share) {
    return static_cast<double>(latencies.percentile(share)) / 1e6;
}

std::size_t descriptors_of(const server_process& server) {
    const std::filesystem::directory_iterator all{fmt::format("/proc/{}/fd", server.pid())};
    return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

/// What a closed load gets; figures are records per second, p99, CPU.
void measure_posts(row& into, const options& chosen, int cpu, const std::string& durability,
                   const std::string& preallocated_bytes, const http_load_shape& shape) {
    daemon_under_test served{chosen, cpu, durability, preallocated_bytes};
    http_load load{served.server().port(), shape};
    histogram latencies;
    (void)load.run(milliseconds{chosen.sample_ms / 5}, latencies);
    latencies.clear();
    const auto begin = std::chrono::steady_clock::now();
    const auto cpu_before = served.server().cpu_time();
    const http_counts counts = load.run(milliseconds{chosen.sample_ms}, latencies);
    const auto cpu_time = served.server().cpu_time() - cpu_before;
    const auto took = std::chrono::steady_clock::now() - begin;
    const std::uint64_t records = counts.acknowledged * shape.records;
    into.note(0, per_second(records, took));
    into.note(1, ms_of(latencies, 0.99));
    into.note(2, static_cast<double>(cpu_time.count()) / static_cast<double>(records));
    served.verify(load.acknowledged(), load.given());
}

void measure_lines(row& into, const options& chosen, int cpu) {
    daemon_under_test served{chosen, cpu, "1"};
    const auto cpu_before = served.server().cpu_time();
    const line_counts sent = write_lines(served.lines_at(), 4, milliseconds{chosen.sample_ms});
    const auto cpu_time = served.server().cpu_time() - cpu_before;
    into.note(0, per_second(sent.lines, sent.took));
    into.note(1, static_cast<double>(cpu_time.count()) / static_cast<double>(sent.lines));
    if (const auto found = served.logged().count(); found != sent.lines) {
        throw std::runtime_error(
            fmt::format("{} lines were sent, and {} are in the log", sent.lines, found));
    }
}

void measure_idle(row& into, const options& chosen, int cpu) {
    daemon_under_test served{chosen, cpu, "1"};
    const std::uint16_t port = served.server().port();
    histogram latencies;
    {
        http_load warm{port, {.connections = 100, .target = "/log?ack=written"}};
        (void)warm.run(milliseconds{100}, latencies);
    }
    std::this_thread::sleep_for(milliseconds{100}); // the daemon sees them go
    const std::uint64_t before = served.server().private_bytes();
    const std::vector<int> silent = connect_silent(port, chosen.idle);
    http_load load{port, {.connections = 100, .target = "/log?ack=written"}};
    (void)load.run(milliseconds{100}, latencies); // so that all have been let in
    const auto more =
        static_cast<double>(served.server().private_bytes()) - static_cast<double>(before);
    latencies.clear();
    (void)load.run(milliseconds{chosen.sample_ms}, latencies);
    into.note(0, more / static_cast<double>(chosen.idle));
    into.note(1, ms_of(latencies, 0.99));
    std::ranges::for_each(silent, ::close);
}

/// A closed load tells what it can take; then comes twice as much, whether it is answered or not.
void measure_overload(row& into, const options& chosen, int cpu) {
    daemon_under_test served{chosen, cpu, "1"};
    const std::uint16_t port = served.server().port();
    histogram latencies;
    double peak = 0;
    http_load_shape shape{.target = "/log?ack=written"};
    {
        http_load closed{port, shape};
        const auto begin = std::chrono::steady_clock::now();
        const auto counts = closed.run(milliseconds{chosen.sample_ms}, latencies);
        peak = per_second(counts.acknowledged, std::chrono::steady_clock::now() - begin);
    }
    shape.rate = 2 * peak;
    http_load open{port, shape};
    (void)open.run(milliseconds{chosen.overload_ms / 2}, latencies);
    const auto memory = static_cast<double>(served.server().private_bytes());
    latencies.clear();
    const auto begin = std::chrono::steady_clock::now();
    const http_counts counts = open.run(milliseconds{chosen.overload_ms / 2}, latencies);
    const auto took = std::chrono::steady_clock::now() - begin;
    into.note(0, 100 * per_second(counts.acknowledged, took) / peak);
    into.note(1, 100 * static_cast<double>(counts.refused) / static_cast<double>(counts.sent));
    into.note(2, 100 * static_cast<double>(counts.skipped) /
                     static_cast<double>(counts.sent + counts.skipped));
    into.note(3, ms_of(latencies, 0.99));
    into.note(4, (static_cast<double>(served.server().private_bytes()) - memory) / (1 << 20));
}

void measure_churn(row& into, const options& chosen, int cpu) {
    daemon_under_test served{chosen, cpu, "1"};
    const std::uint16_t port = served.server().port();
    const milliseconds half{chosen.churn_ms / 2};
    (void)come_and_go(port, half);
    const auto descriptors = static_cast<double>(descriptors_of(served.server()));
    const auto memory = static_cast<double>(served.server().private_bytes());
    const auto count = come_and_go(port, half);
    std::this_thread::sleep_for(milliseconds{100}); // the daemon sees the last one go
    into.note(0, per_second(count, half));
    into.note(1, static_cast<double>(descriptors_of(served.server())) - descriptors);
    into.note(2, (static_cast<double>(served.server().private_bytes()) - memory) / (1 << 20));
}

std::vector<row> make_rows(const options& chosen, int cpu) {
    const auto posts = [&, cpu](const char* name, double mark, std::string durability,
                                http_load_shape shape, std::string preallocated_bytes = "0") {
        return row{name,
                   {{"records/s", {}, mark}, {"p99 ms", {}}, {"CPU ns/record", {}}},
                   [=, &chosen](row& into) {
                       measure_posts(into, chosen, cpu, durability, preallocated_bytes, shape);
                   }};
    };
    const auto with = [&, cpu](auto* measure) {
        return [=, &chosen](row& into) { measure(into, chosen, cpu); };
    };
    return {
        posts("written: a record a request", 140e3, "1", {.target = "/log?ack=written"}),
        posts("durable: a record a request", 0.8 * 140e3, "batch", {}),
        posts("durable: the same, preallocated", 0.8 * 140e3, "batch", {}, "1048576"),
        posts("ndjson: 100 records a request", 2.5e6, "1",
              {.records = 100, .target = "/log?ack=written"}),
        {"lines: 4 Unix streams",
         {{"records/s", {}, 5e6}, {"CPU ns/record", {}}},
         with(measure_lines)},
        {fmt::format("idle: {} connections, 100 active", chosen.idle),
         {{"bytes each", {}, 4096, true}, {"p99 ms of the active", {}, 2, true}},
         with(measure_idle)},
        {"overload: twice what it can take",
         {{"% of its peak", {}, 90},
          {"% told to come again", {}},
          {"% its backlog held back", {}},
          {"p99 ms", {}},
          {"MiB more in its second half", {}, 4, true}},
         with(measure_overload)},
        {"coming and going",
         {{"connections/s", {}},
          {"descriptors more in its second half", {}, 0.5, true},
          {"MiB more in its second half", {}, 1, true}},
         with(measure_churn)},
    };
}

std::string shown(double value) {
    return fmt::format("{:.{}f}", value, value >= 100 ? 0 : value >= 10 ? 1 : 2);
}

void print_rows(const std::vector<row>& rows) {
    table text{{{"load", align::left},
                {"figure", align::left},
                {"median"},
                {"min"},
                {"max"},
                {"mark"},
                {"", align::left}}};
    for (const row& each : rows) {
        bool is_first = true;
        for (const figure& one : each.figures) {
            const summary all = summarize(one.samples);
            text.add_row({is_first ? each.name : "", one.name, shown(all.median), shown(all.min),
                          shown(all.max),
                          one.mark == 0
                              ? ""
                              : fmt::format("{} {}", one.is_at_most ? "<=" : ">=", shown(one.mark)),
                          one.mark == 0   ? ""
                          : one.reached() ? "reached"
                                          : "missed"});
            is_first = false;
        }
    }
    text.print(stdout);
}

void write_json(const options& chosen, const facts& machine, const std::vector<row>& rows) {
    json_writer out;
    out.begin_object()
        .member("bench", "collector")
        .member("unit", "as named")
        .member("rounds", std::uint64_t{chosen.rounds})
        .key("machine");
    write_facts(out, machine);
    out.key("rows").begin_array();
    for (const row& each : rows) {
        for (const figure& one : each.figures) {
            out.begin_object()
                .member("load", each.name)
                .member("figure", one.name)
                .member("value", summarize(one.samples));
            if (one.mark != 0) {
                out.member("mark", one.mark)
                    .member("limit", one.is_at_most ? "at most" : "at least");
            }
            out.end_object();
        }
    }
    out.end_array().end_object().write_file(chosen.json);
}

/// What is durable is held against what is only written, where that was measured as well.
void set_durable_marks(std::vector<row>& rows) {
    const auto named = [](std::string_view begin) {
        return [begin](const row& each) { return each.name.starts_with(begin); };
    };
    const auto written = std::ranges::find_if(rows, named("written"));
    if (written == rows.end()) {
        return;
    }
    const double mark = 0.8 * summarize(written->figures.front().samples).median;
    for (row& each : rows) {
        if (named("durable")(each)) {
            each.figures.front().mark = mark;
        }
    }
}

void run(const options& chosen) {
    const interrupts signals;
    facts machine = machine_facts();
    machine.emplace_back("file system", file_system_of(chosen.directory));
    fmt::print("bench_collector: what sapwood serve takes on one core, median of {} rounds\n\n",
               chosen.rounds);
    print_facts(machine);
    const auto [server_cpu, load_cpu] = two_cpus();
    if (server_cpu == load_cpu) {
        fmt::print("\nThere is one CPU only, for the daemon and for who loads it.\n");
    }
    run_on_cpu(load_cpu);
    allow_descriptors(chosen.idle + 300);
    fmt::print("\n");
    std::fflush(stdout);

    std::vector<row> rows = make_rows(chosen, server_cpu);
    std::erase_if(rows, [&](const row& each) {
        return !chosen.only.empty() && std::ranges::none_of(chosen.only, [&](const auto& wanted) {
            return each.name.starts_with(wanted);
        });
    });
    std::vector<std::string> names;
    for (const row& each : rows) {
        names.push_back(each.name);
    }
    run_interleaved(chosen.rounds, names, [&](std::size_t i) {
        signals.check();
        try {
            rows[i].measure(rows[i]);
        } catch (const std::exception& failure) {
            signals.check(); // The terminal sends Ctrl-C to both: it was no failure of the daemon.
            throw std::runtime_error(names[i] + ": " + failure.what());
        }
    });
    set_durable_marks(rows);
    print_rows(rows);
    if (!chosen.json.empty()) {
        write_json(chosen, machine, rows);
    }
}

} // namespace

int main(int argc, char** argv) {
    options chosen;
    chosen.directory = program_directory();
    CLI::App app{"Measures what sapwood serve takes: requests, lines, connections."};
    app.add_option("--rounds", chosen.rounds, "Runs of every row")
        ->check(CLI::Range(1U, 1000U))
        ->capture_default_str();
    app.add_option("--sample", chosen.sample_ms, "Milliseconds that are measured")
        ->check(CLI::Range(10U, 600'000U))
        ->capture_default_str();
    app.add_option("--overload", chosen.overload_ms, "Milliseconds of twice the load it can take")
        ->check(CLI::Range(10U, 3'600'000U))
        ->capture_default_str();
    app.add_option("--churn", chosen.churn_ms, "Milliseconds of connections that come and go")
        ->check(CLI::Range(10U, 3'600'000U))
        ->capture_default_str();
    app.add_option("--idle", chosen.idle, "Connections that say nothing")
        ->check(CLI::Range(1U, 9'900U))
        ->capture_default_str();
    app.add_option("--dir", chosen.directory, "Where the logs are written, and removed again")
        ->capture_default_str();
    app.add_option("--row", chosen.only, "Only rows whose names begin so");
    app.add_option("--json", chosen.json, "Write the figures to this file, too");
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : 2;
    }
    try {
        run(chosen);
    } catch (const interrupted&) {
        return 130;
    } catch (const std::exception& failure) {
        fmt::print(stderr, "bench_collector: {}\n", failure.what());
        return 1;
    }
    return 0;
}
