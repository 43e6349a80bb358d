// Question: what do the steps that every coroutine program is made of cost, in sapwood and in the
//     libraries a team would otherwise take?
// Method: core_case.hpp defines the work. Every case of every library runs once per round, its
//     number of operations chosen so that a run takes about --sample milliseconds; the row is the
//     median of the rounds. A ratio is made within a round, and the median of those is reported.
// Unit: nanoseconds of wall time per operation.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <asio/version.hpp>
#include <fmt/format.h>

#include "core_case.hpp"
#include "harness/child.hpp"
#include "harness/json.hpp"
#include "harness/judged.hpp"
#include "harness/machine.hpp"
#include "harness/rounds.hpp"
#include "harness/summary.hpp"
#include "harness/table.hpp"

namespace {

using namespace bench;
using std::chrono::nanoseconds;

// What the project wants to reach: at most `ns` by sapwood, and sapwood this many times faster than
// Asio.
struct mark {
    std::string_view name;
    std::optional<double> ns;
    std::optional<double> times_faster;
};

constexpr mark marks[] = {
    {.name = await_case, .ns = 10, .times_faster = 2},
    {.name = yield_case, .ns = 6, .times_faster = 15},
    {.name = channel_case, .ns = 10, .times_faster = 35},
    {.name = spawn_case, .ns = 40, .times_faster = 12},
    {.name = sleep_case, .ns = std::nullopt, .times_faster = 8},
    {.name = when_any_case, .ns = 400, .times_faster = std::nullopt},
    {.name = cancel_read_case, .ns = 3000, .times_faster = std::nullopt},
};

const mark* mark_of(std::string_view name) {
    const auto found = std::ranges::find(marks, name, &mark::name);
    return found == std::end(marks) ? nullptr : found;
}

struct options {
    unsigned rounds = 7;
    unsigned sample_ms = 100;
    std::string only;
    std::string json;
    bool without_asyncio = false;
};

struct row {
    core_case what;
    std::uint64_t ops = 0; // Chosen by the first run.
    std::vector<double> samples;
};

std::vector<core_case> asyncio_cases(const interrupts& signals) {
    const std::string script = program_directory() + "/core_asyncio.py";
    std::vector<core_case> cases;
    for (const std::string_view name : core_case_names) {
        cases.push_back({
            .name = name,
            .library = "asyncio",
            .granularity = name == sleep_case            ? sleep_tasks
                           : name == sleep_thousand_case ? sleep_thousand_tasks
                           : name == yield_case          ? 2
                                                         : 1,
            .run =
                [script, name, &signals](std::uint64_t ops) {
                    const child_result result = run_child(
                        {"python3", script, std::string{name}, std::to_string(ops)}, signals);
                    return nanoseconds{std::stoll(result.output)};
                },
        });
    }
    return cases;
}

// Rows of one case stand together, so that its libraries run right after each other.
std::vector<row> make_rows(const options& chosen, const interrupts& signals) {
    std::vector<core_case> all;
    const auto append = [&](const std::vector<core_case>& cases) {
        all.insert(all.end(), cases.begin(), cases.end());
    };
    append(sapwood_cases());
    append(asio_cases());
    append(tuned_asio_cases());
    if (!chosen.without_asyncio) {
        append(asyncio_cases(signals));
    }

    std::vector<row> rows;
    for (const std::string_view name : core_case_names) {
        if (!chosen.only.empty() && chosen.only != name) {
            continue;
        }
        for (const core_case& what : all) {
            if (what.name == name) {
                rows.push_back({.what = what, .ops = 0, .samples = {}});
            }
        }
    }
    return rows;
}

double ns_per_op(nanoseconds elapsed, std::uint64_t ops) {
    return static_cast<double>(elapsed.count()) / static_cast<double>(ops);
}

// Grows the number of operations until they are long enough to tell how many a sample needs.
std::uint64_t choose_ops(const core_case& what, std::chrono::milliseconds sample) {
    const auto rounded_up = [&](double ops) {
        const auto wanted = static_cast<std::uint64_t>(ops);
        return (std::max<std::uint64_t>(wanted, 1) + what.granularity - 1) / what.granularity *
               what.granularity;
    };
    std::uint64_t ops = rounded_up(1000);
    nanoseconds elapsed = what.run(ops);
    while (elapsed < sample / 8) {
        ops *= 4;
        elapsed = what.run(ops);
    }
    return rounded_up(static_cast<double>(nanoseconds{sample}.count()) / ns_per_op(elapsed, ops));
}

void measure(row& measured, std::chrono::milliseconds sample) {
    if (measured.ops == 0) {
        measured.ops = choose_ops(measured.what, sample);
    }
    measured.samples.push_back(ns_per_op(measured.what.run(measured.ops), measured.ops));
}

struct ratio {
    std::string_view name;
    std::string peer;
    summary times;
    const mark* target; // May be null.
};

std::vector<ratio> ratios_to_sapwood(const std::vector<row>& rows) {
    std::vector<ratio> all;
    for (const row& ours : rows) {
        if (ours.what.library != "sapwood") {
            continue;
        }
        for (const row& theirs : rows) {
            if (theirs.what.name != ours.what.name || &theirs == &ours) {
                continue;
            }
            std::vector<double> times;
            for (std::size_t i = 0; i < ours.samples.size(); ++i) {
                times.push_back(theirs.samples[i] / ours.samples[i]);
            }
            // The marks were set against Asio as its documentation shows it.
            all.push_back(
                {.name = ours.what.name,
                 .peer = theirs.what.library,
                 .times = summarize(std::move(times)),
                 .target = theirs.what.library == "asio" ? mark_of(ours.what.name) : nullptr});
        }
    }
    return all;
}

std::string number(double value) {
    return fmt::format("{:.{}f}", value, value < 100 ? 1 : 0);
}

void print_rows(const std::vector<row>& rows) {
    table text{{{"case", align::left},
                {"library", align::left},
                {"median ns"},
                {"min ns"},
                {"max ns"},
                {"mark ns"},
                {"operations"}}};
    std::string_view previous;
    for (const row& measured : rows) {
        if (!previous.empty() && previous != measured.what.name) {
            text.add_gap();
        }
        previous = measured.what.name;
        const summary ns = summarize(measured.samples);
        const mark* target = mark_of(measured.what.name);
        const bool has_mark = measured.what.library == "sapwood" && target != nullptr && target->ns;
        text.add_row({std::string{measured.what.name}, measured.what.library, number(ns.median),
                      number(ns.min), number(ns.max), has_mark ? number(*target->ns) : "",
                      std::to_string(measured.ops)});
    }
    text.print(stdout);
}

void print_ratios(const std::vector<ratio>& ratios) {
    if (ratios.empty()) {
        fmt::print("\nNo ratios: this build has no sapwood rows.\n");
        return;
    }
    fmt::print("\n");
    table text{{{"case", align::left},
                {"sapwood is faster than", align::left},
                {"median times"},
                {"min"},
                {"max"},
                {"mark"},
                {"", align::left}}};
    for (const ratio& r : ratios) {
        const bool has_mark = r.target != nullptr && r.target->times_faster;
        text.add_row({std::string{r.name}, r.peer, number(r.times.median), number(r.times.min),
                      number(r.times.max), has_mark ? number(*r.target->times_faster) : "",
                      has_mark ? judged(r.times.median >= *r.target->times_faster) : ""});
    }
    text.print(stdout);
}

void write_json(const options& chosen, const facts& machine, const std::vector<row>& rows,
                const std::vector<ratio>& ratios) {
    json_writer out;
    out.begin_object()
        .member("bench", "core")
        .member("unit", "ns")
        .member("rounds", std::uint64_t{chosen.rounds})
        .key("machine");
    write_facts(out, machine);
    out.key("rows").begin_array();
    for (const row& measured : rows) {
        out.begin_object()
            .member("case", measured.what.name)
            .member("library", measured.what.library)
            .member("operations", measured.ops)
            .member("ns", summarize(measured.samples))
            .end_object();
    }
    out.end_array().key("ratios").begin_array();
    for (const ratio& r : ratios) {
        out.begin_object()
            .member("case", r.name)
            .member("peer", r.peer)
            .member("times", r.times)
            .end_object();
    }
    out.end_array().key("marks").begin_array();
    for (const mark& target : marks) {
        out.begin_object().member("case", target.name);
        if (target.times_faster) {
            out.member("times", *target.times_faster);
        }
        if (target.ns) {
            out.member("ns", *target.ns);
        }
        out.end_object();
    }
    out.end_array().end_object().write_file(chosen.json);
}

void run(const options& chosen) {
    const interrupts signals;
    facts machine = machine_facts();
    machine.emplace_back("asio", fmt::format("{}.{}.{}", ASIO_VERSION / 100000,
                                             ASIO_VERSION / 100 % 1000, ASIO_VERSION % 100));
    if (!chosen.without_asyncio) {
        const child_result python = run_child({"python3", "--version"}, signals);
        machine.emplace_back("python", python.output.substr(0, python.output.find('\n')));
    }

    fmt::print("bench_core: what one step of a coroutine program costs, wall time, median of {} "
               "rounds\n\n",
               chosen.rounds);
    print_facts(machine);
    fmt::print("\n");

    std::vector<row> rows = make_rows(chosen, signals);
    std::vector<std::string> names;
    for (const row& planned : rows) {
        names.push_back(fmt::format("{}, {}", planned.what.name, planned.what.library));
    }
    run_interleaved(chosen.rounds, names, [&](std::size_t i) {
        signals.check();
        measure(rows[i], std::chrono::milliseconds{chosen.sample_ms});
    });

    const std::vector<ratio> ratios = ratios_to_sapwood(rows);
    print_rows(rows);
    print_ratios(ratios);
    if (!chosen.json.empty()) {
        write_json(chosen, machine, rows, ratios);
    }
}

} // namespace

int main(int argc, char** argv) {
    options chosen;
    CLI::App app{"Measures what one step of a coroutine program costs: await, yield, channel, "
                 "spawn + join, sleep, when_any, cancelling."};
    app.add_option("--rounds", chosen.rounds, "Runs of every case")
        ->check(CLI::Range(1U, 1000U))
        ->capture_default_str();
    app.add_option("--sample", chosen.sample_ms, "Length of one run, in milliseconds")
        ->check(CLI::Range(1U, 60000U))
        ->capture_default_str();
    app.add_option("--case", chosen.only, "Measure this case only")
        ->check(CLI::IsMember(
            std::vector<std::string>(core_case_names.begin(), core_case_names.end())));
    app.add_flag("--without-asyncio", chosen.without_asyncio, "Leave Python out");
    app.add_option("--json", chosen.json, "Write the rows to this file, too");
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : 2;
    }
    try {
        run(chosen);
    } catch (const bench::interrupted&) {
        return 130;
    } catch (const std::exception& error) {
        fmt::print(stderr, "bench_core: {}\n", error.what());
        return 1;
    }
    return 0;
}
