// The ids of messages as they stand in a log's lines: what a message that comes again is recognised
// by. A collector that starts reads those of the newest lines. Any thread.
#pragma once

#include "named_log.hpp"

#include <sapwood/amqp/recent_ids.hpp>

#include <atomic>
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

/// How much of a log is read, from its end on.
struct recent_lines_limits {
    /// No more than so many ids.
    std::size_t ids = 1u << 17;
    /// At least so many bytes,
    std::size_t bytes = 32u << 20;
    /// and as many more as have so many ids: what a broker may send again all at once.
    std::size_t ids_least = 0;
    /// But no more than these, in case the queue has few messages in a long log.
    std::size_t bytes_most = std::size_t{1} << 30;
    /// At a time.
    std::size_t piece_bytes = 1u << 20;
};

/// Puts the queue's into `to`, oldest first: of the newest lines of the log at `path`, and, as far
/// as those are too few, of the files that it was rotated into and that are not compressed. What is
/// there already stays. Blocks; when another thread sets `told_to_end`, it reads no further piece.
/// Throws std::system_error, std::bad_alloc.
void read_message_ids(const std::string& path, log_form form, std::string_view queue,
                      const recent_lines_limits& limits, amqp::recent_ids& to,
                      const std::atomic<bool>* told_to_end = nullptr);

} // namespace sapwood::collector
