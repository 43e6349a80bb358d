// The newest lines that an output would not have, kept in case they are wanted after all: a record
// of what led to an error. On the consumer's thread.
#pragma once

#include <sapwood/level.hpp>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>

namespace sapwood {

/// Records that are too low for an output, kept by it and written when an error comes, before it.
/// The log makes records from `at_least` on then, whatever its loggers' levels are (but not of a
/// logger whose level is `off`); those below a logger's level are for this only.
struct log_recent {
    /// So many at most, the newest ones. 0: none.
    std::size_t records_max = 0;
    /// Of lines.
    std::size_t bytes_max = 256u << 10;
    /// Records below it are not kept.
    level at_least = level::debug;
    /// A record of this level, or above it, has them written.
    level trigger = level::error;
};

namespace detail {

class recent_lines {
  public:
    recent_lines(std::size_t records_max, std::size_t bytes_max)
        : records_max_(records_max),
          bytes_max_(bytes_max) {}

    /// A whole line. Older ones make room. Throws std::bad_alloc.
    void add(std::string_view line);

    void clear() noexcept;

    [[nodiscard]] std::string_view text() const noexcept {
        return std::string_view(text_).substr(begin_);
    }

    [[nodiscard]] std::size_t lines() const noexcept { return sizes_.size(); }

    /// Lines since it was last cleared that are not there any more.
    [[nodiscard]] std::uint64_t forgotten() const noexcept { return forgotten_; }

  private:
    void forget_oldest() noexcept;

    const std::size_t records_max_;
    const std::size_t bytes_max_;
    std::string text_;
    std::size_t begin_ = 0;
    std::deque<std::size_t> sizes_;
    std::uint64_t forgotten_ = 0;
};

} // namespace detail

} // namespace sapwood
