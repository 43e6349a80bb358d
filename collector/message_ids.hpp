// The ids of messages as they stand in a log's lines: what a message that comes again is recognised
// by. A collector that starts reads those of the newest lines. Any thread.
#pragma once

#include "named_log.hpp"

#include <sapwood/amqp/recent_ids.hpp>

#include <cstddef>
#include <string>
#include <string_view>

namespace sapwood::collector {

/// What stands before its value.
inline constexpr std::string_view message_id_name = "message_id";

/// What a queue's records have as their source's name, before the queue's own.
inline constexpr std::string_view queue_source_prefix = "amqp ";

/// Puts into `to` how a queue's name, a word, and a message's id stand in a line: as they do,
/// nobody else's text can. Empty without an id.
void put_message_id(log_form form, std::string_view queue, std::string_view id, std::string& to);

/// The same out of a whole line. Empty where it is of no message, or of one without an id.
[[nodiscard]] std::string_view message_id_of(log_form form, std::string_view line) noexcept;

struct recent_lines_limits {
    std::size_t ids = 1u << 17;
    std::size_t bytes = 32u << 20;
};

/// The queue's, of the newest lines of the log at `path`, and, as far as those are too few, of the
/// files that it was rotated into and that are not compressed. Blocks. Throws std::system_error.
[[nodiscard]] amqp::recent_ids read_message_ids(const std::string& path, log_form form,
                                                std::string_view queue,
                                                const recent_lines_limits& limits);

} // namespace sapwood::collector
