// What a format says of one of its fields, where that is one of the usual things: `{}`, `{:x}`,
// `{:>8}`, `{:<20}`, `{:04}`, `{:.3f}`, `{:8.3f}`, `{:08.3f}`. Read by the compiler; everything
// else is fmt's. A number of 16 bits. Any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace sapwood::detail {

/// What kind of argument a field is for.
enum class log_kind : std::uint8_t { other, integer, floating, text };

class log_spec {
  public:
    enum class align : std::uint8_t { by_kind, left, right, zeros };

    constexpr log_spec() = default;

    [[nodiscard]] static constexpr log_spec of_bits(std::uint16_t bits) noexcept {
        log_spec made;
        made.bits_ = bits;
        return made;
    }

    /// Digits behind the point; -1: as many as it takes.
    [[nodiscard]] static constexpr log_spec of_precision(int precision) noexcept {
        return of_bits(static_cast<std::uint16_t>(precision + 1));
    }

    [[nodiscard]] constexpr std::uint16_t bits() const noexcept { return bits_; }

    [[nodiscard]] constexpr bool is_bare() const noexcept { return bits_ == 0; }

    [[nodiscard]] constexpr int precision() const noexcept { return int{bits_ & 0xf} - 1; }

    [[nodiscard]] constexpr bool is_hex() const noexcept { return (bits_ & hex) != 0; }

    [[nodiscard]] constexpr bool is_upper() const noexcept { return (bits_ & upper) != 0; }

    [[nodiscard]] constexpr align alignment() const noexcept {
        return static_cast<align>((bits_ >> 6) & 3);
    }

    /// 0: none.
    [[nodiscard]] constexpr std::size_t width() const noexcept { return bits_ >> 8; }

    /// Reads `text`, what stands between the colon and the brace. False where it is not of these.
    constexpr bool read(std::string_view text, log_kind kind) noexcept {
        const auto take = [&](char c) {
            if (!text.starts_with(c)) {
                return false;
            }
            text.remove_prefix(1);
            return true;
        };
        const auto take_digit = [&](unsigned& digit) {
            if (text.empty() || text[0] < '0' || text[0] > '9') {
                return false;
            }
            digit = static_cast<unsigned>(text[0] - '0');
            text.remove_prefix(1);
            return true;
        };
        const auto where = take('<') ? align::left : take('>') ? align::right : align::by_kind;
        const bool fills = take('0'); // with an alignment it says nothing
        unsigned width = 0;
        for (unsigned digit = 0; take_digit(digit);) {
            width = 10 * width + digit;
            if (width > width_max) {
                return false;
            }
        }
        unsigned precision = 0;
        const bool has_precision = take('.');
        if (has_precision && !take_digit(precision)) {
            return false;
        }
        const bool is_fixed = take('f');
        const bool is_hex = !is_fixed && take('x');
        const bool is_upper = !is_fixed && !is_hex && take('X');
        if (!text.empty() || (fills && (kind == log_kind::text || where != align::by_kind)) ||
            has_precision != (kind == log_kind::floating) ||
            is_fixed != (kind == log_kind::floating) ||
            ((is_hex || is_upper) && kind != log_kind::integer) || kind == log_kind::other) {
            return false;
        }
        bits_ = static_cast<std::uint16_t>(
            (has_precision ? precision + 1 : 0) | (is_hex || is_upper ? hex : 0U) |
            (is_upper ? upper : 0U) | static_cast<unsigned>(fills ? align::zeros : where) << 6 |
            width << 8);
        return true;
    }

  private:
    static constexpr unsigned hex = 16;
    static constexpr unsigned upper = 32;
    static constexpr unsigned width_max = 99;

    std::uint16_t bits_ = 0;
};

/// Writes it with its width. `digits` has no sign; `kind` is where it is put by itself.
char* put_aligned(char* to, std::string_view digits, bool is_negative, log_spec spec,
                  log_kind kind) noexcept;

/// An integer in digits of ten or sixteen.
char* put_integer_as(char* to, std::uint64_t magnitude, bool is_negative, log_spec spec) noexcept;

/// A double that fixed_decimal accepts.
char* put_fixed_as(char* to, double value, log_spec spec) noexcept;

} // namespace sapwood::detail
