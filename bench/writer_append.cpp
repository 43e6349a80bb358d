// Question: what does it cost to let the kernel keep the lines apart? Method: one descriptor with
// O_APPEND, one write(2) per record; nothing is ever lost in a buffer. Unit: see writers.cpp.

#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <system_error>

#include <fcntl.h>
#include <unistd.h>

#include "writer.hpp"
#include "writer_record.hpp"
#include "writer_threads.hpp"

namespace bench {

void write_with_append(const writer_job& job, run_meter& /*meter*/) {
    const auto fail = [&] {
        throw std::system_error{errno, std::generic_category(), "cannot write " + job.path};
    };
    const int fd = open(job.path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0) {
        fail();
    }
    run_producers(job, [&](std::uint64_t producer) {
        line_formatter formatter;
        std::array<char, line_bytes_max> line;
        const std::uint64_t count = share_of(producer, job.producers, job.records);
        for (std::uint64_t i = 0; i < count; ++i) {
            const std::size_t size = formatter.format(line.data(), record_of(producer, i),
                                                      std::chrono::system_clock::now());
            // A short write would tear the line: somebody else may have appended since.
            if (write(fd, line.data(), size) != static_cast<ssize_t>(size)) {
                fail();
            }
        }
    });
    if (close(fd) != 0) {
        fail();
    }
}

} // namespace bench
