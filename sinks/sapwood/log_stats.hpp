// What a log has done so far, as numbers: logger::stats(), and the page of them that Prometheus
// reads. Plain values; any thread.
//
// At every moment, of a log:    accepted = dropped + taken + in_rings
// and of each of its outputs:   taken + log_stats::notes + notes
//                                   = written + unwanted + held_back + lost + in_flight
#pragma once

#include <sapwood/log_health.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace sapwood {

/// How long an output's writes took, failed ones included.
struct log_write_times {
    static constexpr std::array<std::chrono::microseconds, 12> bounds{
        std::chrono::microseconds(10),        std::chrono::microseconds(50),
        std::chrono::microseconds(100),       std::chrono::microseconds(500),
        std::chrono::microseconds(1'000),     std::chrono::microseconds(5'000),
        std::chrono::microseconds(10'000),    std::chrono::microseconds(50'000),
        std::chrono::microseconds(100'000),   std::chrono::microseconds(500'000),
        std::chrono::microseconds(1'000'000), std::chrono::microseconds(5'000'000)};

    /// Writes that took longer than the bound before, and at most bounds[i]; the last ones longer
    /// than all of them.
    std::array<std::uint64_t, bounds.size() + 1> counts{};
    std::chrono::nanoseconds sum{};
    std::chrono::nanoseconds max{};

    /// All writes.
    [[nodiscard]] std::uint64_t count() const noexcept {
        std::uint64_t all = 0;
        for (const std::uint64_t each : counts) {
            all += each;
        }
        return all;
    }
};

struct log_output_stats {
    /// The sink's description.
    std::string sink;

    // Lines.
    std::uint64_t written = 0;
    /// Below its level, or refused by its filter.
    std::uint64_t unwanted = 0;
    /// By a limit of rate or against repetition.
    std::uint64_t held_back = 0;
    /// The sink failed, and there was no room to keep them.
    std::uint64_t lost = 0;
    /// Lines of the output's own: of what was lost or held back, what it had kept for an error,
    /// what its sink tells.
    std::uint64_t notes = 0;
    /// Taken, and not with the sink yet.
    std::uint64_t in_flight = 0;

    std::uint64_t bytes_written = 0;
    /// Writes that failed, each try.
    std::uint64_t failures = 0;
    /// Its last write or sync failed, or the sink does not answer.
    bool is_failing = false;
    /// The same, and why: as the sink says it, without its name.
    log_health health;
    log_write_times write_times;
};

struct log_stats {
    /// The root logger's name.
    std::string name;

    // Records.
    /// That threads have logged, whatever became of them; those below their logger's level are
    /// none.
    std::uint64_t accepted = 0;
    /// By what the log's full policy says; for each reason.
    std::uint64_t dropped_ring_full = 0;
    std::uint64_t dropped_made_room = 0;
    std::uint64_t dropped_below_level = 0;
    std::uint64_t dropped_no_memory = 0;
    /// Logged when the log was being closed, or was.
    std::uint64_t dropped_after_end = 0;
    /// That the consumer has given to the outputs.
    std::uint64_t taken = 0;
    /// In the threads' rings, not looked at yet.
    std::uint64_t in_rings = 0;
    /// Lines of the log's own, for each output: of gaps, of a signal.
    std::uint64_t notes = 0;

    // Threads and their rings.
    std::uint64_t threads_seen = 0;
    std::uint64_t threads_alive = 0;
    /// Of one ring; logger_options::ring_bytes.
    std::uint64_t ring_bytes = 0;
    /// In all rings, now.
    std::uint64_t ring_bytes_used = 0;
    /// The most that was in one ring when the consumer looked.
    std::uint64_t ring_bytes_high = 0;

    // The consumer.
    std::uint64_t flushes = 0;
    /// How often it looked at the rings, and was woken to do so.
    std::uint64_t visits = 0;
    std::uint64_t wake_ups = 0;

    std::vector<log_output_stats> outputs;

    /// Degraded where an output is: its reason, that of the first one where there are several, and
    /// a text that names each. Throws std::bad_alloc.
    [[nodiscard]] log_health health() const;

    [[nodiscard]] std::uint64_t dropped() const noexcept {
        return dropped_ring_full + dropped_made_room + dropped_below_level + dropped_no_memory +
               dropped_after_end;
    }
};

/// Appends the numbers of all logs to `to`, in Prometheus's text format (version 0.0.4), as
/// `sapwood_log_...`: a page for a whole process is one call, with logs of different names.
void write_metrics(std::string& to, std::span<const log_stats> logs);

void write_metrics(std::string& to, const log_stats& log);

} // namespace sapwood
