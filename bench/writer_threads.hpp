// Runs a job's producers as threads, all at once, and waits for them.
#pragma once

#include <cstdint>
#include <thread>
#include <vector>

#include "writer.hpp"

namespace bench {

// `produce(producer)` is called on a thread of its own for each. What it throws ends the process.
template <typename Produce>
void run_producers(const writer_job& job, const Produce& produce) {
    std::vector<std::jthread> threads;
    for (std::uint64_t producer = 0; producer < job.producers; ++producer) {
        threads.emplace_back([&produce, producer] { produce(producer); });
    }
}

} // namespace bench
