// CRC32C (Castagnoli; RFC 3720, B.4), by the processor's instruction where it has one, which is
// found out at run time. Any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace sapwood {

/// Of `bytes`, behind bytes whose checksum is `before`.
[[nodiscard]] std::uint32_t crc32c(std::string_view bytes, std::uint32_t before = 0) noexcept;

namespace detail {

/// Without the instruction.
[[nodiscard]] std::uint32_t crc32c_by_table(std::string_view bytes, std::uint32_t before) noexcept;

} // namespace detail

} // namespace sapwood
