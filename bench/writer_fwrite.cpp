// Question: how far does a mutex around a stdio stream get? Method: each thread formats into its
// own stack buffer and holds the mutex only for the copy into the stream's buffer of 256 KiB; the
// stream's own lock is left out, the mutex replaces it. Unit: see writers.cpp.

#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <mutex>
#include <system_error>

#include "writer.hpp"
#include "writer_record.hpp"
#include "writer_threads.hpp"

namespace bench {

void write_with_fwrite(const writer_job& job, run_meter& /*meter*/) {
    const auto fail = [&] {
        throw std::system_error{errno, std::generic_category(), "cannot write " + job.path};
    };
    std::FILE* const file = std::fopen(job.path.c_str(), "w");
    if (file == nullptr || std::setvbuf(file, nullptr, _IOFBF, 256 * 1024) != 0) {
        fail();
    }
    std::mutex mutex;
    run_producers(job, [&](std::uint64_t producer) {
        line_formatter formatter;
        std::array<char, line_bytes_max> line;
        const std::uint64_t count = share_of(producer, job.producers, job.records);
        for (std::uint64_t i = 0; i < count; ++i) {
            const std::size_t size = formatter.format(line.data(), record_of(producer, i),
                                                      std::chrono::system_clock::now());
            const std::scoped_lock lock{mutex};
            if (fwrite_unlocked(line.data(), 1, size, file) != size) {
                fail();
            }
        }
    });
    if (std::fclose(file) != 0) {
        fail();
    }
}

} // namespace bench
