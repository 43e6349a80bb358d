// What bench_memory measures of a library in a process of its own: many tasks that sleep at once.
// Each library does it as its users would write it.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace bench {

// What sleepers cost, all of them together.
struct sleepers_cost {
    // Resident memory with all asleep, less what was resident before.
    std::uint64_t bytes = 0;
    // CPU time to spawn, put to sleep, wake and join them all: the wait itself costs none.
    std::chrono::nanoseconds cpu{};
};

struct sleepers_job {
    std::uint64_t tasks = 0;
    // Long enough for all to fall asleep before the first one wakes.
    std::chrono::milliseconds duration{};
};

// Twice in a row: the first finds no memory in the process, the second what the first has left.
// Throws std::runtime_error where not all were asleep at once, or not all woke.
struct sleepers_costs {
    sleepers_cost first;
    sleepers_cost second;
};

[[nodiscard]] sleepers_costs measure_sapwood_sleepers(const sleepers_job& job);
[[nodiscard]] sleepers_costs measure_asio_sleepers(const sleepers_job& job);

// Of this process.
[[nodiscard]] std::uint64_t resident_bytes();
[[nodiscard]] std::chrono::nanoseconds cpu_time();

// Counts who sleeps, and looks at the process when all do.
class sleepers_watch {
  public:
    explicit sleepers_watch(const sleepers_job& job)
        : job_{job},
          bytes_before_{resident_bytes()},
          cpu_before_{cpu_time()} {}

    void falls_asleep() {
        if (++asleep_ == job_.tasks) {
            bytes_asleep_ = resident_bytes();
            were_together_ = awake_ == 0;
        }
    }

    void wakes() { ++awake_; }

    // When all have been joined.
    [[nodiscard]] sleepers_cost cost() const;

  private:
    const sleepers_job job_;
    const std::uint64_t bytes_before_;
    const std::chrono::nanoseconds cpu_before_;
    std::uint64_t asleep_ = 0;
    std::uint64_t awake_ = 0;
    std::uint64_t bytes_asleep_ = 0;
    bool were_together_ = false;
};

} // namespace bench
