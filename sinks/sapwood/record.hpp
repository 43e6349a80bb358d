// A record on its way from who writes it to the batch: when, who, how important, and the message.
// Owns its message; short ones (most) live inside it, so that a record travels through a channel
// without an allocation. A value type for any thread.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fmt/compile.h>
#include <fmt/format.h>
#include <string_view>
#include <utility>

namespace sapwood {

enum class level : std::uint8_t { trace, debug, info, warning, error, critical };

/// Lower case, as it stands in a log line.
[[nodiscard]] std::string_view to_string(level value) noexcept;

class record {
  public:
    using time_point = std::chrono::sys_time<std::chrono::nanoseconds>;

    /// Messages up to here need no memory of their own: two cache lines in all.
    static constexpr std::size_t inline_bytes_max = 104;
    static constexpr std::size_t message_bytes_max = 64u << 20;

    /// Copies `message`. Throws std::bad_alloc, and std::length_error past message_bytes_max.
    record(level importance, std::uint32_t producer, std::string_view message,
           time_point when = now())
        : when_(when),
          producer_(producer),
          level_(importance) {
        assign(message);
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

    [[nodiscard]] static time_point now() noexcept {
        return std::chrono::time_point_cast<std::chrono::nanoseconds>(
            std::chrono::system_clock::now());
    }

    [[nodiscard]] time_point when() const noexcept { return when_; }

    [[nodiscard]] std::uint32_t producer() const noexcept { return producer_; }

    [[nodiscard]] level importance() const noexcept { return level_; }

    [[nodiscard]] std::string_view message() const noexcept {
        return {is_inline() ? inline_ : heap_, size_};
    }

  private:
    [[nodiscard]] bool is_inline() const noexcept { return size_ <= inline_bytes_max; }

    void assign(std::string_view message);

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

/// A record of a formatted message; `format` may be FMT_COMPILE("...").
template <class Format, class... Args>
[[nodiscard]] record make_record(level importance, std::uint32_t producer, const Format& format,
                                 Args&&... args) {
    fmt::basic_memory_buffer<char, 512> message;
    fmt::format_to(fmt::appender(message), format, std::forward<Args>(args)...);
    return {importance, producer, std::string_view(message.data(), message.size())};
}

} // namespace sapwood
