// The messages that most log lines are: literal text, integers and strings, the format known at
// compile time. Their exact size is known before they are written, so they are written once, in
// place, and their literals are checked for what needs escaping by the compiler. Everything else
// is fmt's. Any thread.
#pragma once

#include <sapwood/escape.hpp>

#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fmt/compile.h>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace sapwood::detail {

/// Decimal digits of `value`, at least one.
[[nodiscard]] constexpr unsigned count_digits(std::uint64_t value) noexcept {
    constexpr auto powers = [] {
        std::array<std::uint64_t, 20> table{};
        std::uint64_t power = 1;
        for (auto& entry : table) {
            entry = power;
            power *= 10;
        }
        return table;
    }();
    // log10(2) is 1233 / 4096, closely enough for 64 bits.
    const auto guess = static_cast<unsigned>(std::bit_width(value | 1)) * 1233 >> 12;
    return guess + (value >= powers[guess] ? 1 : 0) + (value == 0 ? 1 : 0);
}

/// Writes the decimal digits of `value` so that they end before `end`.
inline void put_digits(char* end, std::uint64_t value) noexcept {
    static constexpr auto pairs = [] {
        std::array<char, 200> table{};
        for (std::size_t i = 0; i < 100; ++i) {
            table[2 * i] = static_cast<char>('0' + i / 10);
            table[2 * i + 1] = static_cast<char>('0' + i % 10);
        }
        return table;
    }();
    while (value >= 100) {
        end -= 2;
        std::memcpy(end, &pairs[2 * (value % 100)], 2);
        value /= 100;
    }
    if (value >= 10) {
        std::memcpy(end - 2, &pairs[2 * value], 2);
    } else {
        end[-1] = static_cast<char>('0' + value);
    }
}

template <class T>
concept quick_integer =
    std::integral<T> && !std::same_as<T, bool> && !std::same_as<T, char> &&
    !std::same_as<T, wchar_t> && !std::same_as<T, char8_t> && !std::same_as<T, char16_t> &&
    !std::same_as<T, char32_t> && sizeof(T) <= sizeof(std::uint64_t);

template <class T>
concept quick_string = std::same_as<T, std::string_view> || std::same_as<T, std::string>;

/// An argument and the size of its text.
template <class T>
class quick_argument;

template <quick_integer T>
class quick_argument<T> {
  public:
    explicit quick_argument(T value) noexcept
        : is_negative_(value < 0),
          magnitude_(is_negative_ ? 0 - static_cast<std::uint64_t>(value)
                                  : static_cast<std::uint64_t>(value)),
          digits_(count_digits(magnitude_)) {}

    [[nodiscard]] std::size_t size() const noexcept { return digits_ + (is_negative_ ? 1u : 0u); }

    [[nodiscard]] bool plain() const noexcept { return true; }

    [[nodiscard]] char* put(char* to) const noexcept {
        *to = '-'; // overwritten where it does not belong
        to += size();
        put_digits(to, magnitude_);
        return to;
    }

  private:
    bool is_negative_;
    std::uint64_t magnitude_;
    unsigned digits_;
};

template <quick_string T>
class quick_argument<T> {
  public:
    explicit quick_argument(const T& text) noexcept : text_(text) {}

    [[nodiscard]] std::size_t size() const noexcept { return text_.size(); }

    [[nodiscard]] bool plain() const noexcept { return is_plain(text_); }

    [[nodiscard]] char* put(char* to) const noexcept {
        return to + text_.copy(to, text_.size()); // an empty text may be a null pointer
    }

  private:
    std::string_view text_;
};

/// What FMT_COMPILE made of a string literal.
template <class Format>
concept compiled_format = fmt::detail::is_compiled_string<Format>::value;

template <compiled_format Format>
struct quick_format {
    [[nodiscard]] static constexpr std::string_view text() noexcept {
        const auto view = static_cast<fmt::string_view>(Format());
        return {view.data(), view.size()};
    }

    /// How many `{}` there are; npos where there is any other brace.
    [[nodiscard]] static consteval std::size_t fields() {
        std::size_t count = 0;
        for (std::size_t i = 0; i < text().size(); ++i) {
            if (text()[i] == '{' && i + 1 < text().size() && text()[i + 1] == '}') {
                ++count;
                ++i;
            } else if (text()[i] == '{' || text()[i] == '}') {
                return std::string_view::npos;
            }
        }
        return count;
    }

    /// The literal text before the field `index`, or behind the last.
    [[nodiscard]] static consteval std::string_view literal(std::size_t index) {
        std::string_view rest = text();
        for (; index > 0; --index) {
            rest.remove_prefix(rest.find("{}") + 2);
        }
        return rest.substr(0, rest.find("{}"));
    }

    [[nodiscard]] static consteval bool literals_are_plain() {
        for (const char c : text()) {
            if (c < 0x20 || c > 0x7e || c == '\\') {
                return false;
            }
        }
        return true;
    }

    template <class... Args>
    [[nodiscard]] static std::size_t size(const quick_argument<Args>&... args) noexcept {
        return ((text().size() - 2 * sizeof...(Args)) + ... + args.size());
    }

    template <class... Args>
    [[nodiscard]] static bool plain(const quick_argument<Args>&... args) noexcept {
        return (literals_are_plain() && ... && args.plain());
    }

    /// Writes size(args...) bytes.
    template <class... Args>
    static void put(char* to, const quick_argument<Args>&... args) noexcept {
        put_fields(to, std::index_sequence_for<Args...>(), args...);
    }

  private:
    template <std::size_t Index>
    [[nodiscard]] static char* put_literal(char* to) noexcept {
        constexpr std::string_view piece = literal(Index);
        std::memcpy(to, piece.data(), piece.size());
        return to + piece.size();
    }

    template <std::size_t... Indices, class... Args>
    static void put_fields(char* to, std::index_sequence<Indices...>,
                           const quick_argument<Args>&... args) noexcept {
        ((to = args.put(put_literal<Indices>(to))), ...);
        (void)put_literal<sizeof...(Indices)>(to);
    }
};

/// Whether a message of this format and these arguments is such a one.
template <class Format, class... Args>
[[nodiscard]] consteval bool is_quick() {
    if constexpr (((quick_integer<Args> || quick_string<Args>)&&...)) {
        return quick_format<Format>::fields() == sizeof...(Args);
    } else {
        return false;
    }
}

} // namespace sapwood::detail
