#include "collector_rows.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string_view>
#include <thread>

#include <unistd.h>

#include <fmt/format.h>

#include "harness/child.hpp"
#include "harness/histogram.hpp"
#include "harness/machine.hpp"
#include "harness/scratch_directory.hpp"
#include "harness/server_process.hpp"

namespace bench {

namespace {

using std::chrono::milliseconds;

/// A daemon with a log, until it is told to end.
class daemon_under_test {
  public:
    daemon_under_test(const collector_bench& chosen, int cpu, const std::string& durability,
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

    /// For what goes with it.
    [[nodiscard]] std::string beside(const char* what) const { return folder_.file() + what; }

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

    /// The same of a log that has one record only, again and again: how often.
    [[nodiscard]] std::uint64_t logged(const std::string& record) {
        (void)server_.stop();
        std::uint64_t count = 0;
        std::ifstream log{folder_.file()};
        for (std::string line; std::getline(log, line); ++count) {
            if (!line.ends_with(record)) {
                throw std::runtime_error(
                    fmt::format("the log has a line that nobody has sent: {}", line));
            }
        }
        return count;
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

/// What this process has used: whether it is the daemon that is the limit, or who loads it.
std::chrono::nanoseconds own_cpu_time() {
    timespec time{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return std::chrono::seconds{time.tv_sec} + std::chrono::nanoseconds{time.tv_nsec};
}

/// Requests in a second of those who wait for each answer.
double closed_rate(std::uint16_t port, const http_load_shape& shape, milliseconds time) {
    histogram latencies;
    http_load closed{port, shape};
    const auto begin = std::chrono::steady_clock::now();
    const http_counts counts = closed.run(time, latencies);
    return per_second(counts.acknowledged, std::chrono::steady_clock::now() - begin);
}

double ms_of(const histogram& latencies, double share) {
    return static_cast<double>(latencies.percentile(share)) / 1e6;
}

std::size_t descriptors_of(const server_process& server) {
    const std::filesystem::directory_iterator all{fmt::format("/proc/{}/fd", server.pid())};
    return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

constexpr std::string_view wrk_sign = "counted ";

/// Of wrk: each request is the same record. Its times are microseconds.
constexpr const char* wrk_script = R"(
wrk.method = "POST"
wrk.body = '{}'
wrk.headers["Content-Type"] = "application/json"

function done(summary, latency)
    local all = summary.errors
    io.write(string.format("counted %d %d %f %f\n", summary.requests,
             all.status + all.connect + all.read + all.write + all.timeout,
             summary.duration / 1e6, latency:percentile(99) / 1e3))
end
)";

} // namespace

void measure_posts(row& into, const collector_bench& chosen, int cpu, const std::string& durability,
                   const std::string& preallocated_bytes, const http_load_shape& shape) {
    daemon_under_test served{chosen, cpu, durability, preallocated_bytes};
    http_load load{served.server().port(), shape};
    histogram latencies;
    (void)load.run(milliseconds{chosen.sample_ms / 5}, latencies);
    latencies.clear();
    const auto begin = std::chrono::steady_clock::now();
    const auto cpu_before = served.server().cpu_time();
    const auto own_before = own_cpu_time();
    const http_counts counts = load.run(milliseconds{chosen.sample_ms}, latencies);
    const auto own_time = own_cpu_time() - own_before;
    const auto cpu_time = served.server().cpu_time() - cpu_before;
    const auto took = std::chrono::steady_clock::now() - begin;
    const std::uint64_t records = counts.acknowledged * shape.records;
    into.note(0, per_second(records, took));
    into.note(1, ms_of(latencies, 0.99));
    into.note(2, static_cast<double>(cpu_time.count()) / static_cast<double>(records));
    into.note(3, static_cast<double>(own_time.count()) / static_cast<double>(records));
    served.verify(load.acknowledged(), load.given());
}

void measure_wrk(row& into, const collector_bench& chosen, int cpu, const interrupts& signals) {
    constexpr std::uint64_t connections = 64;
    daemon_under_test served{chosen, cpu, "1"};
    const std::string record = record_of(0);
    const std::string script = served.beside(".lua");
    std::ofstream{script} << fmt::format(wrk_script, record);
    const auto cpu_before = served.server().cpu_time();
    const child_result said =
        run_child({"wrk", "-t1", fmt::format("-c{}", connections),
                   fmt::format("-d{}s", (chosen.sample_ms + 999) / 1000), "-s", script,
                   fmt::format("http://127.0.0.1:{}/log?ack=written", served.server().port())},
                  signals);
    const auto cpu_time = served.server().cpu_time() - cpu_before;
    std::filesystem::remove(script);
    const auto at = said.output.find(wrk_sign);
    if (at == std::string::npos) {
        throw std::runtime_error("wrk does not say what it has counted");
    }
    std::istringstream words{said.output.substr(at + wrk_sign.size())};
    std::uint64_t answered = 0;
    std::uint64_t wrong = 0;
    double seconds = 0;
    double p99 = 0;
    words >> answered >> wrong >> seconds >> p99;
    into.note(0, static_cast<double>(answered) / seconds);
    into.note(1, p99);
    into.note(2, static_cast<double>(cpu_time.count()) / static_cast<double>(answered));
    // What was under way at its end it has not counted.
    const std::uint64_t logged = served.logged(record);
    if (wrong != 0 || logged < answered || logged > answered + connections) {
        throw std::runtime_error(
            fmt::format("wrk counts {} answers and {} failures, and the log has {} records",
                        answered, wrong, logged));
    }
}

bool has_wrk() {
    const char* const path = std::getenv("PATH");
    std::istringstream folders{path != nullptr ? path : ""};
    for (std::string folder; std::getline(folders, folder, ':');) {
        if (access((folder + "/wrk").c_str(), X_OK) == 0) {
            return true;
        }
    }
    return false;
}

void measure_lines(row& into, const collector_bench& chosen, int cpu,
                   const std::string& durability) {
    daemon_under_test served{chosen, cpu, durability};
    const auto cpu_before = served.server().cpu_time();
    const auto own_before = own_cpu_time();
    const line_counts sent = write_lines(served.lines_at(), 4, milliseconds{chosen.sample_ms});
    const auto own_time = own_cpu_time() - own_before;
    const auto cpu_time = served.server().cpu_time() - cpu_before;
    into.note(0, per_second(sent.lines, sent.took));
    into.note(1, static_cast<double>(cpu_time.count()) / static_cast<double>(sent.lines));
    into.note(2, static_cast<double>(own_time.count()) / static_cast<double>(sent.lines));
    if (const auto found = served.logged().count(); found != sent.lines) {
        throw std::runtime_error(
            fmt::format("{} lines were sent, and {} are in the log", sent.lines, found));
    }
}

void measure_idle(row& into, const collector_bench& chosen, int cpu) {
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

void measure_overload(row& into, const collector_bench& chosen, int cpu) {
    daemon_under_test served{chosen, cpu, "1"};
    const std::uint16_t port = served.server().port();
    http_load_shape shape{.target = "/log?ack=written"};
    shape.rate = closed_rate(port, shape, milliseconds{chosen.sample_ms / 4});
    // Who does not wait for answers gets more out of it than who does: what it can take shows where
    // it takes no more the more there is.
    double peak = 0;
    for (bool is_more = true; is_more; shape.rate *= 1.5) {
        histogram latencies;
        http_load open{port, shape};
        const auto begin = std::chrono::steady_clock::now();
        const auto counts = open.run(milliseconds{chosen.sample_ms / 4}, latencies);
        const double got =
            per_second(counts.acknowledged, std::chrono::steady_clock::now() - begin);
        is_more = got > 1.05 * peak;
        peak = std::max(peak, got);
    }
    shape.rate = 2 * peak;
    http_load open{port, shape};
    histogram latencies;
    (void)open.run(milliseconds{chosen.overload_ms / 2}, latencies);
    const auto memory = static_cast<double>(served.server().private_bytes());
    latencies.clear();
    const auto begin = std::chrono::steady_clock::now();
    const http_counts counts = open.run(milliseconds{chosen.overload_ms / 2}, latencies);
    const auto took = std::chrono::steady_clock::now() - begin;
    into.note(0, peak);
    into.note(1, 100 * per_second(counts.acknowledged, took) / peak);
    into.note(2, 100 * static_cast<double>(counts.refused) / static_cast<double>(counts.sent));
    into.note(3, 100 * static_cast<double>(counts.skipped) /
                     static_cast<double>(counts.sent + counts.skipped));
    into.note(4, ms_of(latencies, 0.99));
    into.note(5, (static_cast<double>(served.server().private_bytes()) - memory) / (1 << 20));
}

void measure_churn(row& into, const collector_bench& chosen, int cpu) {
    daemon_under_test served{chosen, cpu, "1"};
    const std::uint16_t port = served.server().port();
    const milliseconds half{chosen.churn_ms / 2};
    (void)come_and_go(port, half, chosen.churn_rate);
    const auto descriptors = static_cast<double>(descriptors_of(served.server()));
    const auto memory = static_cast<double>(served.server().private_bytes());
    const auto count = come_and_go(port, half, chosen.churn_rate);
    std::this_thread::sleep_for(milliseconds{100}); // the daemon sees the last one go
    into.note(0, per_second(count, half));
    into.note(1, static_cast<double>(descriptors_of(served.server())) - descriptors);
    into.note(2, (static_cast<double>(served.server().private_bytes()) - memory) / (1 << 20));
}

} // namespace bench
