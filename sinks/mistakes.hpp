// Mistakes that a log could make with its disk, by name: the tests must find each of them. In the
// library makes() is a constant, and none is made; only sources that a test compiles with
// SAPWOOD_TEST_MISTAKES can make the one that is in `made`.
#pragma once

#include <cstdint>

namespace sapwood::detail {

enum class mistake : std::uint8_t {
    none,
    /// durable() returns when the kernel has the lines.
    acknowledge_before_sync,
    /// What a short write has left is not written.
    ignore_short_write,
    /// A sync that failed is tried again on the same descriptor, and believed.
    retry_sync,
    /// A new segment's name is not made durable.
    forget_directory_sync,
    /// A batch whose write failed is acknowledged.
    acknowledge_failed_write,
    /// Where space is preallocated, the last block is written again without what it has.
    forget_last_block,
    /// A file that somebody has renamed is taken for the log's for as long as it has a name.
    believe_renamed_file,
    /// What somebody has put in the log's place is opened, though it is a link.
    follow_planted_link,
    /// The same of a file that has another name.
    accept_hard_link,
};

#ifdef SAPWOOD_TEST_MISTAKES

inline mistake made = mistake::none;

[[nodiscard]] inline bool makes(mistake which) noexcept {
    return made == which;
}

#else

[[nodiscard]] constexpr bool makes(mistake) noexcept {
    return false;
}

#endif

} // namespace sapwood::detail
