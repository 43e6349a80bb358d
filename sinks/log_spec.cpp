#include <sapwood/log_spec.hpp>

#include <sapwood/decimal.hpp>
#include <sapwood/fixed_decimal.hpp>

#include <bit>
#include <cstring>

namespace sapwood::detail {

char* put_aligned(char* to, std::string_view digits, bool is_negative, log_spec spec,
                  log_kind kind) noexcept {
    const std::size_t bytes = digits.size() + (is_negative ? 1 : 0);
    const std::size_t fill = spec.width() > bytes ? spec.width() - bytes : 0;
    const bool is_zeros = spec.alignment() == log_spec::align::zeros;
    const bool is_left = spec.alignment() == log_spec::align::left ||
                         (kind == log_kind::text && spec.alignment() == log_spec::align::by_kind);
    if (!is_left && !is_zeros) {
        std::memset(to, ' ', fill);
        to += fill;
    }
    if (is_negative) {
        *to++ = '-';
    }
    if (is_zeros) {
        std::memset(to, '0', fill);
        to += fill;
    }
    to += digits.copy(to, digits.size());
    if (is_left) {
        std::memset(to, ' ', fill);
        to += fill;
    }
    return to;
}

char* put_integer_as(char* to, std::uint64_t magnitude, bool is_negative, log_spec spec) noexcept {
    char text[decimal_bytes_max<std::uint64_t> + decimal::overrun_bytes_max];
    std::size_t bytes = 0;
    if (spec.is_hex()) {
        const char* const digits = spec.is_upper() ? "0123456789ABCDEF" : "0123456789abcdef";
        bytes = magnitude == 0 ? 1 : (static_cast<std::size_t>(std::bit_width(magnitude)) + 3) / 4;
        for (std::size_t i = bytes; i > 0; --i, magnitude >>= 4) {
            text[i - 1] = digits[magnitude & 0xf];
        }
    } else {
        bytes = static_cast<std::size_t>(put_decimal(text, magnitude) - text);
    }
    return put_aligned(to, {text, bytes}, is_negative, spec, log_kind::integer);
}

char* put_fixed_as(char* to, double value, log_spec spec) noexcept {
    char text[fixed_decimal::bytes_max + decimal::overrun_bytes_max];
    const char* const end = fixed_decimal(value, static_cast<unsigned>(spec.precision())).put(text);
    const bool is_negative = text[0] == '-';
    const char* const digits = text + (is_negative ? 1 : 0);
    return put_aligned(to, {digits, static_cast<std::size_t>(end - digits)}, is_negative, spec,
                       log_kind::floating);
}

} // namespace sapwood::detail
