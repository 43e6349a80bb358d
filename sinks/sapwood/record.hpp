// A record on its way from who writes it to the batch: when, who, how important, and the message.
// Owns its message; short ones (most) live inside it, so that a record travels through a channel
// without an allocation. A value type for any thread.
#pragma once

#include <sapwood/assert.hpp>
#include <sapwood/decimal.hpp>
#include <sapwood/level.hpp>
#include <sapwood/quick_format.hpp>
#include <sapwood/wall_clock.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <sapwood/fmt_library.hpp>
#include <string_view>
#include <type_traits>
#include <utility>

namespace sapwood {

namespace detail {

/// Stack memory for a message that fmt formats.
inline constexpr std::size_t message_buffer_bytes = 512;

} // namespace detail

/// A record whose message somebody else owns, in two pieces. What they make is plain (see
/// is_plain), or, where it is written verbatim, one line.
struct record_view {
    wall_clock::time_point when;
    std::uint32_t producer = 0;
    level importance = level::info;
    std::string_view before{};
    std::string_view text{};

    [[nodiscard]] std::size_t size() const noexcept { return before.size() + text.size(); }

    /// Copies the message to `to`, and returns its end.
    char* copy_message(char* to) const noexcept {
        to += before.copy(to, before.size());
        return to + text.copy(to, text.size());
    }
};

class record {
  public:
    using time_point = wall_clock::time_point;

    /// Messages up to here need no memory of their own: two cache lines in all.
    static constexpr std::size_t inline_bytes_max = 96;
    /// So many bytes behind its message who writes it may overwrite.
    static constexpr std::size_t overrun_bytes_max = detail::decimal::overrun_bytes_max;
    static constexpr std::size_t message_bytes_max = 64u << 20;

    /// Copies `message`. Throws std::bad_alloc, and std::length_error past message_bytes_max.
    record(level importance, std::uint32_t producer, std::string_view message,
           time_point when = wall_clock::now())
        : when_(when),
          producer_(producer),
          level_(importance) {
        message.copy(reserve(message.size()), message.size()); // may be a null pointer if empty
    }

    /// A message that `write(to)` writes, `size` bytes at `to` and perhaps overrun_bytes_max more;
    /// see is_known_plain.
    template <class Write>
        requires std::is_nothrow_invocable_v<Write, char*>
    record(level importance, std::uint32_t producer, std::size_t size, bool known_plain,
           Write&& write)
        : when_(wall_clock::now()),
          producer_(producer),
          level_(importance),
          is_known_plain_(known_plain) {
        std::forward<Write>(write)(reserve(size));
    }

    /// Copies what `view` shows, which is known to be plain.
    explicit record(const record_view& view)
        : when_(view.when),
          producer_(view.producer),
          level_(view.importance),
          is_known_plain_(true) {
        view.copy_message(reserve(view.size()));
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

    /// The producer's own number of the record, by which somebody who reads the log knows that one
    /// is missing or there twice; 0 where it gives none.
    [[nodiscard]] std::uint64_t sequence() const noexcept {
        return (static_cast<std::uint64_t>(sequence_high_) << 32) | sequence_low_;
    }

    static constexpr std::uint64_t sequence_max = (std::uint64_t{1} << 48) - 1;

    /// `number` must be at most sequence_max.
    void set_sequence(std::uint64_t number) noexcept {
        SAPWOOD_ASSERT(number <= sequence_max, "a record's sequence has 48 bits");
        sequence_high_ = static_cast<std::uint16_t>(number >> 32);
        sequence_low_ = static_cast<std::uint32_t>(number);
    }

    /// Of a record that is known to be plain; as long as it lives and is not moved.
    [[nodiscard]] record_view view() const noexcept {
        return {when_, producer_, level_, message(), {}};
    }

    /// Whether is_plain(message()) was seen to hold when the record was made.
    [[nodiscard]] bool is_known_plain() const noexcept { return is_known_plain_; }

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

    /// Memory for a message of `size` bytes, and overrun_bytes_max more.
    [[nodiscard]] char* reserve(std::size_t size) {
        if (size > inline_bytes_max) [[unlikely]] {
            return reserve_on_heap(size);
        }
        size_ = static_cast<std::uint32_t>(size);
        return inline_;
    }

    [[nodiscard]] char* reserve_on_heap(std::size_t size);

    void take(record& other) noexcept {
        when_ = other.when_;
        producer_ = other.producer_;
        level_ = other.level_;
        is_known_plain_ = other.is_known_plain_;
        sequence_high_ = other.sequence_high_;
        sequence_low_ = other.sequence_low_;
        size_ = std::exchange(other.size_, 0);
        // All of it, the pointer included: cheaper than to ask how much is used.
        std::memcpy(inline_, other.inline_, inline_bytes_max);
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
    bool is_known_plain_ = false;
    std::uint16_t sequence_high_ = 0;
    std::uint32_t sequence_low_ = 0;

    union {
        char inline_[inline_bytes_max + overrun_bytes_max];
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
/// fast, and six times where the fields are all `{}` and the arguments integers and strings.
template <detail::compiled_format Format, class... Args>
[[nodiscard]] record make_record(level importance, std::uint32_t producer, const Format& format,
                                 const Args&... args) {
    if constexpr (detail::is_quick<Format, Args...>()) {
        using quick = detail::quick_format<Format>;
        return [&](const detail::quick_argument<Args>&... texts) {
            return record(importance, producer, quick::size(texts...), quick::plain(texts...),
                          [&](char* to) noexcept { quick::put(to, texts...); });
        }(detail::quick_argument<Args>(args)...);
    } else {
        fmt::basic_memory_buffer<char, detail::message_buffer_bytes> message;
        fmt::format_to(fmt::appender(message), format, args...);
        return {importance, producer, std::string_view(message.data(), message.size())};
    }
}

} // namespace sapwood
