// A writer: one way to get the records of many producers into one file.
//
// It runs in a process of its own. Its function is called once, on the main thread, and returns
// when the file is complete and closed; what it throws is reported and ends the bench. For each of
// `producers`, it writes the records record_of(producer, 0 .. share_of(...) - 1), in any order
// across producers, as lines of writer_record.hpp's form, reading the clock once per record.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "run_meter.hpp"

namespace bench {

struct writer_job {
    std::string path; // Does not exist yet. Its directory is empty, and removed afterwards.
    std::uint64_t producers = 1;
    std::uint64_t records = 0; // Of all producers together.
};

enum class writer_kind {
    sapwood, // Producers are coroutines.
    threads, // Producers are threads.
    limit,   // Does less than the task, to show what cannot be beaten.
};

struct writer {
    std::string_view name;
    writer_kind kind = writer_kind::threads;
    std::span<const std::uint64_t> producers; // The counts it is measured with.
    void (*write)(const writer_job& job, run_meter& meter) = nullptr;
};

[[nodiscard]] std::span<const writer> all_writers();

void write_with_fwrite(const writer_job& job, run_meter& meter);
void write_with_append(const writer_job& job, run_meter& meter);
void write_with_queue(const writer_job& job, run_meter& meter);
void write_with_spdlog(const writer_job& job, run_meter& meter);
void write_with_spdlog_async(const writer_job& job, run_meter& meter);
void write_with_memcpy(const writer_job& job, run_meter& meter);
void write_with_sapwood(const writer_job& job, run_meter& meter); // If the build has sapwood.

} // namespace bench
