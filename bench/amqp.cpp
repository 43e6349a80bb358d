// Question: what does a broker take from one of our loops, and give to it, what of that is our CPU
//     time, and which of the two is the bound?
// Method: a RabbitMQ of one's own (tests/amqp/rabbitmq run, or a URL in SAPWOOD_AMQP_URL and a
//     process in SAPWOOD_RABBITMQ), messages of 130 bytes in durable queues. The broker's CPU time
//     is measured beside ours, and what nobody used; more connections, a larger window and
//     messages that need no disk show what of it is the broker's ceiling. The same by Python's
//     pika in the same run. What was consumed is counted; the log is read, and has each message.
// Unit: messages per second; microseconds of CPU time per message; CPUs.

#include "amqp_rows.hpp"

#include "harness/child.hpp"
#include "harness/json.hpp"
#include "harness/judged.hpp"
#include "harness/machine.hpp"
#include "harness/rounds.hpp"
#include "harness/summary.hpp"
#include "harness/table.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <exception>
#include <fmt/format.h>
#include <fstream>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace bench {

namespace {

struct options {
    unsigned rounds = 3;
    std::uint64_t messages = 50'000;
    std::string only;
    std::string json;
};

struct measured {
    std::string library;
    std::string name;
    std::vector<double> rate{};
    std::vector<double> client_us{};
    std::vector<double> broker_us{};
    std::vector<double> broker_cpus{};
    std::vector<double> idle_cpus{};
    std::vector<double> batch{};

    void add(const amqp_cost& cost) {
        rate.push_back(cost.messages_per_second);
        client_us.push_back(cost.client_us);
        broker_us.push_back(cost.broker_us);
        broker_cpus.push_back(cost.broker_cpus);
        idle_cpus.push_back(cost.idle_cpus);
        batch.push_back(cost.batch);
    }
};

struct verdict {
    std::string claim;
    double value;
    double mark;
    bool is_at_most;

    [[nodiscard]] bool is_reached() const { return is_at_most ? value <= mark : value >= mark; }
};

amqp_broker broker_of_environment() {
    const char* const url = std::getenv("SAPWOOD_AMQP_URL");
    const char* const directory = std::getenv("SAPWOOD_RABBITMQ");
    if (url == nullptr || directory == nullptr) {
        throw std::runtime_error(
            "there is no broker: run this by 'tests/amqp/rabbitmq run bench_amqp'");
    }
    amqp_broker made{.url = url};
    std::ifstream(std::string(directory) + "/machine.pid") >> made.pid;
    return made;
}

/// What amqp_pika.py prints: a line for each row, of numbers with its name behind them.
std::map<std::string, amqp_cost> run_pika(std::uint64_t messages, int broker,
                                          const interrupts& signals) {
    const child_result done = run_child({"/usr/bin/python3", program_directory() + "/amqp_pika.py",
                                         std::to_string(messages), std::to_string(broker)},
                                        signals);
    std::map<std::string, amqp_cost> rows;
    std::istringstream lines(done.output);
    amqp_cost cost;
    std::string name;
    while (lines >> cost.messages_per_second >> cost.client_us >> cost.broker_us >>
           cost.broker_cpus) {
        lines >> std::ws;
        std::getline(lines, name);
        rows[name] = cost;
    }
    return rows;
}

double median_of(const std::vector<measured>& rows, const std::string& library,
                 const std::string& name, std::vector<double> measured::*what) {
    for (const measured& each : rows) {
        if (each.library == library && each.name == name && !(each.*what).empty()) {
            return summarize(each.*what).median;
        }
    }
    return 0;
}

/// What is to be reached, or nine tenths of what the broker can do, where that is less: medians of
/// few rounds differ by so much.
verdict judge_rate(std::string what, double reached, double mark, std::string_view way,
                   double ceiling) {
    const double least = std::min(mark, 0.9 * ceiling);
    return {fmt::format("{} (the mark is {:.0f}; the broker's ceiling, {}, {:.0f})", what, mark,
                        way, ceiling),
            reached, least, false};
}

std::vector<verdict> judge(const std::vector<measured>& rows) {
    const auto ours = [&](const std::string& name, auto what) {
        return median_of(rows, "sapwood", name, what);
    };
    const std::string one = "prefetch 1, acked";
    const std::string log = "prefetch 256, batches into a durable log, acked";
    const std::string ready = "prefetch 256, the same, space preallocated";
    const std::string only = "prefetch 256, batches acked";
    const std::string publish = "published, persistent, confirmed";
    const std::string at_once = "the same, a window of 65536";
    std::vector<verdict> all;
    if (const double rate = ours(publish, &measured::rate); rate > 0) {
        all.push_back(judge_rate("published and confirmed per second", rate, 60'000,
                                 "a window that is never full", ours(at_once, &measured::rate)));
        all.push_back(
            {"a message published: our CPU, us", ours(publish, &measured::client_us), 3, true});
    }
    for (const std::string& each : {log, ready}) {
        if (const double rate = ours(each, &measured::rate); rate > 0) {
            all.push_back(judge_rate(each + ", per second", rate, 50'000,
                                     "a consumer that only acknowledges",
                                     ours(only, &measured::rate)));
            all.push_back({each + ": our CPU, us", ours(each, &measured::client_us), 3, true});
        }
    }
    if (const double cpu = ours(one, &measured::client_us); cpu > 0) {
        all.push_back({"a message by prefetch 1: our CPU, us", cpu, 3, true});
    }
    if (const double pika = median_of(rows, "pika", one, &measured::rate); pika > 0) {
        all.push_back({"prefetch 1: times pika", ours(one, &measured::rate) / pika, 2, false});
    }
    return all;
}

void print(const std::vector<measured>& rows, const std::vector<verdict>& verdicts) {
    table shown({{"library", align::left},
                 {"what", align::left},
                 {"messages/s"},
                 {"min"},
                 {"max"},
                 {"CPU us"},
                 {"broker's"},
                 {"its CPUs"},
                 {"idle"},
                 {"batch"}});
    for (const measured& each : rows) {
        if (each.rate.empty()) {
            continue;
        }
        const summary rate = summarize(each.rate);
        shown.add_row({each.library, each.name, fmt::format("{:.0f}", rate.median),
                       fmt::format("{:.0f}", rate.min), fmt::format("{:.0f}", rate.max),
                       fmt::format("{:.2f}", summarize(each.client_us).median),
                       fmt::format("{:.1f}", summarize(each.broker_us).median),
                       fmt::format("{:.2f}", summarize(each.broker_cpus).median),
                       fmt::format("{:.2f}", summarize(each.idle_cpus).median),
                       fmt::format("{:.0f}", summarize(each.batch).median)});
    }
    shown.print(stdout);
    fmt::print("\n");
    for (const verdict& each : verdicts) {
        fmt::print("{:7} {:.1f}, at {} {:.0f}: {}\n", judged(each.is_reached()), each.value,
                   each.is_at_most ? "most" : "least", each.mark, each.claim);
    }
}

void write_json(const options& chosen, const facts& machine, const std::vector<measured>& rows,
                const std::vector<verdict>& verdicts) {
    json_writer out;
    out.begin_object()
        .member("bench", "amqp")
        .member("unit", "messages/s")
        .member("rounds", std::uint64_t{chosen.rounds})
        .member("messages", chosen.messages)
        .key("machine");
    write_facts(out, machine);
    out.key("rows").begin_array();
    for (const measured& each : rows) {
        if (!each.rate.empty()) {
            out.begin_object()
                .member("library", each.library)
                .member("case", each.name)
                .member("messages_per_second", summarize(each.rate))
                .member("client_us", summarize(each.client_us))
                .member("broker_us", summarize(each.broker_us))
                .member("broker_cpus", summarize(each.broker_cpus))
                .member("idle_cpus", summarize(each.idle_cpus))
                .member("batch", summarize(each.batch))
                .end_object();
        }
    }
    out.end_array().key("verdicts").begin_array();
    for (const verdict& each : verdicts) {
        out.begin_object()
            .member("claim", each.claim)
            .member("value", each.value)
            .member("mark", each.mark)
            .member("limit", each.is_at_most ? "at most" : "at least")
            .end_object();
    }
    out.end_array().end_object().write_file(chosen.json);
}

void run(const options& chosen) {
    const interrupts signals;
    const amqp_broker broker = broker_of_environment();
    const facts machine = machine_facts();
    fmt::print("bench_amqp: {} messages of 130 bytes, median of {} rounds; a fifth of them where "
               "each waits for the one before\n\n",
               chosen.messages, chosen.rounds);
    print_facts(machine);
    fmt::print("\n");
    std::vector<amqp_row> ours = amqp_rows(broker, chosen.messages);
    std::erase_if(ours, [&](const amqp_row& each) {
        return each.name.find(chosen.only) == std::string::npos;
    });
    std::vector<measured> rows;
    std::vector<std::string> names;
    for (const amqp_row& each : ours) {
        rows.push_back({"sapwood", each.name});
        names.push_back("sapwood, " + each.name);
    }
    if (chosen.only.empty()) {
        names.emplace_back("pika");
    }
    for (const char* const name : {"published, persistent, not confirmed", "prefetch 1, acked"}) {
        rows.push_back({"pika", name});
    }
    run_interleaved(chosen.rounds, names, [&](std::size_t i) {
        signals.check();
        if (i < ours.size()) {
            rows[i].add(ours[i].measure());
            return;
        }
        const auto theirs = run_pika(chosen.messages / 2, broker.pid, signals);
        for (std::size_t at = ours.size(); at < rows.size(); ++at) {
            if (const auto found = theirs.find(rows[at].name); found != theirs.end()) {
                rows[at].add(found->second);
            }
        }
    });
    const auto verdicts = judge(rows);
    print(rows, verdicts);
    if (!chosen.json.empty()) {
        write_json(chosen, machine, rows, verdicts);
    }
}

} // namespace

} // namespace bench

int main(int argc, char** argv) {
    bench::options chosen;
    CLI::App app{"Measures the client for RabbitMQ, and what of it is the broker."};
    app.add_option("--rounds", chosen.rounds, "Runs of every row")->capture_default_str();
    app.add_option("--messages", chosen.messages, "Messages of a run")
        ->check(CLI::Range(std::uint64_t{100}, std::uint64_t{100'000'000}))
        ->capture_default_str();
    app.add_option("--only", chosen.only, "Rows of ours whose name has this, and no peer");
    app.add_option("--json", chosen.json, "Write the results to this file, too");
    CLI11_PARSE(app, argc, argv);
    try {
        bench::run(chosen);
    } catch (const bench::interrupted&) {
        return 130;
    } catch (const std::exception& error) {
        fmt::print(stderr, "bench_amqp: {}\n", error.what());
        return 1;
    }
    return 0;
}
