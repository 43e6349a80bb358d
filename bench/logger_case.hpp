// What bench_logger has its loggers write, how it is told afterwards whether they have, and how
// their calls are timed.
#pragma once

#include <cstdint>
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
    // For the latency of calls: the logger's own threads on one CPU, who calls on another.
    bool apart = false;

    [[nodiscard]] std::uint64_t producers() const { return coroutines > 0 ? coroutines : threads; }
};

// The double of a record: no two records have the same.
[[nodiscard]] constexpr double number_of(std::uint64_t producer, std::uint64_t index) {
    return static_cast<double>(index) + static_cast<double>(producer) / 1000;
}

enum class logger_kind { sapwood, peer, limit };

struct logger_peer {
    std::string name;
    logger_kind kind = logger_kind::peer;
    bool has_threads = true;     // Rows with threads.
    bool has_coroutines = false; // Rows with 1000 coroutines.
    // Writes the job's records to its file, complete and closed. Null: only calls are timed.
    void (*write)(const logger_job& job, run_meter& meter) = nullptr;
    // Calls the logger in bursts of 20, 500 us apart, and adds the nanoseconds of each call. Null:
    // not measured.
    void (*time_calls)(const logger_job& job, std::vector<double>& nanoseconds) = nullptr;
    // What runs as a child: this program, or another one that takes the same arguments.
    std::string program = "/proc/self/exe";
};

// Throws std::runtime_error where the file does not hold each record of the job, once, each
// producer's in order, whole, on a line of its own.
void verify_log(const logger_job& job);

// Where a job is to be timed with the logger apart from who calls, its threads inherit their place
// from who makes it: to be called before that is done.
void place_logger(const logger_job& job);

// `call(with)`, in bursts on this thread, each timed with the processor's counter.
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
void log_with_sapwood_thread(const logger_job& job, run_meter& meter);
void log_with_spdlog(const logger_job& job, run_meter& meter);
void log_with_spdlog_async(const logger_job& job, run_meter& meter);
void log_with_glog(const logger_job& job, run_meter& meter);
void log_with_memcpy(const logger_job& job, run_meter& meter);
void time_nothing(const logger_job& job, std::vector<double>& nanoseconds);
void time_time_stamp(const logger_job& job, std::vector<double>& nanoseconds);
void time_sapwood(const logger_job& job, std::vector<double>& nanoseconds);
void time_spdlog(const logger_job& job, std::vector<double>& nanoseconds);
void time_spdlog_async(const logger_job& job, std::vector<double>& nanoseconds);
void time_glog(const logger_job& job, std::vector<double>& nanoseconds);

} // namespace bench
