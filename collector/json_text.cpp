// Text on its way into a line of JSON; see json_decoder.hpp.
#include "json_decoder.hpp"

#include <sapwood/escape.hpp>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <simdjson.h>

namespace sapwood::collector {

namespace {

/// How many bytes the character has that begins with `first`, in valid UTF-8.
std::size_t character_bytes(char first) noexcept {
    const auto byte = static_cast<unsigned char>(first);
    if (byte < 0xc0) {
        return 1;
    }
    return byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
}

std::uint32_t code_of(std::string_view character) noexcept {
    const std::size_t size = character.size();
    auto code = static_cast<std::uint32_t>(static_cast<unsigned char>(character.front()));
    code &= size == 1 ? 0x7fu : 0xffu >> (size + 1);
    for (const char c : character.substr(1)) {
        code = code << 6 | (static_cast<unsigned char>(c) & 0x3fu);
    }
    return code;
}

void append_unicode_escape(std::string_view character, std::string& to) {
    const auto put = [&to](std::uint32_t unit) {
        constexpr const char* digits = "0123456789abcdef";
        const char made[] = {'\\',
                             'u',
                             digits[unit >> 12 & 0xf],
                             digits[unit >> 8 & 0xf],
                             digits[unit >> 4 & 0xf],
                             digits[unit & 0xf]};
        to.append(made, sizeof(made));
    };
    const std::uint32_t code = code_of(character);
    if (code < 0x10000) {
        put(code);
    } else { // two halves, as UTF-16 has it
        put(0xd800 + ((code - 0x10000) >> 10));
        put(0xdc00 + ((code - 0x10000) & 0x3ff));
    }
}

/// Of valid UTF-8, whatever is not to stand in a line becomes an escape; the rest is kept.
void append_visible(std::string_view text, std::string& to) {
    const auto is_plain = [](char c) {
        const auto byte = static_cast<unsigned char>(c);
        return byte >= 0x20 && byte < 0x7f;
    };
    std::string escaped;
    while (!text.empty()) {
        const auto run =
            static_cast<std::size_t>(std::ranges::find_if_not(text, is_plain) - text.begin());
        to.append(text, 0, run);
        text.remove_prefix(run);
        if (text.empty()) {
            break;
        }
        const std::string_view character = text.substr(0, character_bytes(text.front()));
        text.remove_prefix(character.size());
        if (character.size() == 1) { // the control characters that there are besides spaces
            append_unicode_escape(character, to);
            continue;
        }
        escaped.clear();
        escape(character, escaped);
        if (escaped == character) {
            to += character;
        } else {
            append_unicode_escape(character, to);
        }
    }
}

} // namespace

void append_json_text(std::string_view text, std::string& to) {
    to += '"';
    while (!text.empty()) {
        const auto end = std::min(text.find_first_of("\"\\"), text.size());
        append_visible(text.substr(0, end), to);
        text.remove_prefix(end);
        if (!text.empty()) {
            to += '\\';
            to += text.front();
            text.remove_prefix(1);
        }
    }
    to += '"';
}

bool is_printable(std::string_view text) noexcept {
    // As is_plain does it, but for the backslash.
    constexpr std::uint64_t each = 0x0101010101010101;
    const auto suspicious = [](std::uint64_t bytes) {
        return bytes | (bytes + each) | (bytes - 0x20 * each);
    };
    if (text.size() < 8) {
        std::uint64_t bytes = 0x20 * each;
        if (!text.empty()) { // it may be a null pointer
            std::memcpy(&bytes, text.data(), text.size());
        }
        return (suspicious(bytes) & (0x80 * each)) == 0;
    }
    const auto load = [&text](std::size_t at) {
        std::uint64_t bytes = 0;
        std::memcpy(&bytes, text.data() + at, sizeof(bytes));
        return bytes;
    };
    std::uint64_t found = suspicious(load(text.size() - 8));
    for (std::size_t at = 0; at + 8 <= text.size(); at += 8) {
        found |= suspicious(load(at));
    }
    return (found & (0x80 * each)) == 0;
}

void append_json_line(std::string_view json, std::string& to) {
    if (is_printable(json)) {
        to += json;
        return;
    }
    // Outside of strings, control characters are white space; in strings there are none.
    const auto is_control = [](char c) { return static_cast<unsigned char>(c) < 0x20; };
    if (std::ranges::none_of(json, is_control)) {
        append_visible(json, to);
        return;
    }
    std::string padded(json);
    padded.reserve(padded.size() + simdjson::SIMDJSON_PADDING);
    std::string small(json.size(), '\0');
    std::size_t size = 0;
    if (simdjson::minify(padded.data(), padded.size(), small.data(), size) != simdjson::SUCCESS) {
        small.clear(); // it was no JSON
        std::ranges::replace_copy_if(json, std::back_inserter(small), is_control, ' ');
        size = small.size();
    }
    append_visible(std::string_view(small).substr(0, size), to);
}

void append_json_member(std::string_view name, std::string_view text, std::string& to) {
    constexpr std::string_view escaped_suffix = "_escaped";
    std::string shown_name;
    if (is_utf8(name)) {
        shown_name = name;
    } else {
        escape(name, shown_name);
    }
    std::string shown_text;
    if (!shown_name.ends_with(escaped_suffix) && is_utf8(text)) {
        shown_text = text;
    } else {
        escape(text, shown_text);
        shown_name += escaped_suffix;
    }
    append_json_text(shown_name, to);
    to += ':';
    append_json_text(shown_text, to);
}

} // namespace sapwood::collector
