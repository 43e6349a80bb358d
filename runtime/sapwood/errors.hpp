// What sapwood throws, besides std::system_error with the kernel's own codes.
#pragma once

#include <system_error>

namespace sapwood {

/// Thrown at the await point of a task that was asked to stop. It is deliberately not a
/// std::exception (as asyncio's CancelledError is not an Exception): a handler for failures must
/// not swallow a request to stop. Catch it to clean up, then let it travel on.
struct cancelled {};

/// Conditions that are sapwood's own and have no errno.
enum class errc {
    /// The channel was closed: a send was refused, or everything in it has been received.
    closed = 1,
    /// A stream ended in the middle of what was to be read.
    end_of_stream,
    /// A delimiter did not come within the longest piece that a buffered_reader takes.
    piece_too_long,
    /// A record was accepted and lost: what its log's failure policy says, or no memory for it.
    lost,
};

[[nodiscard]] const std::error_category& error_category() noexcept;
[[nodiscard]] std::error_code make_error_code(errc value) noexcept;

} // namespace sapwood

template <>
struct std::is_error_code_enum<sapwood::errc> : std::true_type {};
