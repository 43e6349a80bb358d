// Lines of a durable log, for tests that need some.
#pragma once

#include <sapwood/numbered_line.hpp>

#include <cstdint>
#include <string>
#include <string_view>

namespace sapwood::test {

/// With its newline.
[[nodiscard]] inline std::string numbered(std::uint64_t place, std::string_view text,
                                          bool marked = false) {
    std::string line(numbered_line::head_bytes, ' ');
    line += text;
    line_head(static_cast<lsn>(place)).put(line.data(), line.size());
    if (marked) {
        line[numbered_line::mark_at] = numbered_line::mark;
    }
    return line + '\n';
}

} // namespace sapwood::test
