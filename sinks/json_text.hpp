// Pieces of JSON (RFC 8259) on their way into a line: strings, members, numbers. What stands as it
// is, as most does, is written here; the rest is json_text.cpp's. Any thread.
#pragma once

#include <sapwood/escape.hpp>
#include <sapwood/log_record.hpp>
#include <sapwood/log_text.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace sapwood::detail {

/// Whether `odd` is 0 for each eight bytes of a text of at most sixteen. It is given some of them
/// twice, and `filler` for those that are missing.
template <class Odd>
[[nodiscard, gnu::always_inline]] inline bool is_none_of(std::string_view text, char filler,
                                                         Odd odd) noexcept {
    constexpr std::uint64_t each = 0x0101010101010101;
    const std::size_t size = text.size();
    if (size < 4) {
        const std::uint64_t fillers = (static_cast<unsigned char>(filler) * each) << (8 * size);
        return odd(short_text(text) | fillers) == 0;
    }
    const four_fours fours(size);
    const auto load = [&](std::size_t i) {
        return std::uint64_t{four_fours::load(text.data() + fours.at[i])};
    };
    return (odd(load(0) | load(1) << 32) | odd(load(2) | load(3) << 32)) == 0;
}

/// put_text() of at most sixteen bytes, and is_none_of(): each of them is looked at once.
template <class Odd>
[[nodiscard, gnu::always_inline]] inline bool put_if_none(char* to, std::string_view text,
                                                          char filler, Odd odd) noexcept {
    constexpr std::uint64_t each = 0x0101010101010101;
    const std::size_t size = text.size();
    if (size < 4) {
        const std::uint32_t bytes = short_text(text);
        std::memcpy(to, &bytes, sizeof(bytes));
        return odd(bytes | (static_cast<unsigned char>(filler) * each) << (8 * size)) == 0;
    }
    const four_fours fours(size);
    std::uint32_t four[4];
    for (std::size_t i = 0; i < 4; ++i) {
        four[i] = four_fours::load(text.data() + fours.at[i]);
        std::memcpy(to + fours.at[i], &four[i], 4);
    }
    return (odd(four[0] | std::uint64_t{four[1]} << 32) |
            odd(four[2] | std::uint64_t{four[3]} << 32)) == 0;
}

/// The high bit of a byte is set where that may be a quote: of plain text, where it is one.
[[nodiscard]] inline std::uint64_t quotes_in(std::uint64_t bytes) noexcept {
    constexpr std::uint64_t each = 0x0101010101010101;
    return ((bytes ^ ('"' * each)) - each) & (0x80 * each);
}

/// The high bit of a byte is set where that is a quote, or not plain.
[[nodiscard]] inline std::uint64_t suspicious_in_json(std::uint64_t bytes) noexcept {
    return suspicious(bytes) | quotes_in(bytes);
}

/// The same where that is neither a digit, nor a point, nor a minus.
[[nodiscard]] inline std::uint64_t no_digits_in(std::uint64_t bytes) noexcept {
    constexpr std::uint64_t each = 0x0101010101010101;
    return (bytes | (bytes + ('\x7f' - '9') * each) | (bytes - '-' * each) |
            ((bytes ^ ('/' * each)) - each)) &
           (0x80 * each);
}

/// Whether plain text stands in a JSON string as it is.
[[nodiscard, gnu::always_inline]] inline bool has_no_quote(std::string_view plain) noexcept {
    if (plain.size() > 16) {
        return std::memchr(plain.data(), '"', plain.size()) == nullptr;
    }
    return is_none_of(plain, ' ', quotes_in);
}

/// Whether it stands in a JSON string as it is. Most are short.
[[nodiscard, gnu::always_inline]] inline bool is_json_plain(std::string_view text) noexcept {
    if (text.size() > 16) {
        return is_plain(text) && has_no_quote(text);
    }
    return is_none_of(text, ' ', suspicious_in_json);
}

/// Puts a text of at most sixteen bytes where it stands in a JSON string as it is. False where it
/// does not, and then what is at `to` is nothing.
[[nodiscard, gnu::always_inline]] inline bool put_json_short(char* to,
                                                             std::string_view text) noexcept {
    return text.size() <= 16 && put_if_none(to, text, ' ', suspicious_in_json);
}

/// A literal, as a fixed size needs no call.
template <std::size_t size>
[[gnu::always_inline]] inline char* put_json_literal(char* to,
                                                     const char (&literal)[size]) noexcept {
    std::memcpy(to, static_cast<const char*>(literal), size - 1);
    return to + size - 1;
}

/// The inside of a JSON string. `text` must be UTF-8.
void append_json_text(std::string_view text, log_buffer& to);

/// The same between quotes.
void append_json_string(std::string_view text, log_buffer& to);

/// `"name":"text"`. What is not UTF-8, and what has a name that says so, is escaped.
void append_json_member(std::string_view name, std::string_view text, log_buffer& to);

/// A string under this name, whatever it holds: what is not UTF-8 is as escape() has it.
void append_json_own(std::string_view member, std::string_view text, log_buffer& to);

/// Whether it is digits, with a point or an exponent: neither infinity, nor NaN, nor anything else.
[[nodiscard]] bool is_json_number(std::string_view text) noexcept;

/// A field of the user's: numbers and booleans as they are. Keys are as escape() has them.
void append_json_field(const log_field_view& field, log_buffer& to);

/// The same at `to`, where there is room for the field as it is in a ring, and as much again as
/// put_text() may overwrite. Null, and nothing is there, where it is not of the usual ones: a
/// number, or a text without anything to be escaped.
[[nodiscard]] char* put_json_field(const log_field_view& field, char* to) noexcept;

} // namespace sapwood::detail
