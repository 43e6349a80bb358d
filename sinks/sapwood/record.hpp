// A record on its way from who writes it to the batch: when, who, how important, and the message.
// Owns its message; short ones (most) live inside it, so that a record travels through a channel
// without an allocation. A value type for any thread.
#pragma once

#include <sapwood/wall_clock.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fmt/compile.h>
#include <fmt/format.h>
#include <limits>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace sapwood {

enum class level : std::uint8_t { trace, debug, info, warning, error, critical };

/// Lower case, as it stands in a log line.
[[nodiscard]] std::string_view to_string(level value) noexcept;

namespace detail {

/// Stack memory for a message that is being formatted.
inline constexpr std::size_t message_buffer_bytes = 512;

/// Whether the longest text of an argument is known from its type, or from its size.
template <class T>
inline constexpr bool has_bounded_text =
    (std::is_integral_v<T> && !std::is_same_v<T, bool>) || std::is_same_v<T, std::string_view> ||
    std::is_same_v<T, std::string>;

template <class T>
[[nodiscard]] constexpr std::size_t text_bound(const T& argument) noexcept {
    if constexpr (std::is_integral_v<T>) {
        return std::numeric_limits<T>::digits10 + 2; // one for the sign
    } else {
        return argument.size();
    }
}

template <class Format>
[[nodiscard]] constexpr std::string_view format_text() noexcept {
    const auto text = static_cast<fmt::string_view>(Format());
    return {text.data(), text.size()};
}

/// Whether the size of a formatted message has a bound that is cheap to tell: the format is known
/// at compile time and has no width or precision, and every argument is bounded.
template <class Format, class... Args>
[[nodiscard]] consteval bool has_size_bound() {
    if constexpr (fmt::detail::is_compiled_string<Format>::value) {
        return (has_bounded_text<Args> && ...) &&
               format_text<Format>().find(':') == std::string_view::npos;
    } else {
        return false;
    }
}

template <class Format, class... Args>
[[nodiscard]] constexpr std::size_t size_bound(const Args&... args) noexcept {
    return (format_text<Format>().size() + ... + text_bound(args));
}

} // namespace detail

class record {
  public:
    using time_point = wall_clock::time_point;

    /// Messages up to here need no memory of their own: two cache lines in all.
    static constexpr std::size_t inline_bytes_max = 104;
    static constexpr std::size_t message_bytes_max = 64u << 20;

    /// Copies `message`. Throws std::bad_alloc, and std::length_error past message_bytes_max.
    record(level importance, std::uint32_t producer, std::string_view message,
           time_point when = wall_clock::now())
        : when_(when),
          producer_(producer),
          level_(importance) {
        if (message.size() <= inline_bytes_max) [[likely]] {
            std::memcpy(inline_, message.data(), message.size());
            size_ = static_cast<std::uint32_t>(message.size());
        } else {
            allocate(message);
        }
    }

    /// `write(to)` writes the message at `to`, inline_bytes_max bytes at the most, and returns its
    /// end.
    template <class Write>
        requires std::is_invocable_r_v<char*, Write, char*>
    record(level importance, std::uint32_t producer, Write&& write)
        : when_(wall_clock::now()),
          producer_(producer),
          level_(importance) {
        size_ = static_cast<std::uint32_t>(std::forward<Write>(write)(inline_) - inline_);
    }

    record(record&& other) noexcept { take(other); }

    record& operator=(record&& other) noexcept {
        if (this != &other) {
            free();
            take(other);
        }
        return *this;
    }

    ~record() { free(); }

    [[nodiscard]] time_point when() const noexcept { return when_; }

    [[nodiscard]] std::uint32_t producer() const noexcept { return producer_; }

    [[nodiscard]] level importance() const noexcept { return level_; }

    [[nodiscard]] std::string_view message() const noexcept {
        return {is_inline() ? inline_ : heap_, size_};
    }

    /// Copies the message to `to`, where inline_bytes_max bytes may be overwritten even if it is
    /// shorter, and returns its end.
    char* copy_message(char* to) const noexcept {
        if (is_inline()) [[likely]] {
            std::memcpy(to, inline_, inline_bytes_max); // a fixed size needs no call
        } else {
            std::memcpy(to, heap_, size_);
        }
        return to + size_;
    }

  private:
    [[nodiscard]] bool is_inline() const noexcept { return size_ <= inline_bytes_max; }

    void allocate(std::string_view message);

    void take(record& other) noexcept {
        when_ = other.when_;
        producer_ = other.producer_;
        level_ = other.level_;
        size_ = std::exchange(other.size_, 0);
        // All of it, the pointer included: cheaper than to ask how much is used.
        std::memcpy(inline_, other.inline_, sizeof(inline_));
    }

    void free() noexcept {
        if (!is_inline()) [[unlikely]] {
            delete[] heap_;
        }
    }

    time_point when_;
    std::uint32_t producer_;
    std::uint32_t size_ = 0;
    level level_;

    union {
        char inline_[inline_bytes_max];
        char* heap_;
    };
};

static_assert(sizeof(record) == 128);

/// A record of a formatted message; `format` is checked at compile time.
template <class... Args>
[[nodiscard]] record make_record(level importance, std::uint32_t producer,
                                 fmt::format_string<Args...> format, Args&&... args) {
    fmt::basic_memory_buffer<char, detail::message_buffer_bytes> message;
    fmt::vformat_to(fmt::appender(message), format, fmt::make_format_args(args...));
    return {importance, producer, std::string_view(message.data(), message.size())};
}

/// The same with FMT_COMPILE("..."), which is parsed at compile time too: about three times as
/// fast, and a message of numbers and strings goes straight into the record.
template <class Format, class... Args>
    requires fmt::detail::is_compiled_string<Format>::value
[[nodiscard]] record make_record(level importance, std::uint32_t producer, const Format& format,
                                 const Args&... args) {
    if constexpr (detail::has_size_bound<Format, Args...>()) {
        const std::size_t bound = detail::size_bound<Format>(args...);
        if (bound <= record::inline_bytes_max) {
            return record(importance, producer,
                          [&](char* to) { return fmt::format_to(to, format, args...); });
        }
        if (bound <= detail::message_buffer_bytes) [[likely]] {
            char message[detail::message_buffer_bytes];
            const char* const end = fmt::format_to(message, format, args...);
            return {importance, producer,
                    std::string_view(message, static_cast<std::size_t>(end - message))};
        }
    }
    fmt::basic_memory_buffer<char, detail::message_buffer_bytes> message;
    fmt::format_to(fmt::appender(message), format, args...);
    return {importance, producer, std::string_view(message.data(), message.size())};
}

} // namespace sapwood
