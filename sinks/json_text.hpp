// Pieces of JSON (RFC 8259) on their way into a line: strings, members, numbers. What stands as it
// is, as most does, is written here; the rest is json_text.cpp's. Any thread.
#pragma once

#include <sapwood/escape.hpp>
#include <sapwood/log_record.hpp>
#include <sapwood/log_text.hpp>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace sapwood::detail {

/// What a processor looks at in one piece; of another one the compiler makes several.
using sixteen_chars [[gnu::vector_size(16)]] = signed char;
using four_words [[gnu::vector_size(16)]] = std::uint32_t;

/// A text of at most sixteen bytes, some of them twice, and `filler` for those that are missing.
class short_chars {
  public:
    [[gnu::always_inline]] short_chars(std::string_view text, char filler) noexcept {
        constexpr std::uint32_t each = 0x01010101;
        const std::uint32_t fillers = static_cast<unsigned char>(filler) * each;
        if (text.size() < 4) {
            first_ = short_text(text);
            const std::uint32_t rest = static_cast<std::uint32_t>(fillers << (8 * text.size()));
            words_ = four_words{first_ | rest, fillers, fillers, fillers};
            return;
        }
        const four_fours fours(text.size());
        for (std::size_t i = 0; i < 4; ++i) {
            words_[i] = four_fours::load(text.data() + fours.at[i]);
        }
    }

    /// Whether there is none of them that `is_odd`, of which a byte is not 0 then.
    template <class Odd>
    [[nodiscard, gnu::always_inline]] bool has_none(Odd is_odd) const noexcept {
        const auto found = std::bit_cast<two_longs>(is_odd(std::bit_cast<sixteen_chars>(words_)));
        return (found[0] | found[1]) == 0;
    }

    /// put_text() of the text that it was made of.
    [[gnu::always_inline]] void put(char* to, std::size_t size) const noexcept {
        if (size < 4) {
            std::memcpy(to, &first_, sizeof(first_));
            return;
        }
        const four_fours fours(size);
        for (std::size_t i = 0; i < 4; ++i) {
            const std::uint32_t four = words_[i];
            std::memcpy(to + fours.at[i], &four, sizeof(four));
        }
    }

  private:
    using two_longs [[gnu::vector_size(16)]] = std::uint64_t;

    four_words words_;
    std::uint32_t first_ = 0;
};

[[nodiscard, gnu::always_inline]] inline auto quotes_in(sixteen_chars bytes) noexcept {
    return bytes == '"';
}

/// What is a quote, or not plain.
[[nodiscard, gnu::always_inline]] inline auto suspicious_in_json(sixteen_chars bytes) noexcept {
    return (bytes < ' ') | (bytes == '\x7f') | (bytes == '\\') | (bytes == '"');
}

/// What is neither a digit, nor a point, nor a minus.
[[nodiscard, gnu::always_inline]] inline auto no_digits_in(sixteen_chars bytes) noexcept {
    return (bytes > '9') | (bytes < '-') | (bytes == '/');
}

/// put_text() of at most sixteen bytes, each of which is looked at once: false where one `is_odd`.
template <class Odd>
[[nodiscard, gnu::always_inline]] inline bool put_if_none(char* to, std::string_view text,
                                                          char filler, Odd is_odd) noexcept {
    const short_chars chars(text, filler);
    chars.put(to, text.size());
    return chars.has_none(is_odd);
}

/// Whether plain text stands in a JSON string as it is.
[[nodiscard, gnu::always_inline]] inline bool has_no_quote(std::string_view plain) noexcept {
    if (plain.size() > 16) {
        return std::memchr(plain.data(), '"', plain.size()) == nullptr;
    }
    return short_chars(plain, ' ').has_none(quotes_in);
}

/// Whether it stands in a JSON string as it is. Most are short.
[[nodiscard, gnu::always_inline]] inline bool is_json_plain(std::string_view text) noexcept {
    if (text.size() > 16) {
        return is_plain(text) && has_no_quote(text);
    }
    return short_chars(text, ' ').has_none(suspicious_in_json);
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
