// Question: what could no writer beat? Method: all lines are formatted before the clock starts, and
// only copied into blocks of 256 KiB and written with write(2), by one thread. Its memory is that
// of all lines, and says nothing. Unit: see writers.cpp.

#include <array>
#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

#include "block_file.hpp"
#include "writer.hpp"
#include "writer_record.hpp"

namespace bench {

void write_with_memcpy(const writer_job& job, run_meter& meter) {
    std::string lines;
    std::vector<std::size_t> ends;
    lines.reserve(job.records * 112);
    ends.reserve(job.records);
    line_formatter formatter;
    std::array<char, line_bytes_max> line;
    for (std::uint64_t producer = 0; producer < job.producers; ++producer) {
        const std::uint64_t count = share_of(producer, job.producers, job.records);
        for (std::uint64_t i = 0; i < count; ++i) {
            const std::size_t size = formatter.format(line.data(), record_of(producer, i),
                                                      std::chrono::system_clock::now());
            lines.append(line.data(), size);
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

} // namespace bench
