// Escaping: whatever a user puts into a message, it stays one line and looks like what it is.
// Any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace sapwood {

/// Whether `text` stands in a log line as it is: printable ASCII without a backslash. Most do.
[[nodiscard]] inline bool is_plain(std::string_view text) noexcept {
    // Eight bytes at a time. A byte's high bit is set below where the byte is not plain; borrows
    // and carries start only at bytes that are not, so they never accuse a text that is.
    constexpr std::uint64_t each = 0x0101010101010101;
    const auto suspicious = [](std::uint64_t bytes) {
        return bytes |                           // 0x80 and above
               (bytes + each) |                  // DEL
               (bytes - 0x20 * each) |           // controls
               ((bytes ^ ('\\' * each)) - each); // a backslash
    };
    const auto load = [&text](std::size_t at, std::size_t size) {
        std::uint64_t bytes = 0x20 * each;
        std::memcpy(&bytes, text.data() + at, size);
        return bytes;
    };
    std::uint64_t found = 0;
    std::size_t at = 0;
    for (; at + 8 <= text.size(); at += 8) {
        found |= suspicious(load(at, 8));
    }
    if (text.size() >= 8) {
        found |= suspicious(load(text.size() - 8, 8)); // some of them once more
    } else if (!text.empty()) {
        found |= suspicious(load(0, text.size()));
    }
    return (found & (0x80 * each)) == 0;
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
