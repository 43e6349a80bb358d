// Escaping: whatever a user puts into a message, it stays one line and looks like what it is.
// Any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace sapwood {

namespace detail {

/// A text of four to sixteen bytes, as four pieces of four bytes that overlap where it is shorter.
/// No branch depends on the size: which of these a user's string has, no processor guesses.
struct four_fours {
    std::size_t at[4];

    explicit four_fours(std::size_t size) noexcept
        : at{0, size < 8 ? size - 4 : 4, size < 8 ? 0 : size - 8, size - 4} {}

    [[nodiscard]] static std::uint32_t load(const char* from) noexcept {
        std::uint32_t four = 0;
        std::memcpy(&four, from, sizeof(four));
        return four;
    }
};

/// Less than four bytes, the first one lowest, zeros behind it.
[[nodiscard]] inline std::uint32_t short_text(std::string_view text) noexcept {
    const std::size_t size = text.size();
    if (size == 0) {
        return 0; // it may be a null pointer
    }
    const auto byte = [&](std::size_t i) {
        return static_cast<std::uint32_t>(static_cast<unsigned char>(text[i])) << (8 * i);
    };
    return byte(0) | byte(size / 2) | byte(size - 1);
}

/// The high bit of a byte is set where that byte is not plain; see is_plain.
[[nodiscard]] inline std::uint64_t suspicious(std::uint64_t bytes) noexcept {
    // Borrows and carries start only at bytes that are not plain, so they never accuse a text that
    // is.
    constexpr std::uint64_t each = 0x0101010101010101;
    return (bytes |                           // 0x80 and above
            (bytes + each) |                  // DEL
            (bytes - 0x20 * each) |           // controls
            ((bytes ^ ('\\' * each)) - each)) // a backslash
           & (0x80 * each);
}

/// is_plain() of more than sixteen bytes.
[[nodiscard]] bool is_long_plain(std::string_view text) noexcept;

} // namespace detail

/// Whether `text` stands in a log line as it is: printable ASCII without a backslash. Most do.
[[nodiscard, gnu::always_inline]] inline bool is_plain(std::string_view text) noexcept {
    const std::size_t size = text.size();
    if (size > 16) {
        return detail::is_long_plain(text);
    }
    if (size < 4) {
        const std::uint64_t spaces = std::uint64_t{0x2020202020202020} << (8 * size);
        return detail::suspicious(detail::short_text(text) | spaces) == 0;
    }
    const detail::four_fours fours(size);
    const auto load = [&](std::size_t i) {
        return std::uint64_t{detail::four_fours::load(text.data() + fours.at[i])};
    };
    return (detail::suspicious(load(0) | load(1) << 32) |
            detail::suspicious(load(2) | load(3) << 32)) == 0;
}

/// Whether `text` is UTF-8 (RFC 3629: no overlong form, no surrogate, nothing above U+10FFFF).
[[nodiscard]] bool is_utf8(std::string_view text) noexcept;

/// Appends `text` to `out` in a form that is valid UTF-8, one line, and can be turned back: a
/// backslash becomes `\\`; newline, carriage return and tab `\n`, `\r`, `\t`; any other byte of a
/// control character (C0, DEL, C1), of a character that reorders or breaks lines (bidirectional
/// controls, U+2028, U+2029), of one that is not seen (zero-width space, word joiner, byte order
/// mark, tags and their like; not the joiners of scripts and emoji), or of broken UTF-8 becomes
/// `\xHH`. Other UTF-8 is kept.
void escape(std::string_view text, std::string& out);

/// The inverse of escape. Throws std::invalid_argument on what escape cannot have made.
[[nodiscard]] std::string unescape(std::string_view text);

} // namespace sapwood
