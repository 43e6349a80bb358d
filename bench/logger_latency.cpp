#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <vector>

#include <sched.h>
#include <x86intrin.h>

#include "logger_case.hpp"

namespace bench {

namespace {

constexpr unsigned burst_calls = 20;
constexpr unsigned bursts = 4000;
constexpr std::chrono::microseconds between_bursts{500};

// The CPUs this process was given, before it was put on one of them.
std::vector<int> usable_cpus() {
    static const std::vector<int> cpus = [] {
        std::vector<int> found;
        cpu_set_t set;
        CPU_ZERO(&set);
        sched_getaffinity(0, sizeof(set), &set);
        for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
            if (CPU_ISSET(cpu, &set)) {
                found.push_back(cpu);
            }
        }
        return found;
    }();
    return cpus;
}

void put_on(std::size_t which) {
    const std::vector<int> cpus = usable_cpus();
    if (which >= cpus.size()) {
        throw std::runtime_error("a logger apart from its caller needs two CPUs");
    }
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpus[which], &set);
    sched_setaffinity(0, sizeof(set), &set);
}

} // namespace

void place_logger(const logger_job& job) {
    if (job.apart) {
        put_on(0);
    }
}

void time_bursts(const logger_job& job, std::vector<double>& nanoseconds, void (*call)(void*),
                 void* with) {
    using clock = std::chrono::steady_clock;
    if (job.apart) {
        put_on(1);
    }
    // Written once: a page that is not there yet would be a call's.
    std::vector<std::uint64_t> ticks(std::size_t{burst_calls} * bursts, 1);
    std::size_t calls = 0;
    unsigned processor = 0;
    const auto begin = clock::now();
    const std::uint64_t begin_ticks = __rdtsc();
    for (unsigned burst = 0; burst < bursts; ++burst) {
        for (unsigned i = 0; i < burst_calls; ++i) {
            const std::uint64_t before = __rdtscp(&processor);
            call(with);
            ticks[calls++] = __rdtscp(&processor) - before;
        }
        // Not a sleep: how long a thread takes to wake up is not the question.
        for (const auto next = clock::now() + between_bursts; clock::now() < next;) {
        }
    }
    const double ns_per_tick =
        std::chrono::duration<double, std::nano>(clock::now() - begin).count() /
        static_cast<double>(__rdtsc() - begin_ticks);
    for (const std::uint64_t each : ticks) {
        nanoseconds.push_back(static_cast<double>(each) * ns_per_tick);
    }
}

void time_nothing(const logger_job& job, std::vector<double>& nanoseconds) {
    time_bursts(
        job, nanoseconds,
        [](void*) {
            asm volatile("" ::: "memory");
        },
        nullptr);
}

void time_time_stamp(const logger_job& job, std::vector<double>& nanoseconds) {
    time_bursts(
        job, nanoseconds, [](void*) { asm volatile("" ::"r"(__rdtsc())
                                                   : "memory"); }, nullptr);
}

} // namespace bench
