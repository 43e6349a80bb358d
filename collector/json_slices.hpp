// Where a JSON value ends, by its brackets and quotes alone: cuts arrays and sequences into pieces
// of which each is then looked at in full. Any thread.
#pragma once

#include <string_view>

namespace sapwood::collector {

[[nodiscard]] inline std::string_view without_space(std::string_view text) noexcept {
    if (!text.empty() && text.front() > ' ' && text.back() > ' ') [[likely]] {
        return text;
    }
    constexpr std::string_view spaces = " \t\r\n";
    const auto first = text.find_first_not_of(spaces);
    if (first == text.npos) {
        return {};
    }
    return text.substr(first, text.find_last_not_of(spaces) - first + 1);
}

/// The value that `text` begins with; all of it where it does not end. Where text is no JSON it is
/// some piece of it that is none either.
[[nodiscard]] inline std::string_view first_json_value(std::string_view text) noexcept {
    std::size_t depth = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
        switch (text[i]) {
        case '"':
            for (++i; i < text.size() && text[i] != '"'; ++i) {
                i += text[i] == '\\' ? 1 : 0;
            }
            break;
        case '{':
        case '[':
            ++depth;
            continue;
        case '}':
        case ']':
            if (depth <= 1) {
                return text.substr(0, depth == 1 ? i + 1 : i);
            }
            --depth;
            continue;
        case ',':
        case ' ':
        case '\t':
        case '\r':
        case '\n':
            if (depth == 0) {
                return text.substr(0, i);
            }
            continue;
        default:
            continue;
        }
        if (depth == 0 && i < text.size()) {
            return text.substr(0, i + 1); // a string by itself
        }
    }
    return text;
}

} // namespace sapwood::collector
