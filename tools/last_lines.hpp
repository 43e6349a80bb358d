// The last lines of a log, found from its end: what stands before them is not read. Plain system
// calls, before a loop runs.
#pragma once

#include "line_view.hpp"
#include "log_files.hpp"

#include <cstdint>
#include <string>

namespace sapwood::tools {

/// Where to go on: behind the last whole line of the present file.
struct follow_point {
    /// Opened for reading, the receiver's to close; -1 where there is no file.
    int fd = -1;
    std::uint64_t offset = 0;
};

/// Prints the last `wanted` lines that `view` wants; all from its filter's `since` on where that is
/// given, as far as lines are in order of time. A last line without a newline is printed as well,
/// unless the log is to be followed: then it is waited for. Throws std::system_error where the log
/// cannot be read; one that is to be followed may be missing.
[[nodiscard]] follow_point print_last_lines(const std::string& log, std::uint64_t wanted,
                                            bool is_followed, line_view& view);

} // namespace sapwood::tools
