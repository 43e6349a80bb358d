// Question: what do coroutines reach that wait each for its own record?
// Method: a coroutine per producer on one loop, one pipeline with durability::batch(); the file is
// numbered, so its lines have 26 bytes more than the peers'. Unit: see durable.cpp.

#include <sapwood/pipeline.hpp>
#include <sapwood/run.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/when_all.hpp>

#include "durable_case.hpp"

namespace bench {

namespace {

sapwood::task<> produce(sapwood::pipeline& log, std::uint32_t producer, const bool& over,
                        std::uint64_t& acknowledged) {
    for (std::uint64_t i = 0; !over; ++i) {
        auto item = sapwood::make_record(sapwood::level::info, producer,
                                         FMT_COMPILE(DURABLE_MESSAGE_FORMAT), producer, i);
        const sapwood::lsn place = co_await log.append(std::move(item));
        co_await log.durable(place);
        ++acknowledged;
    }
}

sapwood::task<> end_after(std::chrono::milliseconds time, bool& over) {
    co_await sapwood::sleep_for(time);
    over = true;
}

sapwood::task<> write(const durable_job& job, std::size_t preallocated, durable_result& result) {
    const sapwood::file_sink_options file{.path = job.path, .preallocated_bytes = preallocated};
    sapwood::pipeline_options options;
    options.durable = sapwood::durability::batch();
    options.queue_records = 4096;
    sapwood::pipeline log = co_await sapwood::pipeline::open(file, options);
    bool over = false;
    const auto begin = std::chrono::steady_clock::now();
    std::vector<sapwood::task<>> tasks;
    for (std::uint32_t i = 0; i < job.producers; ++i) {
        tasks.push_back(produce(log, i, over, result.acknowledged[i]));
    }
    tasks.push_back(end_after(job.time, over));
    co_await sapwood::when_all(std::move(tasks));
    result.wall = std::chrono::steady_clock::now() - begin;
    co_await log.close();
}

durable_result write_into(std::size_t preallocated, const durable_job& job) {
    durable_result result{.acknowledged = std::vector<std::uint64_t>(job.producers), .wall = {}};
    sapwood::run(write(job, preallocated, result));
    return result;
}

} // namespace

durable_result write_by_sapwood(const durable_job& job) {
    return write_into(0, job);
}

durable_result write_by_preallocated_sapwood(const durable_job& job) {
    return write_into(8u << 20, job);
}

} // namespace bench
