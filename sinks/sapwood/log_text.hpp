// How one argument of a log message becomes text: its size first, then the text itself, written
// once, in place. Integers, strings, characters, booleans and floating-point numbers are done here;
// everything else that fmt can format is formatted by fmt into a buffer and copied. Any thread.
#pragma once

#include <sapwood/decimal.hpp>
#include <sapwood/fixed_decimal.hpp>
#include <sapwood/quick_format.hpp>

#include <concepts>
#include <cstddef>
#include <cstring>
#include <fmt/compile.h>
#include <fmt/format.h>
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

/// Text that is there already.
class log_view_text {
  public:
    constexpr explicit log_view_text(std::string_view text) noexcept : text_(text) {}

    [[nodiscard]] std::size_t size() const noexcept { return text_.size(); }

    char* put(char* to) const noexcept {
        return to + text_.copy(to, text_.size()); // an empty text may be a null pointer
    }

  private:
    std::string_view text_;
};

/// A floating-point number; with a negative precision the shortest text that reads back the same.
class log_float_text {
  public:
    log_float_text(double value, int precision) noexcept {
        if (precision >= 0 && fixed_decimal::accepts(value)) [[likely]] {
            const fixed_decimal number(value, static_cast<unsigned>(precision));
            size_ = static_cast<std::size_t>(number.put(text_) - text_);
        } else {
            format(value, precision);
        }
    }

    /// A float's shortest text is not that of the double with its value.
    log_float_text(float value, int precision) noexcept {
        if (precision >= 0) {
            *this = log_float_text(double{value}, precision);
        } else {
            char* const end = fmt::format_to(text_, FMT_COMPILE("{}"), value);
            size_ = static_cast<std::size_t>(end - text_);
        }
    }

    [[nodiscard]] std::size_t size() const noexcept { return size_; }

    char* put(char* to) const noexcept {
        std::memcpy(to, text_, size_);
        return to + size_;
    }

  private:
    /// The largest double has 309 digits before the point.
    static constexpr std::size_t bytes_max = 336;

    void format(double value, int precision) noexcept;

    std::size_t size_ = 0;
    char text_[bytes_max]; // NOLINT: filled up to size_
};

/// What fmt makes of everything else.
class log_other_text {
  public:
    template <class... Args>
    explicit log_other_text(fmt::string_view format, const Args&... args) {
        fmt::vformat_to(fmt::appender(text_), format, fmt::make_format_args(args...));
    }

    [[nodiscard]] std::size_t size() const noexcept { return text_.size(); }

    char* put(char* to) const noexcept {
        std::memcpy(to, text_.data(), text_.size());
        return to + text_.size();
    }

  private:
    fmt::basic_memory_buffer<char, 256> text_;
};

/// Whether an argument of this type can be written without fmt.
template <class T>
inline constexpr bool is_quick_log_argument =
    log_number<T> || log_string<T> || std::same_as<T, bool> || std::same_as<T, char>;

/// Whether its text never needs escaping.
template <class T>
inline constexpr bool is_plain_log_argument = log_number<T> || std::same_as<T, bool>;

/// The text of `value`, which it borrows; `precision` is for floating-point numbers.
template <class T>
[[nodiscard]] inline auto log_text(const T& value, [[maybe_unused]] int precision) {
    if constexpr (quick_integer<T>) {
        return decimal(value);
    } else if constexpr (log_number<T>) {
        return log_float_text(value, precision);
    } else if constexpr (std::same_as<T, bool>) {
        return log_view_text(value ? "true" : "false");
    } else if constexpr (std::same_as<T, char>) {
        return log_view_text(std::string_view(&value, 1));
    } else if constexpr (quick_string<T>) {
        return log_view_text(value);
    } else if constexpr (log_string<T>) {
        const char* const text = value;
        return log_view_text(text != nullptr ? std::string_view(text) : "(null)");
    } else {
        return log_other_text("{}", value);
    }
}

} // namespace sapwood::detail
