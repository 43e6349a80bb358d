#include "writer.hpp"

#include <sys/resource.h>
#include <sys/time.h>

namespace bench {

namespace {

std::chrono::microseconds to_duration(const timeval& time) {
    return std::chrono::seconds{time.tv_sec} + std::chrono::microseconds{time.tv_usec};
}

constexpr std::uint64_t thread_counts[] = {1, 2, 4, 64};
constexpr std::uint64_t only_one[] = {1};
#if defined(BENCH_HAS_SAPWOOD_WRITER)
constexpr std::uint64_t coroutine_counts[] = {1, 4, 64, 1000, 10000};
#endif

constexpr writer writers[] = {
#if defined(BENCH_HAS_SAPWOOD_WRITER)
    {"sapwood", writer_kind::sapwood, coroutine_counts, &write_with_sapwood},
#endif
    {"mutex + fwrite", writer_kind::threads, thread_counts, &write_with_fwrite},
    {"append per record", writer_kind::threads, thread_counts, &write_with_append},
    {"bounded queue", writer_kind::threads, thread_counts, &write_with_queue},
    {"spdlog", writer_kind::threads, thread_counts, &write_with_spdlog},
    {"spdlog async", writer_kind::threads, thread_counts, &write_with_spdlog_async},
    {"memcpy limit", writer_kind::limit, only_one, &write_with_memcpy},
};

} // namespace

void run_meter::start() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    user_ = to_duration(usage.ru_utime);
    system_ = to_duration(usage.ru_stime);
    start_ = std::chrono::steady_clock::now();
}

std::chrono::nanoseconds run_meter::wall() const {
    return std::chrono::steady_clock::now() - start_;
}

std::span<const writer> all_writers() {
    return writers;
}

} // namespace bench
