// The format string of a log call, checked and taken apart by the compiler. Formats whose fields
// are the usual ones (log_spec.hpp) are written straight into the ring; the others go through fmt.
// Also says where in the source the call stands. Any thread.
#pragma once

#include <sapwood/kv.hpp>
#include <sapwood/log_text.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <sapwood/fmt_library.hpp>
#include <source_location>
#include <string_view>
#include <type_traits>
#include <utility>

namespace sapwood::detail {

template <class... Args>
struct log_types {};

/// The arguments before the first field; behind one there may be fields only.
template <class Taken, class... Args>
struct message_arguments;

template <class... Taken>
struct message_arguments<log_types<Taken...>> {
    using format = fmt::format_string<Taken...>;
    static constexpr std::size_t count = sizeof...(Taken);
    static constexpr bool quick = (is_quick_log_argument<Taken> && ...);
    static constexpr std::array<log_kind, count + 1> kinds{kind_of<Taken>...};
};

template <class... Taken, class First, class... Rest>
struct message_arguments<log_types<Taken...>, First, Rest...>
    : message_arguments<log_types<Taken..., First>, Rest...> {};

template <class... Taken, class T, class... Rest>
struct message_arguments<log_types<Taken...>, log_field<T>, Rest...>
    : message_arguments<log_types<Taken...>> {
    static_assert((is_log_field<Rest> && ...), "fields, kv(...), come behind all other arguments");
};

/// How many arguments the fields of a format take that name none: `{}`, `{:>8}`, both of `{:>{}}`.
[[nodiscard]] consteval std::size_t arguments_taken_by(std::string_view format) {
    std::size_t taken = 0;
    for (std::size_t i = 0; i + 1 < format.size(); ++i) {
        if (format[i] != '{') {
            continue;
        }
        if (format[i + 1] == '{') {
            ++i;
        } else if (format[i + 1] == '}' || format[i + 1] == ':') {
            ++taken;
        }
    }
    return taken;
}

/// Not constexpr, so that the compiler's message names it.
void the_format_has_more_fields_than_the_call_has_arguments();

template <class... Args>
class log_format {
    using arguments = message_arguments<log_types<>, Args...>;

  public:
    static constexpr bool may_be_quick = arguments::quick;
    /// Arguments that are not kv().
    static constexpr std::size_t message_fields = arguments::count;

    template <class Text>
        requires std::convertible_to<const Text&, std::string_view>
    consteval log_format( // NOLINT: implicit by design, as fmt's
        const Text& text, std::source_location where = std::source_location::current())
        : text_(text),
          where_(where) {
        if (arguments_taken_by(text_) > arguments::count) {
            the_format_has_more_fields_than_the_call_has_arguments();
        }
        [[maybe_unused]] const typename arguments::format checked(text);
        quick_ = arguments::quick && take_apart();
        literals_are_plain_ = look_for_escapes();
    }

    [[nodiscard]] constexpr std::string_view text() const noexcept { return text_; }

    [[nodiscard]] constexpr std::source_location where() const noexcept { return where_; }

    /// Whether it can be written without fmt.
    [[nodiscard]] constexpr bool quick() const noexcept { return quick_; }

    /// Whether nothing in the message but what its fields bring needs escaping.
    [[nodiscard]] constexpr bool literals_are_plain() const noexcept { return literals_are_plain_; }

    /// How a field is to be written.
    [[nodiscard, gnu::always_inline]] constexpr log_spec spec(std::size_t field) const noexcept {
        const std::uint64_t four = field < 4 ? specs_ : field < 8 ? specs_4_ : specs_8_;
        return log_spec::of_bits(static_cast<std::uint16_t>(four >> (16 * (field % 4))));
    }

    /// Bytes of text around the fields.
    [[nodiscard]] constexpr std::size_t literal_bytes() const noexcept {
        return arguments::count == 0 ? text_.size() : literal_bytes_;
    }

    /// The text before a field, or behind the last one. Without a loop, which the compiler might
    /// leave as one, and all that it knows of the format with it.
    template <std::size_t Field>
    [[nodiscard, gnu::always_inline]] constexpr std::string_view literal() const noexcept {
        if constexpr (arguments::count == 0) {
            return text_;
        } else {
            return {text_.data() + bytes_before(std::make_index_sequence<Field>()), size(Field)};
        }
    }

  private:
    /// More fields, or longer pieces between them, are fmt's.
    static constexpr std::size_t fields_max = 12;
    static constexpr std::size_t field_bytes_max = 15;
    static constexpr std::size_t literal_bytes_max = 255;

    template <std::size_t... Fields>
    [[nodiscard, gnu::always_inline]] constexpr std::size_t
    bytes_before(std::index_sequence<Fields...>) const noexcept {
        return (std::size_t{0} + ... + (size(Fields) + field_bytes(Fields)));
    }

    [[nodiscard, gnu::always_inline]] constexpr std::size_t
    size(std::size_t literal) const noexcept {
        return ((literal < 8 ? sizes_ : more_sizes_) >> (8 * (literal % 8))) & 0xff;
    }

    /// Of a field in the format, with its braces.
    [[nodiscard, gnu::always_inline]] constexpr std::size_t
    field_bytes(std::size_t field) const noexcept {
        return (field_bytes_ >> (4 * field)) & 0xf;
    }

    /// False where there is anything but literal text and fields that are written here.
    consteval bool take_apart() {
        std::size_t field = 0;
        std::size_t begin = 0;
        for (std::size_t i = 0; i < text_.size(); ++i) {
            if (text_[i] == '}') {
                return false; // of a doubled one
            }
            if (text_[i] != '{') {
                continue;
            }
            if (field == arguments::count || field == fields_max || !end_literal(field, begin, i)) {
                return false;
            }
            const std::size_t bytes = text_.find('}', i) + 1 - i; // the format has been checked
            if (bytes > field_bytes_max || !take_field(field, text_.substr(i, bytes))) {
                return false;
            }
            i += bytes - 1;
            begin = i + 1;
            ++field;
        }
        return field == arguments::count && (field == 0 || end_literal(field, begin, text_.size()));
    }

    consteval bool take_field(std::size_t field, std::string_view text) {
        log_spec spec;
        if (text != "{}" && (!text.starts_with("{:") || !spec.read(text.substr(2, text.size() - 3),
                                                                   arguments::kinds[field]))) {
            return false;
        }
        (field < 4   ? specs_
         : field < 8 ? specs_4_
                     : specs_8_) |= std::uint64_t{spec.bits()} << (16 * (field % 4));
        field_bytes_ |= std::uint64_t{text.size()} << (4 * field);
        return true;
    }

    consteval bool end_literal(std::size_t field, std::size_t begin, std::size_t end) {
        (field < 8 ? sizes_ : more_sizes_) |= std::uint64_t{end - begin} << (8 * (field % 8));
        literal_bytes_ += static_cast<std::uint32_t>(end - begin);
        return end - begin <= literal_bytes_max;
    }

    [[nodiscard]] consteval bool look_for_escapes() const {
        for (const char c : text_) {
            if (c < 0x20 || c > 0x7e || c == '\\') {
                return false;
            }
        }
        return true;
    }

    // Scalars, no arrays: the compiler sees through them where the call is inlined, and nothing of
    // this is left at run time.
    std::string_view text_;
    std::source_location where_;
    /// A byte for each literal.
    std::uint64_t sizes_ = 0;
    std::uint64_t more_sizes_ = 0;
    /// Sixteen bits for each field, from the first one on, the fifth, the ninth.
    std::uint64_t specs_ = 0;
    std::uint64_t specs_4_ = 0;
    std::uint64_t specs_8_ = 0;
    /// Four bits for each.
    std::uint64_t field_bytes_ = 0;
    std::uint32_t literal_bytes_ = 0;
    bool quick_ = false;
    bool literals_are_plain_ = false;
};

} // namespace sapwood::detail
