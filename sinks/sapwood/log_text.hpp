// How one argument of a log message becomes text: how long that may be, then the text itself,
// written once, in place. Integers, strings, characters, booleans and floating-point numbers are
// done here; everything else that fmt can format is formatted by fmt into a buffer and copied. Any
// thread.
#pragma once

#include <sapwood/decimal.hpp>
#include <sapwood/fixed_decimal.hpp>
#include <sapwood/log_spec.hpp>
#include <sapwood/quick_format.hpp>

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstring>
#include <fmt/compile.h>
#include <sapwood/fmt_library.hpp>
#include <string>
#include <string_view>
#include <type_traits>

namespace sapwood::detail {

/// So many bytes behind its text put() may overwrite.
inline constexpr std::size_t log_text_overrun_bytes_max = decimal::overrun_bytes_max;

template <class T>
concept log_number = quick_integer<T> || std::same_as<T, double> || std::same_as<T, float>;

template <class T>
concept log_string = std::convertible_to<const T&, std::string_view> &&
                     (quick_string<T> || std::is_pointer_v<std::decay_t<T>>);

/// Copies a text and returns its end, behind which eight bytes may be overwritten. Short ones, as
/// most are, take no call.
[[gnu::always_inline]] inline char* put_text(char* to, std::string_view text) noexcept {
    const std::size_t size = text.size();
    if (size > 16) {
        std::memcpy(to, text.data(), size);
    } else if (size >= 4) [[likely]] {
        const four_fours fours(size);
        for (const std::size_t at : fours.at) {
            std::memcpy(to + at, text.data() + at, 4);
        }
    } else {
        const std::uint32_t bytes = short_text(text);
        std::memcpy(to, &bytes, sizeof(bytes));
    }
    return to + size;
}

/// What a floating-point number needs at most: the largest double has 309 digits before the point.
inline constexpr std::size_t format_bytes_max = 336;

/// By way of fmt, which for these means what it has at hand.
char* put_float(char* to, double value, int precision) noexcept;
char* put_float(char* to, float value, int precision) noexcept;

/// An integer.
template <quick_integer T>
class log_integer_text {
  public:
    constexpr log_integer_text(T value, log_spec spec) noexcept : value_(value), spec_(spec) {}

    [[nodiscard]] constexpr std::size_t size_max() const noexcept {
        return spec_.is_bare() ? decimal_bytes_max<T>
                               : std::max(decimal_bytes_max<std::uint64_t>, spec_.width());
    }

    [[nodiscard]] static constexpr bool plain() noexcept { return true; }

    [[nodiscard]] static constexpr bool accepts() noexcept { return true; }

    [[gnu::always_inline]] char* put(char* to) const noexcept {
        if (spec_.is_bare()) [[likely]] {
            return put_decimal_of(to, value_);
        }
        auto magnitude = static_cast<std::uint64_t>(value_);
        bool is_negative = false;
        if constexpr (std::is_signed_v<T>) {
            is_negative = value_ < 0;
            magnitude = is_negative ? 0 - magnitude : magnitude;
        }
        return put_integer_as(to, magnitude, is_negative, spec_);
    }

  private:
    T value_;
    log_spec spec_;
};

/// Text that is there already.
class log_view_text {
  public:
    constexpr explicit log_view_text(std::string_view text, log_spec spec = {}) noexcept
        : text_(text),
          spec_(spec) {}

    [[nodiscard]] std::size_t size_max() const noexcept {
        return spec_.is_bare() ? text_.size() : std::max(text_.size(), spec_.width());
    }

    /// Whether it is known to need no escaping. What is long is left to the consumer.
    [[nodiscard, gnu::always_inline]] bool plain() const noexcept {
        return text_.size() <= looked_at_bytes_max && is_plain(text_);
    }

    /// A width counts characters, and wide ones twice: that is fmt's.
    [[nodiscard, gnu::always_inline]] bool accepts() const noexcept {
        return spec_.is_bare() || plain();
    }

    [[gnu::always_inline]] char* put(char* to) const noexcept {
        return spec_.is_bare() ? put_text(to, text_)
                               : put_aligned(to, text_, false, spec_, log_kind::text);
    }

  private:
    static constexpr std::size_t looked_at_bytes_max = 64;

    std::string_view text_;
    log_spec spec_;
};

/// A floating-point number; without a precision the shortest text that reads back the same.
template <class T>
class log_float_text {
  public:
    constexpr log_float_text(T value, log_spec spec) noexcept : value_(value), spec_(spec) {}

    [[nodiscard]] std::size_t size_max() const noexcept {
        return is_quick() ? std::max(fixed_decimal::bytes_max, spec_.width()) : format_bytes_max;
    }

    [[nodiscard]] static constexpr bool plain() noexcept { return true; }

    [[nodiscard]] bool accepts() const noexcept { return spec_.width() == 0 || is_quick(); }

    char* put(char* to) const noexcept {
        if (!is_quick()) [[unlikely]] {
            return put_float(to, value_, spec_.precision());
        }
        if (spec_.width() > 0) {
            return put_fixed_as(to, double{value_}, spec_);
        }
        return fixed_decimal(double{value_}, static_cast<unsigned>(spec_.precision())).put(to);
    }

  private:
    [[nodiscard]] bool is_quick() const noexcept {
        return spec_.precision() >= 0 && fixed_decimal::accepts(double{value_});
    }

    T value_;
    log_spec spec_;
};

/// What fmt makes of everything else.
class log_other_text {
  public:
    template <class... Args>
    explicit log_other_text(fmt::string_view format, const Args&... args) {
        fmt::vformat_to(fmt::appender(text_), format, fmt::make_format_args(args...));
    }

    [[nodiscard]] std::size_t size_max() const noexcept { return text_.size(); }

    [[nodiscard]] bool plain() const noexcept {
        return is_plain(std::string_view(text_.data(), text_.size()));
    }

    [[nodiscard]] static constexpr bool accepts() noexcept { return true; }

    char* put(char* to) const noexcept {
        std::memcpy(to, text_.data(), text_.size());
        return to + text_.size();
    }

  private:
    fmt::basic_memory_buffer<char, 256> text_;
};

template <class T>
inline constexpr log_kind kind_of = quick_integer<T> ? log_kind::integer
                                    : log_number<T>  ? log_kind::floating
                                    : log_string<T>  ? log_kind::text
                                                     : log_kind::other;

/// Whether an argument of this type can be written without fmt.
template <class T>
inline constexpr bool is_quick_log_argument =
    log_number<T> || log_string<T> || std::same_as<T, bool> || std::same_as<T, char>;

/// The text of `value`, which it borrows.
template <class T>
[[nodiscard]] inline auto log_text(const T& value, [[maybe_unused]] log_spec spec) {
    if constexpr (quick_integer<T>) {
        return log_integer_text<T>(value, spec);
    } else if constexpr (log_number<T>) {
        return log_float_text<T>(value, spec);
    } else if constexpr (std::same_as<T, bool>) {
        return log_view_text(value ? std::string_view("true") : std::string_view("false"));
    } else if constexpr (std::same_as<T, char>) {
        return log_view_text(std::string_view(&value, 1));
    } else if constexpr (quick_string<T>) {
        return log_view_text(value, spec);
    } else if constexpr (log_string<T>) {
        const char* const text = value;
        return log_view_text(text != nullptr ? std::string_view(text) : "(null)", spec);
    } else {
        return log_other_text("{}", value);
    }
}

} // namespace sapwood::detail
