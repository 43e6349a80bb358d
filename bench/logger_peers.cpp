// The peers of bench_logger: spdlog, synchronous and with its thread (a queue of 8192 records that
// blocks when it is full), glog, which buffers lines in a FILE, and what no logger can beat: lines
// that are there already, copied into blocks of 256 KiB and written. The three have the time, the
// thread's number and the level before each message.

#include <cstdint>
#include <iomanip>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <glog/logging.h>
#include <spdlog/async.h>
#include <spdlog/async_logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/spdlog.h>

#include "block_file.hpp"
#include "logger_case.hpp"
#include "writer_record.hpp"

namespace bench {

namespace {

constexpr std::size_t queue_records = 8192;

spdlog::sink_ptr spdlog_file(const logger_job& job) {
    auto sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(job.path, true);
    sink->set_formatter(std::make_unique<spdlog::pattern_formatter>(
        "%Y-%m-%d %H:%M:%S.%e %t %l %v", spdlog::pattern_time_type::utc));
    return sink;
}

void log_share(const logger_job& job, std::uint64_t producer, spdlog::logger& log) {
    const std::uint64_t count = share_of(producer, job.threads, job.records);
    for (std::uint64_t i = 0; i < count; ++i) {
        switch (job.what) {
        case message::text:
            log.info(BENCH_LOGGER_TEXT);
            break;
        case message::integers: {
            const record r = record_of(producer, i);
            log.info(BENCH_LOGGER_INTEGERS, r.producer, r.index, r.user, r.took_us, r.state);
            break;
        }
        case message::number:
            log.info(BENCH_LOGGER_NUMBER, number_of(producer, i));
            break;
        }
    }
}

struct timed_spdlog {
    std::shared_ptr<spdlog::logger> log;
    std::uint64_t index = 0;

    static void call(void* with) {
        auto& each = *static_cast<timed_spdlog*>(with);
        each.log->info(BENCH_LOGGER_INTEGERS, 1, ++each.index, 83172206, 1937, "queued");
    }
};

std::string text_of(const logger_job& job, std::uint64_t producer, std::uint64_t index) {
    const record r = record_of(producer, index);
    switch (job.what) {
    case message::text:
        return BENCH_LOGGER_TEXT;
    case message::integers:
        return fmt::format(BENCH_LOGGER_INTEGERS, r.producer, r.index, r.user, r.took_us, r.state);
    case message::number:
        return fmt::format(BENCH_LOGGER_NUMBER, number_of(producer, index));
    }
    return {};
}

void open_glog(const logger_job& job) {
    FLAGS_logtostderr = false;
    FLAGS_stderrthreshold = google::GLOG_FATAL;
    FLAGS_timestamp_in_logfile_name = false;
    FLAGS_log_utc_time = true;
    FLAGS_max_log_size = 4095;
    google::InitGoogleLogging("bench_logger");
    google::SetLogDestination(google::GLOG_INFO, job.path.c_str());
}

} // namespace

void log_with_spdlog(const logger_job& job, run_meter& /*meter*/) {
    spdlog::logger log("bench", spdlog_file(job));
    run_threads(job, [&](std::uint64_t producer) { log_share(job, producer, log); });
}

void log_with_spdlog_async(const logger_job& job, run_meter& /*meter*/) {
    const auto worker = std::make_shared<spdlog::details::thread_pool>(queue_records, 1);
    const auto log = std::make_shared<spdlog::async_logger>("bench", spdlog_file(job), worker,
                                                            spdlog::async_overflow_policy::block);
    run_threads(job, [&](std::uint64_t producer) { log_share(job, producer, *log); });
} // The pool's destructor works the queue off.

void log_with_glog(const logger_job& job, run_meter& /*meter*/) {
    open_glog(job);
    run_threads(job, [&](std::uint64_t producer) {
        const std::uint64_t count = share_of(producer, job.threads, job.records);
        for (std::uint64_t i = 0; i < count; ++i) {
            switch (job.what) {
            case message::text:
                LOG(INFO) << BENCH_LOGGER_TEXT;
                break;
            case message::integers: {
                const record r = record_of(producer, i);
                LOG(INFO) << "producer " << r.producer << " record " << r.index << " user "
                          << r.user << " took " << r.took_us << " us state " << r.state;
                break;
            }
            case message::number:
                LOG(INFO) << "load average is now " << std::fixed << std::setprecision(3)
                          << number_of(producer, i);
                break;
            }
        }
    });
    google::ShutdownGoogleLogging();
}

void log_with_memcpy(const logger_job& job, run_meter& meter) {
    std::string lines;
    std::vector<std::size_t> ends;
    for (std::uint64_t producer = 0; producer < job.threads; ++producer) {
        const std::uint64_t count = share_of(producer, job.threads, job.records);
        for (std::uint64_t i = 0; i < count; ++i) {
            lines +=
                fmt::format("2026-11-21 22:39:56.123 12345 info {}\n", text_of(job, producer, i));
            ends.push_back(lines.size());
        }
    }
    meter.start();
    block_file file{job.path};
    std::size_t begin = 0;
    for (const std::size_t end : ends) {
        file.append({lines.data() + begin, end - begin});
        begin = end;
    }
    file.close();
}

void time_spdlog(const logger_job& job, std::vector<double>& nanoseconds) {
    place_logger(job);
    timed_spdlog one{std::make_shared<spdlog::logger>("bench", spdlog_file(job))};
    time_bursts(job, nanoseconds, &timed_spdlog::call, &one);
}

void time_spdlog_async(const logger_job& job, std::vector<double>& nanoseconds) {
    place_logger(job);
    const auto worker = std::make_shared<spdlog::details::thread_pool>(queue_records, 1);
    timed_spdlog one{std::make_shared<spdlog::async_logger>("bench", spdlog_file(job), worker,
                                                            spdlog::async_overflow_policy::block)};
    time_bursts(job, nanoseconds, &timed_spdlog::call, &one);
}

void time_glog(const logger_job& job, std::vector<double>& nanoseconds) {
    place_logger(job);
    open_glog(job);
    std::uint64_t index = 0;
    time_bursts(
        job, nanoseconds,
        [](void* with) {
            LOG(INFO) << "producer " << 1 << " record " << ++*static_cast<std::uint64_t*>(with)
                      << " user " << 83172206 << " took " << 1937 << " us state "
                      << "queued";
        },
        &index);
    google::ShutdownGoogleLogging();
}

} // namespace bench
