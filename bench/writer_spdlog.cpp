// Question: what does the logger most C++ programs use take? Method: one file sink, one logger per
// producer that carries its name; synchronous, or with one worker behind a queue of 8192 records
// that blocks when full. Formatting is spdlog's own, by a pattern. Unit: see writers.cpp.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include <fmt/format.h>
#include <spdlog/async.h>
#include <spdlog/async_logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/spdlog.h>

#include "writer.hpp"
#include "writer_record.hpp"
#include "writer_threads.hpp"

namespace bench {

namespace {

constexpr std::size_t queue_records = 8192;

spdlog::sink_ptr make_sink(const writer_job& job) {
    auto sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(job.path, true);
    sink->set_formatter(std::make_unique<spdlog::pattern_formatter>(
        "%Y-%m-%d %H:%M:%S.%e %n %l %v", spdlog::pattern_time_type::utc));
    return sink;
}

spdlog::level::level_enum to_spdlog(level severity) {
    constexpr spdlog::level::level_enum levels[] = {
        spdlog::level::debug,
        spdlog::level::info,
        spdlog::level::warn,
        spdlog::level::err,
    };
    return levels[static_cast<std::size_t>(severity)];
}

void log_share(const writer_job& job, std::uint64_t producer, spdlog::logger& logger) {
    logger.set_level(spdlog::level::debug);
    const std::uint64_t count = share_of(producer, job.producers, job.records);
    for (std::uint64_t i = 0; i < count; ++i) {
        const record r = record_of(producer, i);
        logger.log(to_spdlog(r.severity), BENCH_MESSAGE_FORMAT, r.producer, r.index, r.user,
                   r.took_us, r.state);
    }
}

std::string logger_name(std::uint64_t producer) {
    return std::to_string(producer);
}

} // namespace

void write_with_spdlog(const writer_job& job, run_meter& /*meter*/) {
    const spdlog::sink_ptr sink = make_sink(job);
    run_producers(job, [&](std::uint64_t producer) {
        spdlog::logger logger{logger_name(producer), sink};
        log_share(job, producer, logger);
    });
} // The last owner of the sink closes the file.

void write_with_spdlog_async(const writer_job& job, run_meter& /*meter*/) {
    const spdlog::sink_ptr sink = make_sink(job);
    const auto workers = std::make_shared<spdlog::details::thread_pool>(queue_records, 1);
    run_producers(job, [&](std::uint64_t producer) {
        // An async_logger has to be shared: its queued records keep it alive.
        const auto logger = std::make_shared<spdlog::async_logger>(
            logger_name(producer), sink, workers, spdlog::async_overflow_policy::block);
        log_share(job, producer, *logger);
    });
} // The pool's destructor works the queue off; then the last owner of the sink closes the file.

} // namespace bench
