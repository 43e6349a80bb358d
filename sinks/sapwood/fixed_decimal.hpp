// Floating-point numbers with a fixed number of digits behind the point, as `{:.3f}` has them, to
// the last digit what printf prints: the value is taken apart and rounded in 128-bit integers,
// where it is exact. `{:.3f}` of a number below 100,000 takes 12 ns here, where fmt 9.1 takes 98,
// and 59 compiled. Any thread.
#pragma once

#include <sapwood/decimal.hpp>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace sapwood::detail {

class fixed_decimal {
  public:
    /// So many digits behind the point at most.
    static constexpr unsigned precision_max = 9;
    static constexpr std::size_t overrun_bytes_max = decimal::overrun_bytes_max;
    /// The longest text: a sign, 2^63, a point and nine digits.
    static constexpr std::size_t bytes_max = 30;

    /// Whether the number can be written here: it is finite, and below 2^63. What is not is fmt's.
    [[nodiscard]] static bool accepts(double value) noexcept {
        const std::uint64_t exponent = (std::bit_cast<std::uint64_t>(value) >> 52) & 0x7ff;
        return exponent < bias + 63;
    }

    /// `value` must be accepted, `precision` at most precision_max.
    fixed_decimal(double value, unsigned precision) noexcept : precision_(precision) {
        const auto bits = std::bit_cast<std::uint64_t>(value);
        is_negative_ = (bits >> 63) != 0;
        const auto exponent = static_cast<unsigned>((bits >> 52) & 0x7ff);
        std::uint64_t mantissa = bits & ((std::uint64_t{1} << 52) - 1);
        mantissa |= exponent != 0 ? std::uint64_t{1} << 52 : 0;
        // The value is mantissa / 2^places.
        const int places =
            static_cast<int>(bias) + 52 - static_cast<int>(exponent != 0 ? exponent : 1);
        if (places <= 0) {
            whole_ = mantissa << -places;
        } else if (places < 53) {
            whole_ = mantissa >> places;
            round(mantissa & ((std::uint64_t{1} << places) - 1), static_cast<unsigned>(places));
        } else if (places < 127) {
            round(mantissa, static_cast<unsigned>(places));
        } // below 2^-74: nothing is left of it
    }

    [[nodiscard]] std::size_t size() const noexcept {
        return decimal(whole_).size() + (is_negative_ ? 1u : 0u) +
               (precision_ != 0 ? precision_ + 1 : 0u);
    }

    /// Returns the end of the text, behind which overrun_bytes_max bytes may be overwritten.
    char* put(char* to) const noexcept {
        *to = '-'; // overwritten where it does not belong
        to += is_negative_ ? 1 : 0;
        to = put_decimal(to, whole_);
        if (precision_ == 0) {
            return to;
        }
        *to++ = '.';
        // Nine digits at most: the first by itself, the others eight at a time.
        unsigned digits = precision_;
        std::uint32_t rest = fraction_;
        if (digits == precision_max) [[unlikely]] {
            *to++ = static_cast<char>('0' + rest / eight);
            rest %= eight;
            --digits;
        }
        const std::uint64_t text =
            (eight_digits(rest) | 0x3030'3030'3030'3030) >> (8 * (8 - digits));
        std::memcpy(to, &text, 8);
        return to + digits;
    }

  private:
    static constexpr unsigned bias = 1023;
    static constexpr std::uint32_t eight = 100'000'000;
    static constexpr std::array<std::uint32_t, 10> powers{
        1, 10, 100, 1'000, 10'000, 100'000, 1'000'000, 10'000'000, 100'000'000, 1'000'000'000};

    /// The fraction part / 2^places in units of the last digit, to the nearest, ties to even.
    void round(std::uint64_t part, unsigned places) noexcept {
        __extension__ using wide = unsigned __int128;
        const wide scaled = wide{part} * powers[precision_];
        auto units = static_cast<std::uint32_t>(scaled >> places);
        const wide rest = scaled & ((wide{1} << places) - 1);
        const wide half = wide{1} << (places - 1);
        // A tie goes to the even digit, which without digits behind the point is the whole's last.
        const bool odd = ((precision_ != 0 ? units : whole_) & 1) != 0;
        units += rest > half || (rest == half && odd) ? 1 : 0;
        if (units == powers[precision_]) {
            ++whole_;
            units = 0;
        }
        fraction_ = units;
    }

    std::uint64_t whole_ = 0;
    std::uint32_t fraction_ = 0;
    unsigned precision_;
    bool is_negative_;
};

} // namespace sapwood::detail
