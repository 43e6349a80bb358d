// A line of the log's own, of no thread's, as an output makes it; and lines, counted.
#pragma once

#include <sapwood/log_record.hpp>
#include <sapwood/wall_clock.hpp>

#include <algorithm>
#include <cstdint>
#include <string_view>

namespace sapwood::detail {

/// Borrows the text.
[[nodiscard]] inline log_record own_record(std::string_view text, level importance) noexcept {
    static const log_thread nobody;
    return {.when = wall_clock::now(),
            .importance = importance,
            .is_known_plain = false,
            .is_truncated = false,
            .message = text,
            .logger = log_record::own_name,
            .logger_id = log_record::own_id,
            .thread = nobody,
            .sequence = 0,
            .fields = {}};
}

[[nodiscard]] inline std::uint64_t lines_in(std::string_view text) noexcept {
    return static_cast<std::uint64_t>(std::count(text.begin(), text.end(), '\n'));
}

} // namespace sapwood::detail
