// Question: what does a request cost a server of many connections, and how long does it take?
// Method: every server runs once per round and load, in a process of its own on a CPU of its own;
//     this process loads it from another CPU. A connection sends a message, checks every byte of
//     its answer and sends the next, so that as many requests as connections are under way. After
//     --warm-up milliseconds, --sample milliseconds are measured; the row is the median of the
//     rounds. All servers send back what they get, unchanged.
// Unit: requests per second; microseconds from before a message is sent until its answer is there,
//     the median, the 99th and the 99.9th of a hundred of all requests; nanoseconds of CPU time of
//     the server per request. Who loads is often the limit, so the last is what to compare. Which
//     part of it was user's the kernel samples at its ticks in all of the server's life.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "echo_load.hpp"
#include "echo_rows.hpp"
#include "harness/child.hpp"
#include "harness/json.hpp"
#include "harness/judged.hpp"
#include "harness/machine.hpp"
#include "harness/rounds.hpp"
#include "harness/server_process.hpp"
#include "harness/table.hpp"

namespace {

using namespace bench;
using std::chrono::milliseconds;

struct options {
    unsigned rounds = 5;
    unsigned warm_up_ms = 200;
    unsigned sample_ms = 800;
    std::vector<std::string> only;
    std::vector<std::size_t> connections{1, 64, 512};
    std::vector<std::size_t> message_bytes{64, 16 * 1024};
    std::string json;
};

const std::vector<echo_server_program>& all_servers() {
    const auto model = [](const char* name, server_kind kind = server_kind::model) {
        return echo_server_program{.name = fmt::format("model: {}", name),
                                   .kind = kind,
                                   .arguments = {"../demos/server_models", "--model", name,
                                                 "--port", "0", "--quiet", "--unchanged"}};
    };
    static const std::vector<echo_server_program> servers{
        {"sapwood", server_kind::sapwood, {"bench_echo_server", "sapwood"}},
        {"sapwood, poll",
         server_kind::sapwood,
         {"bench_echo_server", "sapwood"},
         {{"SAPWOOD_RING", "poll"}}},
        {"liburing", server_kind::by_hand, {"bench_echo_server", "liburing"}},
        {"epoll", server_kind::by_hand, {"bench_echo_server", "epoll"}},
        {"asio", server_kind::asio, {"bench_echo_server", "asio"}},
        {"asio, io_uring", server_kind::asio, {"bench_echo_server_asio_uring", "asio_uring"}},
        model("process"),
        model("thread"),
        model("select"),
        model("poll"),
        model("epoll"),
        model("sapwood", server_kind::sapwood),
    };
    return servers;
}

std::vector<echo_row> make_rows(const options& chosen) {
    std::vector<echo_row> rows;
    for (const std::size_t bytes : chosen.message_bytes) {
        for (const std::size_t connections : chosen.connections) {
            for (const echo_server_program& server : all_servers()) {
                if (chosen.only.empty() || std::ranges::count(chosen.only, server.name) != 0) {
                    rows.push_back({.server = &server, .shape = {connections, bytes}});
                }
            }
        }
    }
    return rows;
}

void measure(echo_row& row, const options& chosen, int server_cpu) {
    server_process::options start{.arguments = row.server->arguments,
                                  .environment = row.server->environment,
                                  .cpu = server_cpu};
    start.arguments.front() = program_directory() + '/' + start.arguments.front();
    server_process server{start};

    histogram latencies;
    std::chrono::nanoseconds cpu{};
    std::chrono::nanoseconds wall{};
    {
        echo_load load{server.port(), row.shape.connections, row.shape.message_bytes};
        load.run(milliseconds{chosen.warm_up_ms}, latencies);
        latencies.clear();
        const auto begin = std::chrono::steady_clock::now();
        cpu -= server.cpu_time();
        load.run(milliseconds{chosen.sample_ms}, latencies);
        cpu += server.cpu_time();
        wall = std::chrono::steady_clock::now() - begin;
        load.finish();
    }
    const cpu_usage life = server.stop();

    const auto requests = static_cast<double>(latencies.count());
    const auto us = [&](double share) {
        return static_cast<double>(latencies.percentile(share)) / 1e3;
    };
    echo_samples& measured = row.measured;
    measured.requests_per_second.push_back(requests * 1e9 / static_cast<double>(wall.count()));
    measured.p50_us.push_back(us(0.5));
    measured.p99_us.push_back(us(0.99));
    measured.p999_us.push_back(us(0.999));
    measured.cpu_ns.push_back(static_cast<double>(cpu.count()) / requests);
    measured.user_us += static_cast<double>(life.user.count());
    measured.system_us += static_cast<double>(life.system.count());
}

void print_rows(const std::vector<echo_row>& rows) {
    table text{{{"connections", align::left},
                {"server", align::left},
                {"requests/s"},
                {"p50 us"},
                {"p99 us"},
                {"p99.9 us"},
                {"CPU ns/request"},
                {"user ns"},
                {"system ns"},
                {"CPU, times liburing"},
                {"times epoll"}}};
    std::string previous;
    for (const echo_row& row : rows) {
        const std::string load = load_name(row.shape);
        if (!previous.empty() && previous != load) {
            text.add_gap();
        }
        const auto median = [](const std::vector<double>& of, int digits) {
            return fmt::format("{:.{}f}", summarize(of).median, digits);
        };
        const auto times = [&](std::string_view peer) {
            const echo_row* const other = beside(rows, row, peer);
            return other == nullptr || other == &row
                       ? std::string{}
                       : fmt::format("{:.2f}", cpu_ratio(row, *other).median);
        };
        text.add_row({previous == load ? "" : load, row.server->name,
                      median(row.measured.requests_per_second, 0), median(row.measured.p50_us, 1),
                      median(row.measured.p99_us, 1), median(row.measured.p999_us, 1),
                      median(row.measured.cpu_ns, 0), fmt::format("{:.0f}", user_ns_of(row)),
                      fmt::format("{:.0f}", system_ns_of(row)), times("liburing"), times("epoll")});
        previous = load;
    }
    text.print(stdout);
}

void print_verdicts(const std::vector<echo_verdict>& verdicts) {
    if (verdicts.empty()) {
        return;
    }
    fmt::print("\n");
    table text{{{"connections", align::left},
                {"sapwood", align::left},
                {"median"},
                {"mark"},
                {"", align::left}}};
    for (const echo_verdict& v : verdicts) {
        text.add_row({load_name(v.shape), v.claim, fmt::format("{:.2f}", v.value),
                      fmt::format("{:.2f}", v.mark), judged(v.reached())});
    }
    text.print(stdout);
}

std::string_view kind_name(server_kind kind) {
    constexpr std::string_view names[] = {"sapwood", "by hand", "asio", "model"};
    return names[static_cast<std::size_t>(kind)];
}

void write_json(const options& chosen, const facts& machine, const std::vector<echo_row>& rows,
                const std::vector<echo_verdict>& verdicts) {
    json_writer out;
    out.begin_object()
        .member("bench", "echo")
        .member("unit", "requests/s, us, ns/request")
        .member("rounds", std::uint64_t{chosen.rounds})
        .key("machine");
    write_facts(out, machine);
    out.key("rows").begin_array();
    for (const echo_row& row : rows) {
        out.begin_object()
            .member("load", load_name(row.shape))
            .member("server", row.server->name)
            .member("kind", kind_name(row.server->kind))
            .member("requests_per_second", summarize(row.measured.requests_per_second))
            .member("p50_us", summarize(row.measured.p50_us))
            .member("p99_us", summarize(row.measured.p99_us))
            .member("p999_us", summarize(row.measured.p999_us))
            .member("cpu_ns", summarize(row.measured.cpu_ns))
            .member("user_ns", user_ns_of(row))
            .member("system_ns", system_ns_of(row));
        for (const auto& [key, peer] :
             {std::pair{"times_liburing", "liburing"}, std::pair{"times_epoll", "epoll"}}) {
            if (const echo_row* const other = beside(rows, row, peer)) {
                out.member(key, cpu_ratio(row, *other));
            }
        }
        out.end_object();
    }
    out.end_array().key("verdicts").begin_array();
    for (const echo_verdict& v : verdicts) {
        out.begin_object()
            .member("load", load_name(v.shape))
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
    fmt::print("bench_echo: what a request costs a server, median of {} rounds\n\n", chosen.rounds);
    print_facts(machine);
    const auto [server_cpu, load_cpu] = two_cpus();
    if (server_cpu == load_cpu) {
        fmt::print("\nThere is one CPU only, for the server and for who loads it.\n");
    }
    run_on_cpu(load_cpu);
    allow_descriptors(std::ranges::max(chosen.connections) + 100);
    fmt::print("\n");
    std::fflush(stdout);

    std::vector<echo_row> rows = make_rows(chosen);
    std::vector<std::string> names;
    for (const echo_row& row : rows) {
        names.push_back(fmt::format("{}, {}", load_name(row.shape), row.server->name));
    }
    run_interleaved(chosen.rounds, names, [&, cpu = server_cpu](std::size_t i) {
        signals.check();
        try {
            measure(rows[i], chosen, cpu);
        } catch (const std::exception& failure) {
            signals.check(); // The terminal sends Ctrl-C to both: it was no failure of the server.
            throw std::runtime_error(names[i] + ": " + failure.what());
        }
    });

    const std::vector<echo_verdict> verdicts = judge(rows);
    print_rows(rows);
    print_verdicts(verdicts);
    if (!chosen.json.empty()) {
        write_json(chosen, machine, rows, verdicts);
    }
}

std::vector<std::string> server_names() {
    std::vector<std::string> names;
    for (const echo_server_program& server : all_servers()) {
        names.push_back(server.name);
    }
    return names;
}

} // namespace

int main(int argc, char** argv) {
    options chosen;
    CLI::App app{
        "Measures what a request costs an echo server by sapwood, by hand, by Asio, and by "
        "the models of demos/server_models."};
    app.add_option("--rounds", chosen.rounds, "Runs of every row")
        ->check(CLI::Range(1U, 1000U))
        ->capture_default_str();
    app.add_option("--warm-up", chosen.warm_up_ms, "Milliseconds of load before it is measured")
        ->check(CLI::Range(0U, 60000U))
        ->capture_default_str();
    app.add_option("--sample", chosen.sample_ms, "Milliseconds that are measured")
        ->check(CLI::Range(1U, 60000U))
        ->capture_default_str();
    app.add_option("--connections", chosen.connections, "How many at once")
        ->check(CLI::Range(1U, 100000U))
        ->capture_default_str();
    app.add_option("--message", chosen.message_bytes, "Bytes of a message")
        ->check(CLI::Range(8U, 1U << 20))
        ->capture_default_str();
    app.add_option("--server", chosen.only, "Measure these servers only")
        ->check(CLI::IsMember(server_names()));
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
        fmt::print(stderr, "bench_echo: {}\n", error.what());
        return 1;
    }
    return 0;
}
