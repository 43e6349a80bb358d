// The messages that most log lines are: literal text, integers and strings, the format known at
// compile time. Their exact size is known before they are written, so they are written once, in
// place, and their literals are checked for what needs escaping by the compiler. Everything else
// is fmt's. Any thread.
#pragma once

#include <sapwood/decimal.hpp>
#include <sapwood/escape.hpp>

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

template <class T>
concept quick_integer =
    std::integral<T> && !std::same_as<T, bool> && !std::same_as<T, char> &&
    !std::same_as<T, wchar_t> && !std::same_as<T, char8_t> && !std::same_as<T, char16_t> &&
    !std::same_as<T, char32_t> && sizeof(T) <= sizeof(std::uint64_t);

template <class T>
concept quick_string = std::same_as<T, std::string_view> || std::same_as<T, std::string>;

/// An argument and the size of its text. put() returns the end of the text, behind which it may
/// overwrite decimal::overrun_bytes_max bytes.
template <class T>
class quick_argument;

template <quick_integer T>
class quick_argument<T> : public decimal {
  public:
    using decimal::decimal;

    [[nodiscard]] bool plain() const noexcept { return true; }
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

    /// Writes size(args...) bytes, and perhaps decimal::overrun_bytes_max more.
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
