// take_marks: numbered lines that are to be written once more say no longer that what stood above
// them is on disk, which was true of the place that they were written to. Any thread.
#pragma once

#include <sapwood/numbered_line.hpp>

#include <algorithm>
#include <cstddef>
#include <span>
#include <string_view>

namespace sapwood::detail {

/// `lines` are whole, and their checksums are not of the marks.
inline void take_marks(std::span<char> lines) noexcept {
    const std::string_view text(lines.data(), lines.size());
    for (std::size_t begin = 0; text.size() - begin > numbered_line::mark_at;) {
        if (lines[begin + numbered_line::mark_at] == numbered_line::mark) {
            lines[begin + numbered_line::mark_at] = ' ';
        }
        begin = std::min(text.find('\n', begin), text.size() - 1) + 1;
    }
}

} // namespace sapwood::detail
