// Checks the file that a writer left behind. Not part of any time that is reported.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "writer.hpp"

namespace bench {

struct time_window {
    std::chrono::system_clock::time_point begin;
    std::chrono::system_clock::time_point end;
};

// Every record of the job stands in its file exactly once, every line is exact to the byte, and
// every timestamp is well formed and lies in the window. Returns the size of the file.
// Throws std::runtime_error which names the first line that is wrong, and what is wrong with it.
std::uint64_t verify_file(const writer_job& job, const time_window& window);

} // namespace bench
