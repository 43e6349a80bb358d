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

/// The name of what is escaped ends so.
inline constexpr std::string_view json_escaped_suffix = "_escaped";

/// What a processor looks at in one piece; of another one the compiler makes several.
using sixteen_chars [[gnu::vector_size(16)]] = signed char;
using sixteen_plain_chars [[gnu::vector_size(16)]] = char;
using four_words [[gnu::vector_size(16)]] = std::uint32_t;

/// A bit for each byte of what comparisons give, which is 0 or -1.
[[nodiscard, gnu::always_inline]] inline unsigned bits_of(sixteen_chars found) noexcept {
#if defined(__SSE2__)
    return static_cast<unsigned>(
        __builtin_ia32_pmovmskb128(std::bit_cast<sixteen_plain_chars>(found)));
#else
    unsigned bits = 0;
    for (unsigned i = 0; i < 16; ++i) {
        bits |= found[i] != 0 ? 1U << i : 0U;
    }
    return bits;
#endif
}

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

    /// Whether there is none of them that `is_odd`, of which a byte is -1 then.
    template <class Odd>
    [[nodiscard, gnu::always_inline]] bool has_none(Odd is_odd) const noexcept {
        return bits_of(is_odd(std::bit_cast<sixteen_chars>(words_))) == 0;
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
    four_words words_;
    std::uint32_t first_ = 0;
};

[[nodiscard, gnu::always_inline]] inline auto quotes_in(sixteen_chars bytes) noexcept {
    return bytes == '"';
}

/// What is a quote, or not plain.
[[nodiscard, gnu::always_inline]] inline auto suspicious_in_json(sixteen_chars bytes) noexcept {
    // One more of a control, of DEL, and of what is above it, as that is negative, is less than
    // '!'.
    return (bytes + 1 < '!') | (bytes == '\\') | (bytes == '"');
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

/// put_if_none() of more than sixteen bytes, sixteen at a time. The last of them are looked at
/// twice where they are not as many.
template <class Odd>
[[nodiscard, gnu::always_inline]] inline bool put_long_if_none(char* to, std::string_view text,
                                                               Odd is_odd) noexcept {
    const std::size_t last = text.size() - sizeof(sixteen_chars);
    sixteen_chars chars;
    std::memcpy(&chars, text.data() + last, sizeof(chars));
    std::memcpy(to + last, &chars, sizeof(chars));
    auto found = is_odd(chars);
    for (std::size_t at = 0; at < last; at += sizeof(chars)) {
        std::memcpy(&chars, text.data() + at, sizeof(chars));
        std::memcpy(to + at, &chars, sizeof(chars));
        found |= is_odd(chars);
    }
    return bits_of(found) == 0;
}

/// A text of a field that is one to sixteen bytes long, in two words that overlap, or, where it is
/// shorter than one, are the same: it ends each of them then. In front of it at least seven bytes
/// may be read, as a field's header is there.
class field_chars {
  public:
    [[gnu::always_inline]] explicit field_chars(std::string_view text) noexcept
        : bytes_(text.size() < sizeof(first_) ? text.size() : sizeof(first_)),
          last_at_(text.size() - bytes_) {
        std::memcpy(&first_, text.data() + bytes_ - sizeof(first_), sizeof(first_));
        std::memcpy(&last_, text.data() + text.size() - sizeof(last_), sizeof(last_));
    }

    [[nodiscard]] static bool takes(std::string_view text) noexcept { return text.size() - 1 < 16; }

    template <class Odd>
    [[nodiscard, gnu::always_inline]] bool has_none(Odd is_odd) const noexcept {
        const two_longs words{first_, last_};
        return (bits_of(is_odd(std::bit_cast<sixteen_chars>(words))) & its_bits[bytes_]) == 0;
    }

    /// Seven bytes behind it may be overwritten.
    [[gnu::always_inline]] void put(char* to) const noexcept {
        const unsigned shift = 8 * static_cast<unsigned>(sizeof(first_) - bytes_);
        const std::uint64_t first = first_ >> shift;
        const std::uint64_t last = last_ >> shift;
        std::memcpy(to, &first, sizeof(first));
        std::memcpy(to + last_at_, &last, sizeof(last));
    }

  private:
    using two_longs [[gnu::vector_size(16)]] = std::uint64_t;

    static constexpr std::uint16_t its_bits[] = {0,      0x8080, 0xc0c0, 0xe0e0, 0xf0f0,
                                                 0xf8f8, 0xfcfc, 0xfefe, 0xffff};

    std::uint64_t first_ = 0;
    std::uint64_t last_ = 0;
    std::size_t bytes_;
    std::size_t last_at_;
};

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

/// A literal in whole pieces of sixteen bytes, which take an instruction each way: what is behind
/// it in its last piece is overwritten.
template <std::size_t size>
class json_piece {
  public:
    consteval explicit json_piece(const char (&literal)[size + 1]) noexcept {
        for (std::size_t i = 0; i < size; ++i) {
            bytes_[i] = literal[i];
        }
    }

    [[gnu::always_inline]] char* put(char* to) const noexcept {
        std::memcpy(to, bytes_, sizeof(bytes_));
        return to + size;
    }

  private:
    alignas(16) char bytes_[(size + 15) / 16 * 16]{};
};

template <std::size_t bytes>
json_piece(const char (&)[bytes]) -> json_piece<bytes - 1>;

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

/// A text that stands in a JSON string as it is, in one look. False where it does not, and then
/// what is at `to` is nothing. Seven bytes behind it may be overwritten.
[[nodiscard, gnu::always_inline]] inline bool put_json_value(char* to,
                                                             std::string_view text) noexcept {
    if (field_chars::takes(text)) [[likely]] {
        const field_chars chars(text);
        chars.put(to);
        return chars.has_none(suspicious_in_json);
    }
    return text.empty() || put_long_if_none(to, text, suspicious_in_json);
}

/// A field at `to`, where there is room for it as it is in a ring, where it is to be, and as much
/// again as put_text() may overwrite. Null, and nothing is there, where it is not of the usual
/// ones: a number, or a text without anything to be escaped.
[[nodiscard, gnu::always_inline]] inline char* put_json_field(const log_field_view& field,
                                                              char* to) noexcept {
    static_assert(log_field_header_bytes >= std::string_view("\"\":\"\",").size());
    const std::string_view value = field.value;
    *to++ = '"';
    if (!field_chars::takes(field.key) || !put_json_value(to, field.key)) [[unlikely]] {
        return nullptr;
    }
    to = put_json_literal(to + field.key.size(), "\":");
    if (field.kind == log_field_kind::number) {
        if (!field_chars::takes(value)) [[unlikely]] {
            return nullptr;
        }
        const field_chars digits(value);
        digits.put(to);
        const bool is_number = digits.has_none(no_digits_in) && value.back() >= '0';
        return is_number ? to + value.size() : nullptr;
    }
    if (field.kind != log_field_kind::text || field.key.ends_with(json_escaped_suffix)) {
        return nullptr;
    }
    *to++ = '"';
    if (!put_json_value(to, value)) [[unlikely]] {
        return nullptr;
    }
    to += value.size();
    *to++ = '"';
    return to;
}

} // namespace sapwood::detail
