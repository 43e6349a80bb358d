// What a log says of records that a thread logged and that are not there. Async-signal-safe.
#pragma once

#include <sapwood/log_backend.hpp>

#include <cstddef>
#include <cstdint>

namespace sapwood::detail {

/// Seven numbers, the reasons, and the words between them.
inline constexpr std::size_t gap_text_bytes_max = 512;

/// The records of `from` up to the number `through`, which is not one of them, are missing: the
/// next one that is expected is that. Puts who, how many, which and why into `to`; returns the
/// size.
std::size_t put_gap_text(log_producer& from, std::uint64_t through, char* to) noexcept;

} // namespace sapwood::detail
