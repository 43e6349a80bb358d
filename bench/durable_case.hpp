// What every row of bench_durable does: producers that append a record of about 100 bytes, wait
// until it is durable, and append the next, for a time; and how the file is checked afterwards.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/chrono.h>
#include <fmt/compile.h>
#include <fmt/format.h>

namespace bench {

// The message of a record; with time, producer and level before it a line of about 100 bytes.
#define DURABLE_MESSAGE_FORMAT "producer {} record {} has a text of which so much is left"

struct durable_job {
    std::string path;
    std::uint64_t producers = 1;
    std::chrono::milliseconds time{1000};
};

struct durable_result {
    // Of each producer: how many records were acknowledged. It numbers them from 0.
    std::vector<std::uint64_t> acknowledged;
    std::chrono::nanoseconds wall{};
};

// One producer, write(2) and fdatasync(2).
durable_result write_by_floor(const durable_job& job);
// One producer, in whole blocks with O_DIRECT and RWF_DSYNC over zeros that were written before.
durable_result write_by_direct_floor(const durable_job& job);
// A thread per producer: who comes first while nobody writes leads, and syncs for all who wait.
durable_result write_by_threads(const durable_job& job);
// A coroutine per producer, on one loop.
durable_result write_by_sapwood(const durable_job& job);
// The same into a file whose space is preallocated, past the page cache.
durable_result write_by_preallocated_sapwood(const durable_job& job);

// For peers: the same plain line.
class durable_line {
  public:
    // 192 bytes at `to`. Returns the size.
    std::size_t format(char* to, std::uint64_t producer, std::uint64_t record) {
        const auto now = std::chrono::system_clock::now();
        const auto second = std::chrono::floor<std::chrono::seconds>(now);
        if (second != second_) {
            second_ = second;
            text_ = fmt::format("{:%Y-%m-%d %H:%M:%S}.",
                                fmt::gmtime(std::chrono::system_clock::to_time_t(second)));
        }
        char* const end = fmt::format_to(
            to, FMT_COMPILE("{}{:03} {} info " DURABLE_MESSAGE_FORMAT "\n"), text_,
            std::chrono::duration_cast<std::chrono::milliseconds>(now - second).count(), producer,
            producer, record);
        return static_cast<std::size_t>(end - to);
    }

  private:
    std::chrono::sys_seconds second_ = std::chrono::sys_seconds::min();
    std::string text_;
};

} // namespace bench
