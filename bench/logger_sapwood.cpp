// sapwood's logger as a program would use it: one file, its default pattern (time to the
// millisecond, thread, level, message), a ring of 512 KiB for each thread, nothing dropped. Tasks
// share their loop with who writes the log, or log to one that has a thread of its own.

#include <cstdint>
#include <string_view>
#include <vector>

#include <sapwood/logger.hpp>
#include <sapwood/run.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/task_group.hpp>

#include "logger_case.hpp"
#include "writer_record.hpp"

namespace bench {

namespace {

[[gnu::always_inline]] inline void log_one(const sapwood::logger& log, message what,
                                           std::uint64_t producer, std::uint64_t index) {
    switch (what) {
    case message::text:
        log.info(BENCH_LOGGER_TEXT);
        break;
    case message::integers: {
        const record r = record_of(producer, index);
        log.info(BENCH_LOGGER_INTEGERS, r.producer, r.index, r.user, r.took_us, r.state);
        break;
    }
    case message::number:
        log.info(BENCH_LOGGER_NUMBER, number_of(producer, index));
        break;
    }
}

sapwood::task<> log_share(const sapwood::logger& log, const logger_job& job,
                          std::uint64_t producer) {
    const std::uint64_t count = share_of(producer, job.producers(), job.records);
    for (std::uint64_t i = 0; i < count; ++i) {
        co_await log.room(); // a loop is never blocked: it waits by itself
        log_one(log, job.what, producer, i);
    }
}

sapwood::task<> log_all(const sapwood::logger& log, const logger_job& job) {
    std::vector<sapwood::join_handle<>> all;
    for (std::uint64_t producer = 0; producer < job.coroutines; ++producer) {
        all.push_back(sapwood::spawn(log_share(log, job, producer)));
    }
    for (const auto& each : all) {
        co_await each;
    }
}

sapwood::task<> log_on_this_loop(const logger_job& job) {
    sapwood::logger_options options{.path = job.path};
    const sapwood::logger log = co_await sapwood::logger::on_this_loop(options);
    co_await log_all(log, job);
    co_await log.close();
}

} // namespace

void log_with_sapwood(const logger_job& job, run_meter& /*meter*/) {
    if (job.coroutines > 0) {
        sapwood::run(log_on_this_loop(job));
        return;
    }
    const sapwood::logger log{{.path = job.path}};
    run_threads(job, [&](std::uint64_t producer) {
        const std::uint64_t count = share_of(producer, job.threads, job.records);
        for (std::uint64_t i = 0; i < count; ++i) {
            log_one(log, job.what, producer, i);
        }
    });
} // The logger's destructor writes the rest and closes the file.

void log_with_sapwood_thread(const logger_job& job, run_meter& /*meter*/) {
    const sapwood::logger log{{.path = job.path}};
    sapwood::run(log_all(log, job));
}

void time_sapwood(const logger_job& job, std::vector<double>& nanoseconds) {
    place_logger(job);

    struct call {
        sapwood::logger log;
        std::uint64_t index = 0;
    } one{sapwood::logger{{.path = job.path}}};

    time_bursts(
        job, nanoseconds,
        [](void* with) {
            auto& each = *static_cast<call*>(with);
            each.log.info(BENCH_LOGGER_INTEGERS, 1, ++each.index, 83172206, 1937,
                          std::string_view("queued"));
        },
        &one);
}

} // namespace bench
