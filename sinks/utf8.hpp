// Characters of UTF-8, and which of them a log line does not show as they are. No allocation.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace sapwood::detail {

struct utf8_character {
    std::uint32_t code;
    /// Bytes it takes; 0 where no valid character begins here.
    std::size_t size;
};

/// The UTF-8 character at the start of `text` (RFC 3629: no overlong form, no surrogate, nothing
/// above U+10FFFF), which must not be empty.
[[nodiscard]] inline utf8_character decode_utf8(std::string_view text) noexcept {
    const auto byte = [text](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned char lead = byte(0);
    if (lead < 0x80) {
        return {lead, 1};
    }
    const std::size_t size = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (lead < 0xc2 || lead > 0xf4 || text.size() < size) {
        return {0, 0};
    }
    std::uint32_t code = lead & (0x7fu >> size);
    for (std::size_t i = 1; i < size; ++i) {
        if ((byte(i) & 0xc0) != 0x80) {
            return {0, 0};
        }
        code = (code << 6) | (byte(i) & 0x3fu);
    }
    constexpr std::array<std::uint32_t, 5> least{0, 0, 0x80, 0x800, 0x10000};
    const bool is_surrogate = code >= 0xd800 && code <= 0xdfff;
    if (code < least[size] || is_surrogate || code > 0x10ffff) {
        return {0, 0};
    }
    return {code, size};
}

/// C0, DEL and C1 controls, line separators, and what changes the direction of text (Unicode's
/// Bidi_Control property).
[[nodiscard]] inline bool is_dangerous(std::uint32_t code) noexcept {
    return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x61c || code == 0x200e ||
           code == 0x200f || (code >= 0x2028 && code <= 0x202e) ||
           (code >= 0x2066 && code <= 0x2069);
}

} // namespace sapwood::detail
