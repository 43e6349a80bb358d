#include <sapwood/escape.hpp>

#include "utf8.hpp"

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

bool detail::is_long_plain(std::string_view text) noexcept {
    const auto load = [&text](std::size_t at) {
        std::uint64_t bytes = 0;
        std::memcpy(&bytes, text.data() + at, sizeof(bytes));
        return bytes;
    };
    std::uint64_t found = suspicious(load(text.size() - 8)); // some of them twice
    for (std::size_t at = 0; at + 8 <= text.size(); at += 8) {
        found |= suspicious(load(at));
    }
    return found == 0;
}

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
            if (detail::is_dangerous(code)) {
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
