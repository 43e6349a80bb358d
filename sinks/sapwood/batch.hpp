// A batch: records rendered as whole lines in one block of memory, ready for one write. The
// consumer fills one while the sink writes the other. Loop thread only.
#pragma once

#include <sapwood/numbered_line.hpp>
#include <sapwood/record.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <memory>
#include <span>
#include <string_view>

namespace sapwood {

/// How a record becomes lines.
enum class layout : std::uint8_t {
    /// `2026-11-21 22:39:56.123 17 info message`: time in UTC, producer, level, and the message
    /// escaped (see escape.hpp), so that one record is one line.
    plain,
    /// The message as it is, which must be whole lines without the last newline.
    verbatim,
    /// A plain line behind its number in the log and its checksum; see numbered_line.hpp.
    numbered,
    /// Of a pipeline: plain where its durability is none, otherwise numbered.
    automatic,
};

class batch {
  public:
    /// Full at `bytes_max` bytes. Each record takes the next number of `numbers`, which must
    /// outlive it; without them, `form` is neither numbered nor automatic.
    batch(std::size_t bytes_max, layout form, line_head* numbers = nullptr);

    /// Renders `item`. A record always fits: a batch that is full, or whose record is longer than
    /// all of it, grows. Throws std::bad_alloc, and nothing has changed then.
    void push_back(record&& item) {
        const std::size_t bytes_needed =
            size_ + std::max(item.message().size(), record::inline_bytes_max) + line_overhead_max;
        if (bytes_needed > capacity_) [[unlikely]] {
            grow(bytes_needed);
        }
        render(item);
        ++records_;
    }

    /// The same of a record that is copied once, from where it stands.
    void push_back(const record_view& item) {
        const std::size_t bytes_needed = size_ + item.size() + line_overhead_max;
        if (bytes_needed > capacity_) [[unlikely]] {
            grow(bytes_needed);
        }
        render(item);
        ++records_;
    }

    [[nodiscard]] std::span<const char> bytes() const noexcept { return {memory_.get(), size_}; }

    [[nodiscard]] std::size_t records() const noexcept { return records_; }

    [[nodiscard]] bool empty() const noexcept { return records_ == 0; }

    [[nodiscard]] bool full() const noexcept { return size_ >= bytes_max_; }

    [[nodiscard]] std::size_t lines() const noexcept { return lines_; }

    /// Marks the first line: what is before it is on disk. Of numbered lines only.
    void mark() noexcept;

    /// How many lines it would render `item` as.
    [[nodiscard]] std::size_t lines_of(const record& item) const noexcept;

    /// How many lines are in its first `bytes`.
    [[nodiscard]] std::size_t lines_within(std::size_t bytes) const noexcept;

    /// Empties it. Memory that a long record made it grow to is given back.
    void clear() noexcept;

  private:
    /// What stands around a message in a line: head, time, producer, its number, level,
    /// newline.
    static constexpr std::size_t line_overhead_max = 128;
    /// Records still come in when it is full; so many fit without growing.
    static constexpr std::size_t slack_bytes = 32u << 10;

    void grow(std::size_t bytes);
    void render(const record& item);
    void render(const record_view& item) noexcept;
    char* put_head(char* to, record::time_point when, std::uint32_t producer,
                   std::uint64_t sequence, level importance) noexcept;
    void render_escaped(char* to, std::string_view message);
    void end_line(char* end) noexcept;
    void render_time(record::time_point when) noexcept;

    const std::size_t bytes_max_;
    const layout layout_;
    line_head* const numbers_;
    std::unique_ptr<char[]> memory_;
    std::size_t capacity_;
    std::size_t size_ = 0;
    std::size_t records_ = 0;
    std::size_t lines_ = 0;
    /// The millisecond that time_text_ stands for: "2026-11-21 22:39:56.123 ".
    record::time_point millisecond_{std::chrono::hours(-1000000)};
    char time_text_[24] = {};
};

} // namespace sapwood
