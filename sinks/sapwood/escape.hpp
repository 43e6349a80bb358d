// Escaping: whatever a user puts into a message, it stays one line and looks like what it is.
// Any thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace sapwood {

/// Whether `text` stands in a log line as it is: printable ASCII without a backslash. Most do.
[[nodiscard]] inline bool is_plain(std::string_view text) noexcept {
    // Without an early exit, so that the compiler can take many bytes at a time.
    bool plain = true;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        plain &= static_cast<unsigned char>(byte - 0x20) < 0x5f && byte != '\\';
    }
    return plain;
}

/// Appends `text` to `out` in a form that is valid UTF-8, one line, and can be turned back: a
/// backslash becomes `\\`; newline, carriage return and tab `\n`, `\r`, `\t`; any other byte of a
/// control character (C0, DEL, C1), of a character that reorders or breaks lines (bidirectional
/// controls, U+2028, U+2029), or of broken UTF-8 becomes `\xHH`. Other UTF-8 is kept.
void escape(std::string_view text, std::string& out);

/// The inverse of escape. Throws std::invalid_argument on what escape cannot have made.
[[nodiscard]] std::string unescape(std::string_view text);

} // namespace sapwood
