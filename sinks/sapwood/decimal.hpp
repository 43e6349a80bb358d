// Integers as decimal text, eight digits at a time: a 64-bit word holds eight digits, a byte each,
// and all of them are split by the same few multiplications, without a loop, a table or a branch
// that depends on how many there are. Any thread.
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

static_assert(std::endian::native == std::endian::little, "the first digit is the lowest byte");

namespace sapwood::detail {

/// The eight decimal digits of `value` < 100 000 000, the first one in the lowest byte, each 0..9.
[[nodiscard]] constexpr std::uint64_t eight_digits(std::uint32_t value) noexcept {
    // Two numbers of four digits, then four of two, then eight of one, each in a lane of its own.
    // 10486 / 2^20 is 1/100 for four digits, 103 / 2^10 is 1/10 for two.
    const std::uint64_t fours = value / 10'000 | static_cast<std::uint64_t>(value % 10'000) << 32;
    const std::uint64_t hundreds = ((fours * 10'486) >> 20) & 0x0000'007f'0000'007f;
    const std::uint64_t twos = ((fours - 100 * hundreds) << 16) + hundreds;
    const std::uint64_t tens = ((twos * 103) >> 10) & 0x000f'000f'000f'000f;
    return ((twos - 10 * tens) << 8) + tens;
}

inline constexpr std::uint64_t eight_ascii_zeros = 0x3030'3030'3030'3030;

/// The longest text of an integer of this type.
template <std::integral T>
inline constexpr std::size_t decimal_bytes_max =
    std::numeric_limits<T>::digits10 + (std::is_signed_v<T> ? 2 : 1);

/// Writes a number where it is to stand and returns the end of its text, behind which eight bytes
/// may be overwritten. By pairs of digits, as many as there are: half the instructions of `decimal`
/// below, which need not branch and is for where the size is to be known first.
char* put_decimal(char* to, std::uint64_t value) noexcept;

template <std::integral T>
[[gnu::always_inline]] inline char* put_decimal_of(char* to, T value) noexcept {
    auto magnitude = static_cast<std::uint64_t>(value);
    if constexpr (std::is_signed_v<T>) {
        const bool is_negative = value < 0;
        magnitude = is_negative ? 0 - magnitude : magnitude;
        *to = '-'; // overwritten where it does not belong
        to += is_negative ? 1 : 0;
    }
    return put_decimal(to, magnitude);
}

/// The text of an integer, kept in registers until it is known where it goes.
class decimal {
  public:
    /// So many bytes behind the text `put` may overwrite.
    static constexpr std::size_t overrun_bytes_max = 8;

    template <std::integral T>
    explicit decimal(T value) noexcept {
        auto magnitude = static_cast<std::uint64_t>(value);
        if constexpr (std::is_signed_v<T>) {
            is_negative_ = value < 0;
            magnitude = is_negative_ ? 0 - magnitude : magnitude;
        }
        if (magnitude >= eight) [[unlikely]] {
            split(magnitude);
            magnitude = rest_[rests_];
        }
        const std::uint64_t digits = eight_digits(static_cast<std::uint32_t>(magnitude));
        // Leading zeros are zero bytes; the eighth digit counts, be it zero or not.
        const auto zeros = static_cast<unsigned>(std::countr_zero(digits | last_digit)) / 8;
        first_ = (digits | ascii_zeros) >> (8 * zeros);
        first_digits_ = static_cast<std::uint8_t>(8 - zeros);
    }

    [[nodiscard]] std::size_t size() const noexcept {
        return first_digits_ + std::size_t{8} * rests_ + (is_negative_ ? 1u : 0u);
    }

    /// Returns the end of the text.
    char* put(char* to) const noexcept {
        *to = '-'; // overwritten where it does not belong
        to += is_negative_ ? 1 : 0;
        std::memcpy(to, &first_, 8);
        to += first_digits_;
        for (unsigned i = rests_; i > 0; --i) [[unlikely]] {
            const std::uint64_t digits = eight_digits(rest_[i - 1]) | ascii_zeros;
            std::memcpy(to, &digits, 8);
            to += 8;
        }
        return to;
    }

  private:
    static constexpr std::uint64_t eight = 100'000'000;
    static constexpr std::uint64_t last_digit = std::uint64_t{1} << 56;
    static constexpr std::uint64_t ascii_zeros = 0x3030'3030'3030'3030;

    /// Eight digits a piece, the last ones first; what stands before them all comes behind them.
    void split(std::uint64_t magnitude) noexcept {
        do {
            rest_[rests_++] = static_cast<std::uint32_t>(magnitude % eight);
            magnitude /= eight;
        } while (magnitude >= eight);
        rest_[rests_] = static_cast<std::uint32_t>(magnitude);
    }

    std::uint64_t first_ = 0;
    std::uint32_t rest_[3]; // NOLINT: filled where rests_ says so
    std::uint8_t first_digits_ = 0;
    std::uint8_t rests_ = 0;
    bool is_negative_ = false;
};

} // namespace sapwood::detail
