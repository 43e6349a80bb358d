#include "writer.hpp"

namespace bench {

namespace {

constexpr std::uint64_t thread_counts[] = {1, 2, 4, 64};
constexpr std::uint64_t only_one[] = {1};
constexpr std::uint64_t coroutine_counts[] = {1, 4, 64, 1000, 10000};

constexpr writer writers[] = {
    {"sapwood", writer_kind::sapwood, coroutine_counts, &write_with_sapwood},
    {"mutex + fwrite", writer_kind::threads, thread_counts, &write_with_fwrite},
    {"append per record", writer_kind::threads, thread_counts, &write_with_append},
    {"bounded queue", writer_kind::threads, thread_counts, &write_with_queue},
    {"spdlog", writer_kind::threads, thread_counts, &write_with_spdlog},
    {"spdlog async", writer_kind::threads, thread_counts, &write_with_spdlog_async},
    {"memcpy limit", writer_kind::limit, only_one, &write_with_memcpy},
};

} // namespace

std::span<const writer> all_writers() {
    return writers;
}

} // namespace bench
