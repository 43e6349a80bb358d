#include <sapwood/escape.hpp>

#include <array>
#include <cstdint>
#include <stdexcept>

namespace sapwood {

namespace {

constexpr std::string_view hex_digits = "0123456789abcdef";

void append_hex(unsigned char byte, std::string& out) {
    out += "\\x";
    out += hex_digits[byte >> 4];
    out += hex_digits[byte & 0xf];
}

int hex_value(char digit) noexcept {
    const auto value = hex_digits.find(digit);
    return value == std::string_view::npos ? -1 : static_cast<int>(value);
}

} // namespace

namespace detail {

/// RFC 3629: no overlong form, no surrogate, nothing above U+10FFFF.
utf8_character decode_utf8(std::string_view text) noexcept {
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
/// Bidi_Control property), and what has no width and joins nothing.
bool is_deceptive(std::uint32_t code) noexcept {
    const auto within = [code](std::uint32_t first, std::uint32_t last) {
        return code - first <= last - first;
    };
    return code < 0x20 || within(0x7f, 0x9f) || code == 0x61c || code == 0x200b ||
           within(0x200e, 0x200f) || within(0x2028, 0x202e) || within(0x2060, 0x206f) ||
           code == 0xfeff || within(0xfff9, 0xfffb) || within(0xe0000, 0xe007f);
}

} // namespace detail

bool is_utf8(std::string_view text) noexcept {
    while (!text.empty()) {
        const std::size_t size = detail::decode_utf8(text).size;
        if (size == 0) {
            return false;
        }
        text.remove_prefix(size);
    }
    return true;
}

void escape(std::string_view text, std::string& out) {
    while (!text.empty()) {
        switch (text.front()) {
        case '\\':
            out += "\\\\";
            text.remove_prefix(1);
            continue;
        case '\n':
            out += "\\n";
            text.remove_prefix(1);
            continue;
        case '\r':
            out += "\\r";
            text.remove_prefix(1);
            continue;
        case '\t':
            out += "\\t";
            text.remove_prefix(1);
            continue;
        default:
            break;
        }
        const auto [code, size] = detail::decode_utf8(text);
        if (size == 0) {
            append_hex(static_cast<unsigned char>(text.front()), out);
            text.remove_prefix(1);
            continue;
        }
        for (const char c : text.substr(0, size)) {
            if (detail::is_deceptive(code)) {
                append_hex(static_cast<unsigned char>(c), out);
            } else {
                out += c;
            }
        }
        text.remove_prefix(size);
    }
}

std::string unescape(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '\\') {
            out += text[i];
            continue;
        }
        const char kind = i + 1 < text.size() ? text[i + 1] : '\0';
        switch (kind) {
        case '\\':
            out += '\\';
            break;
        case 'n':
            out += '\n';
            break;
        case 'r':
            out += '\r';
            break;
        case 't':
            out += '\t';
            break;
        case 'x': {
            const int high = i + 2 < text.size() ? hex_value(text[i + 2]) : -1;
            const int low = i + 3 < text.size() ? hex_value(text[i + 3]) : -1;
            if (high < 0 || low < 0) {
                throw std::invalid_argument("unescape: \\x needs two hexadecimal digits");
            }
            out += static_cast<char>(high * 16 + low);
            i += 2;
            break;
        }
        default:
            throw std::invalid_argument("unescape: a backslash begins no known escape");
        }
        ++i;
    }
    std::string again;
    escape(out, again);
    if (again != text) {
        throw std::invalid_argument("unescape: the text holds what is always, or never, escaped");
    }
    return out;
}

} // namespace sapwood
