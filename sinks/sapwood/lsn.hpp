// lsn: the place of a record in a log, 1, 2, 3 ... over all segments and restarts of the log. A
// strong type for any thread: no count of anything else is taken for one.
#pragma once

#include <cstdint>

namespace sapwood {

enum class lsn : std::uint64_t {
    /// Of no record: before the first.
    none = 0,
};

[[nodiscard]] constexpr std::uint64_t to_number(lsn place) noexcept {
    return static_cast<std::uint64_t>(place);
}

/// The place `records` further on.
[[nodiscard]] constexpr lsn operator+(lsn place, std::uint64_t records) noexcept {
    return static_cast<lsn>(to_number(place) + records);
}

} // namespace sapwood
