// Question: what does one core of `sapwood serve` take, and what does a connection cost?
// Method: the daemon runs on a CPU of its own, this process loads it from another, with records of
//     130 bytes. Each row has a daemon and a log of its own; the median of the rounds counts.
//     After each run the daemon is told to end, and the log is read: every record that was
//     acknowledged has to be there, and each once.
// Unit: records per second that were acknowledged; milliseconds from before a request is sent until
//     its answer is there; nanoseconds of CPU time of the daemon per record; bytes of its private
//     memory, without what the kernel has for a connection.
// Longer runs: --overload 60000 --churn 3600000, a minute of the one and an hour of the other,
// which
//     --churn-rate 500 leaves time for other work.
// The marks are for a machine that does nothing else, with one CPU for each of the two.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "collector_rows.hpp"
#include "harness/child.hpp"
#include "harness/json.hpp"
#include "harness/judged.hpp"
#include "harness/machine.hpp"
#include "harness/rounds.hpp"
#include "harness/server_process.hpp"
#include "harness/table.hpp"

namespace {

using namespace bench;

std::vector<row> make_rows(const collector_bench& chosen, int cpu, const interrupts& signals) {
    const auto posts = [&, cpu](const char* name, double mark, std::string durability,
                                http_load_shape shape, std::string preallocated_bytes = "0") {
        return row{name,
                   {{"records/s", {}, mark},
                    {"p99 ms", {}},
                    {"CPU ns/record", {}},
                    {"CPU ns/record of the load", {}}},
                   [=, &chosen](row& into) {
                       measure_posts(into, chosen, cpu, durability, preallocated_bytes, shape);
                   }};
    };
    const auto lines = [&, cpu](const char* name, std::string durability) {
        return row{
            name,
            {{"records/s", {}, 5e6}, {"CPU ns/record", {}}, {"CPU ns/record of the load", {}}},
            [=, &chosen](row& into) { measure_lines(into, chosen, cpu, durability); }};
    };
    const auto with = [&, cpu](auto* measure) {
        return [=, &chosen](row& into) { measure(into, chosen, cpu); };
    };
    std::vector<row> rows{
        posts("written: a record a request", 140e3, "1", {.target = "/log?ack=written"}),
        posts("durable: a record a request", 0.8 * 140e3, "batch", {}),
        posts("durable: the same, preallocated", 0.8 * 140e3, "batch", {}, "1048576"),
        posts("ndjson: 100 records a request", 2.5e6, "1",
              {.records = 100, .target = "/log?ack=written"}),
        posts("ndjson: the same, never synced", 2.5e6, "none",
              {.records = 100, .target = "/log?ack=written"}),
        lines("lines: 4 Unix streams", "1"),
        lines("lines: the same, never synced", "none"),
        {fmt::format("idle: {} connections, 100 active", chosen.idle),
         {{"bytes each", {}, 4096, true}, {"p99 ms of the active", {}, 2, true}},
         with(measure_idle)},
        {"overload: twice what it can take",
         {{"records/s, its peak", {}},
          {"% of its peak", {}, 90},
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
    if (has_wrk()) {
        rows.insert(rows.begin() + 1,
                    {"wrk: a record a request, written",
                     {{"records/s", {}, 140e3}, {"p99 ms", {}}, {"CPU ns/record", {}}},
                     [&, cpu](row& into) { measure_wrk(into, chosen, cpu, signals); }});
    } else {
        fmt::print("wrk is not installed: its row is left out.\n\n");
    }
    return rows;
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
                          one.mark == 0 ? "" : judged(one.reached())});
            is_first = false;
        }
    }
    text.print(stdout);
}

void write_json(const collector_bench& chosen, const facts& machine, const std::vector<row>& rows) {
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

void run(const collector_bench& chosen) {
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

    std::vector<row> rows = make_rows(chosen, server_cpu, signals);
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
    collector_bench chosen;
    chosen.directory = program_directory();
    CLI::App app{"Measures what sapwood serve takes: requests, lines, connections."};
    app.add_option("--rounds", chosen.rounds, "Runs of every row")
        ->check(CLI::Range(1U, 1000U))
        ->capture_default_str();
    app.add_option("--sample", chosen.sample_ms, "Milliseconds that are measured")
        ->check(CLI::Range(10U, 600'000U))
        ->capture_default_str();
    app.add_option("--overload", chosen.overload_ms,
                   "Milliseconds of twice the load that it can take")
        ->check(CLI::Range(10U, 3'600'000U))
        ->capture_default_str();
    app.add_option("--churn", chosen.churn_ms, "Milliseconds of connections that come and go")
        ->check(CLI::Range(10U, 3'600'000U))
        ->capture_default_str();
    app.add_option("--churn-rate", chosen.churn_rate,
                   "So many of them a second; 0: as fast as it goes")
        ->check(CLI::Range(0.0, 1e6))
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
