// Question: what does an action cost, a message inside of one, and a task that is in one?
// Method: a log of JSON into a file, on a thread of its own. One thread makes actions (first and
//     last record, a field each), messages inside of one action, and the same messages outside;
//     each round runs every case once, the row is the median. Python's eliot does the same in a
//     process of its own, where it is installed. Two tasks take turns, outside of actions and each
//     in one of its own. Lines are counted afterwards.
// Unit: nanoseconds: of CPU time in all (user and system, all threads) and of the thread that
//     makes the records, per action or message; of wall time per resumption.
#include "harness/child.hpp"
#include "harness/json.hpp"
#include "harness/judged.hpp"
#include "harness/machine.hpp"
#include "harness/rounds.hpp"
#include "harness/scratch_directory.hpp"
#include "harness/summary.hpp"
#include "harness/table.hpp"

#include <sapwood/file_log_sink.hpp>
#include <sapwood/json_layout.hpp>
#include <sapwood/logger.hpp>
#include <sapwood/run.hpp>
#include <sapwood/sleep.hpp>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <exception>
#include <fmt/format.h>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace bench {

namespace {

constexpr double action_mark = 400;
constexpr double message_mark = 25;
constexpr double resume_mark = 1;

struct options {
    unsigned rounds = 9;
    std::uint64_t records = 1'000'000;
    std::string directory = program_directory();
    std::string json;
};

double now_ns(clockid_t which) {
    timespec time{};
    ::clock_gettime(which, &time);
    return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
}

/// What one took: in all, and of the thread that makes it.
struct cost {
    double all = 0;
    double own = 0;
};

void check_lines(const std::string& path, std::uint64_t expected) {
    std::ifstream file(path, std::ios::binary);
    const auto lines = static_cast<std::uint64_t>(
        std::count(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>(), '\n'));
    if (lines != expected) {
        throw std::runtime_error(
            fmt::format("{} has {} lines instead of {}", path, lines, expected));
    }
}

template <class Work>
cost measure_log(const options& chosen, std::uint64_t lines, Work work) {
    const scratch_directory scratch{chosen.directory, "bench_actions"};
    cost took;
    {
        sapwood::logger_options how;
        how.path = scratch.file();
        how.outputs.push_back({.sink = std::make_unique<sapwood::file_log_sink>(how.path),
                               .form = std::make_unique<sapwood::json_layout>()});
        how.path.clear();
        const sapwood::logger log(std::move(how));
        for (int i = 0; i < 1000; ++i) {
            auto warm = log.start_action("warm up");
        }
        log.flush_blocking();
        const double all = now_ns(CLOCK_PROCESS_CPUTIME_ID);
        const double own = now_ns(CLOCK_THREAD_CPUTIME_ID);
        work(log);
        took.own = now_ns(CLOCK_THREAD_CPUTIME_ID) - own;
        log.flush_blocking();
        took.all = now_ns(CLOCK_PROCESS_CPUTIME_ID) - all;
    }
    check_lines(scratch.file(), lines + 2000);
    return took;
}

cost make_actions(const options& chosen) {
    return measure_log(chosen, 2 * chosen.records, [&](const sapwood::logger& log) {
        for (std::uint64_t i = 0; i < chosen.records; ++i) {
            auto action = log.start_action("save_order", sapwood::kv("order", i));
            action.add_success(sapwood::kv("rows", 3));
        }
    });
}

void make_messages(const sapwood::logger& log, std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) {
        log.info("stored row {} of {}", i, count);
    }
}

cost messages_outside(const options& chosen) {
    return measure_log(chosen, chosen.records,
                       [&](const sapwood::logger& log) { make_messages(log, chosen.records); });
}

cost messages_inside(const options& chosen) {
    return measure_log(chosen, chosen.records + 2, [&](const sapwood::logger& log) {
        auto action = log.start_action("outer");
        make_messages(log, chosen.records);
    });
}

sapwood::task<> take_turns(const sapwood::logger* log, std::uint64_t count) {
    sapwood::action action;
    if (log != nullptr) {
        action = log->start_action("turns");
    }
    for (std::uint64_t i = 0; i < count; ++i) {
        co_await sapwood::yield();
    }
}

double resume(const sapwood::logger* log, std::uint64_t count) {
    const auto turns = [&]() -> sapwood::task<double> {
        const double before = now_ns(CLOCK_MONOTONIC);
        auto other = sapwood::spawn(take_turns(log, count / 2));
        co_await take_turns(log, count / 2);
        co_await other;
        co_return (now_ns(CLOCK_MONOTONIC) - before) / static_cast<double>(count);
    };
    return sapwood::run(turns);
}

/// A case, and its samples: in all, and of the thread that makes it; or only the former.
struct row {
    std::string name;
    std::function<cost()> measure;
    std::vector<double> all{};
    std::vector<double> own{};

    [[nodiscard]] double median() const { return summarize(all).median; }

    [[nodiscard]] double median_own() const { return summarize(own).median; }
};

cost run_eliot(const options& chosen, const std::string& what, const interrupts& signals) {
    const scratch_directory scratch{chosen.directory, "bench_actions"};
    const std::uint64_t count = std::max<std::uint64_t>(chosen.records / 50, 100);
    const child_result child =
        run_child({"/usr/bin/python3", program_directory() + "/actions_eliot.py", what,
                   std::to_string(count), scratch.file()},
                  signals);
    const double ns = std::stod(child.output);
    return {ns, ns};
}

/// Empty where it is there; otherwise why it is left out.
std::string why_no_eliot(const interrupts& signals) {
    try {
        const child_result child = run_child(
            {"/usr/bin/python3", "-c",
             "import importlib.util as u; print('there' if u.find_spec('eliot') else 'none')"},
            signals);
        return child.output.starts_with("there")
                   ? ""
                   : "eliot is left out: python3-eliot is not installed";
    } catch (const std::runtime_error& error) {
        return std::string("eliot is left out: ") + error.what();
    }
}

std::vector<row> make_rows(const options& chosen, const sapwood::logger& quiet,
                           const interrupts& signals) {
    const auto per_record = [&chosen](cost (*measure)(const options&)) {
        return [&chosen, measure] {
            const cost took = measure(chosen);
            const auto records = static_cast<double>(chosen.records);
            return cost{took.all / records, took.own / records};
        };
    };
    std::vector<row> rows{
        {.name = "an action, two fields", .measure = per_record(&make_actions)},
        {.name = "a message outside of actions", .measure = per_record(&messages_outside)},
        {.name = "a message inside of one", .measure = per_record(&messages_inside)},
        {.name = "a task resumed, in no action",
         .measure =
             [&chosen] {
                 return cost{resume(nullptr, 4 * chosen.records), 0};
             }},
        {.name = "a task resumed, in an action",
         .measure =
             [&chosen, &quiet] {
                 return cost{resume(&quiet, 4 * chosen.records), 0};
             }},
    };
    const std::string why_not = why_no_eliot(signals);
    if (!why_not.empty()) {
        fmt::print("{}\n", why_not);
        return rows;
    }
    for (const std::string what : {"action", "message"}) {
        rows.push_back({.name = "eliot, " + what, .measure = [&chosen, &signals, what] {
                            return run_eliot(chosen, what, signals);
                        }});
    }
    return rows;
}

struct verdict {
    std::string claim;
    double value;
    double mark;
};

std::vector<verdict> judge(const std::vector<row>& rows) {
    return {
        {"an action: CPU in all, ns", rows[0].median(), action_mark},
        {"a message inside of one, more than outside: its thread, ns",
         rows[2].median_own() - rows[1].median_own(), message_mark},
        {"a message inside of one, more than outside: CPU in all, ns",
         rows[2].median() - rows[1].median(), message_mark},
        {"a resumption in an action, more than outside, ns", rows[4].median() - rows[3].median(),
         resume_mark},
    };
}

void print_verdicts(const std::vector<verdict>& verdicts) {
    for (const verdict& each : verdicts) {
        fmt::print("{:7} {:.1f}, at most {:.0f}: {}\n", judged(each.value <= each.mark), each.value,
                   each.mark, each.claim);
    }
}

void write_json(const options& chosen, const facts& machine, const std::vector<row>& rows,
                const std::vector<verdict>& verdicts) {
    json_writer out;
    out.begin_object()
        .member("bench", "actions")
        .member("unit", "ns")
        .member("rounds", std::uint64_t{chosen.rounds})
        .key("machine");
    write_facts(out, machine);
    out.key("rows").begin_array();
    for (const row& each : rows) {
        out.begin_object()
            .member("case", each.name)
            .member("all_ns", each.median())
            .member("thread_ns", each.median_own())
            .end_object();
    }
    out.end_array().key("verdicts").begin_array();
    for (const verdict& each : verdicts) {
        out.begin_object()
            .member("claim", each.claim)
            .member("value", each.value)
            .member("mark", each.mark)
            .end_object();
    }
    out.end_array().end_object().write_file(chosen.json);
}

void run(const options& chosen) {
    const interrupts signals;
    const facts machine = machine_facts();
    fmt::print("bench_actions: {} actions and messages, median of {} rounds\n\n", chosen.records,
               chosen.rounds);
    print_facts(machine);
    const sapwood::logger quiet{sapwood::logger_options{}};
    std::vector<row> rows = make_rows(chosen, quiet, signals);
    std::vector<std::string> names;
    for (const row& each : rows) {
        names.push_back(each.name);
    }
    run_interleaved(chosen.rounds, names, [&](std::size_t i) {
        const cost took = rows[i].measure();
        rows[i].all.push_back(took.all);
        rows[i].own.push_back(took.own);
    });
    table shown({{.head = "case", .side = align::left}, {"ns"}, {"min"}, {"max"}, {"its thread"}});
    for (const row& each : rows) {
        const auto all = summarize(each.all);
        shown.add_row({each.name, fmt::format("{:.1f}", all.median), fmt::format("{:.1f}", all.min),
                       fmt::format("{:.1f}", all.max), fmt::format("{:.1f}", each.median_own())});
    }
    fmt::print("\n");
    shown.print(stdout);
    fmt::print("\n");
    const auto verdicts = judge(rows);
    print_verdicts(verdicts);
    if (!chosen.json.empty()) {
        write_json(chosen, machine, rows, verdicts);
    }
}

} // namespace

} // namespace bench

int main(int argc, char** argv) {
    bench::options chosen;
    CLI::App app{"Measures actions, and eliot's."};
    app.add_option("--rounds", chosen.rounds, "Runs of every row")->capture_default_str();
    app.add_option("--records", chosen.records, "Actions and messages of a run")
        ->capture_default_str();
    app.add_option("--dir", chosen.directory, "Where the files are written, and removed again")
        ->check(CLI::ExistingDirectory);
    app.add_option("--json", chosen.json, "Write the results to this file, too");
    CLI11_PARSE(app, argc, argv);
    try {
        bench::run(chosen);
    } catch (const bench::interrupted&) {
        return 130;
    } catch (const std::exception& error) {
        fmt::print(stderr, "bench_actions: {}\n", error.what());
        return 1;
    }
    return 0;
}
