// Text made without allocation, locks or locale, for a signal handler: into memory that is there,
// cut where that ends. Also a record as a line, in forms that a log's readers know. One thread.
#pragma once

#include <sapwood/log_record.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace sapwood::detail {

class crash_text {
  public:
    crash_text(char* to, std::size_t bytes_max) noexcept
        : begin_(to),
          at_(to),
          end_(to + bytes_max) {}

    void put(std::string_view text) noexcept {
        const std::size_t bytes = std::min(text.size(), room());
        if (bytes > 0) {
            std::memcpy(at_, text.data(), bytes);
            at_ += bytes;
        }
        is_cut_ = is_cut_ || bytes < text.size();
    }

    void put(char c) noexcept { put(std::string_view(&c, 1)); }

    /// With zeros in front, to `digits_min` digits.
    void put_decimal(std::uint64_t value, unsigned digits_min = 1) noexcept;

    void put_hex(std::uint64_t value, unsigned digits_min = 1) noexcept;

    /// As escape() has it; a character is put whole or not at all.
    void put_escaped(std::string_view text) noexcept;

    /// The inside of a JSON string: what is not UTF-8 becomes U+FFFD.
    void put_json(std::string_view text) noexcept;

    [[nodiscard]] std::size_t size() const noexcept {
        return static_cast<std::size_t>(at_ - begin_);
    }

    [[nodiscard]] std::string_view text() const noexcept { return {begin_, size()}; }

    [[nodiscard]] char* end_of_text() noexcept { return at_; }

    /// `bytes` from there on are text, too.
    void take(std::size_t bytes) noexcept { at_ += bytes; }

    [[nodiscard]] std::size_t room() const noexcept { return static_cast<std::size_t>(end_ - at_); }

    /// There was no room for something.
    [[nodiscard]] bool is_cut() const noexcept { return is_cut_; }

    void clear() noexcept {
        at_ = begin_;
        is_cut_ = false;
    }

  private:
    /// All of it or, where there is no room, nothing from now on.
    void put_whole(std::string_view text) noexcept;

    char* begin_;
    char* at_;
    char* end_;
    bool is_cut_ = false;
};

/// Appends the record as one line, whole: what there is no room for is cut off the message. At
/// least crash_line_bytes_min must be free.
void put_crash_line(const log_record& record, crash_form form, crash_text& to) noexcept;

inline constexpr std::size_t crash_line_bytes_min = 4096;

} // namespace sapwood::detail
