// What bench_logger has its loggers write, and how it is told afterwards whether they have.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "run_meter.hpp"

namespace bench {

enum class message { text, integers, number };

inline constexpr std::string_view message_names[] = {"static", "integers", "double"};

// 70 bytes.
#define BENCH_LOGGER_TEXT "the connection was closed by the peer before the request was complete."
#define BENCH_LOGGER_INTEGERS "producer {} record {} user {} took {} us state {}"
#define BENCH_LOGGER_NUMBER "load average is now {:.3f}"

struct logger_job {
    std::string path; // Does not exist yet.
    message what = message::integers;
    std::uint64_t threads = 1;
    std::uint64_t coroutines = 0; // More than 0: on one thread, which is a loop's.
    std::uint64_t records = 0;

    [[nodiscard]] std::uint64_t producers() const { return coroutines > 0 ? coroutines : threads; }
};

// The double of a record: no two records have the same.
[[nodiscard]] constexpr double number_of(std::uint64_t producer, std::uint64_t index) {
    return static_cast<double>(index) + static_cast<double>(producer) / 1000;
}

struct latencies {
    double p50 = 0;
    double p99 = 0;
    double p999 = 0;
};

struct logger_peer {
    std::string_view name;
    bool has_coroutines = false;
    // Writes the job's records to its file, complete and closed.
    void (*write)(const logger_job& job, run_meter& meter) = nullptr;
    // Calls the logger in bursts of 20, 500 us apart, and adds the nanoseconds of each call. Null:
    // not measured.
    void (*time_calls)(const logger_job& job, std::vector<double>& nanoseconds) = nullptr;
};

[[nodiscard]] std::span<const logger_peer> all_loggers();

// Throws std::runtime_error where the file does not hold each record of the job, once, each
// producer's in order, whole, on a line of its own.
void verify_log(const logger_job& job);

// `log(what)` of each burst, timed with the processor's counter.
void time_bursts(const logger_job& job, std::vector<double>& nanoseconds, void (*call)(void*),
                 void* with);

// `produce(producer)` on a thread each.
template <typename Produce>
void run_threads(const logger_job& job, const Produce& produce) {
    std::vector<std::jthread> threads;
    for (std::uint64_t producer = 0; producer < job.threads; ++producer) {
        threads.emplace_back([&produce, producer] { produce(producer); });
    }
}

void log_with_sapwood(const logger_job& job, run_meter& meter);
void log_with_spdlog(const logger_job& job, run_meter& meter);
void log_with_spdlog_async(const logger_job& job, run_meter& meter);
void log_with_glog(const logger_job& job, run_meter& meter);
void log_with_memcpy(const logger_job& job, run_meter& meter);
void time_sapwood(const logger_job& job, std::vector<double>& nanoseconds);
void time_spdlog(const logger_job& job, std::vector<double>& nanoseconds);
void time_spdlog_async(const logger_job& job, std::vector<double>& nanoseconds);

} // namespace bench
