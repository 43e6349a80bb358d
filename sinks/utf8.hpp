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

/// C0, DEL and C1 controls, line separators, what changes the direction of text (Unicode's
/// Bidi_Control property), and what is not seen and joins nothing.
[[nodiscard]] inline bool is_dangerous(std::uint32_t code) noexcept {
    const auto within = [code](std::uint32_t first, std::uint32_t last) {
        return code - first <= last - first;
    };
    return code < 0x20 || within(0x7f, 0x9f) || code == 0x61c || code == 0x200b ||
           within(0x200e, 0x200f) || within(0x2028, 0x202e) || within(0x2060, 0x206f) ||
           code == 0xfeff || within(0xfff9, 0xfffb) || within(0xe0000, 0xe007f);
}

} // namespace sapwood::detail
