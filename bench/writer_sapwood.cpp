// Question: what does one loop take, with a coroutine per producer and one that writes?
// Method: each producer appends its records to one pipeline, which renders them into batches of
// 256 KiB; at most 1024 records wait, so nearly all of 10000 producers do. Unit: see writers.cpp.

#include <vector>

#include <sapwood/pipeline.hpp>
#include <sapwood/run.hpp>
#include <sapwood/when_all.hpp>

#include "writer.hpp"
#include "writer_record.hpp"

namespace bench {

namespace {

sapwood::level importance_of(level severity) {
    constexpr sapwood::level importances[] = {sapwood::level::debug, sapwood::level::info,
                                              sapwood::level::warning, sapwood::level::error};
    return importances[static_cast<std::size_t>(severity)];
}

sapwood::task<> produce(sapwood::pipeline& log, std::uint32_t producer, std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) {
        const record r = record_of(producer, i);
        co_await log.append(sapwood::make_record(importance_of(r.severity), producer,
                                                 FMT_COMPILE(BENCH_MESSAGE_FORMAT), r.producer,
                                                 r.index, r.user, r.took_us, r.state));
    }
}

sapwood::task<> write(const writer_job& job) {
    const sapwood::file_sink_options options{.path = job.path};
    sapwood::pipeline log(co_await sapwood::file_sink::open(options));
    std::vector<sapwood::task<>> producers;
    producers.reserve(job.producers);
    for (std::uint32_t i = 0; i < job.producers; ++i) {
        producers.push_back(produce(log, i, share_of(i, job.producers, job.records)));
    }
    co_await sapwood::when_all(std::move(producers));
    co_await log.close();
}

} // namespace

void write_with_sapwood(const writer_job& job, run_meter&) {
    sapwood::run(write(job));
}

} // namespace bench
