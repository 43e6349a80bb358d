// What bench_amqp measures: each row against a broker that is there, by one loop of ours. For the
// only thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace bench {

/// Of one run of a row.
struct amqp_cost {
    double messages_per_second = 0;
    /// CPU time per message, microseconds: this process's, and the broker's.
    double client_us = 0;
    double broker_us = 0;
    /// CPUs that the broker kept busy meanwhile, and all that others left idle.
    double broker_cpus = 0;
    double idle_cpus = 0;
    /// Messages that are acknowledged at a time; 0 of those that are published.
    double batch = 0;
};

struct amqp_broker {
    std::string url;
    /// Its Erlang machine.
    int pid = 0;
};

struct amqp_row {
    std::string name;
    std::function<amqp_cost()> measure;
};

/// Ours. Each leaves the broker as it was.
[[nodiscard]] std::vector<amqp_row> amqp_rows(const amqp_broker& at, std::uint64_t messages);

/// CPU time of a process, in seconds, in steps of the kernel's ticks.
[[nodiscard]] double cpu_seconds_of(int pid);

} // namespace bench
