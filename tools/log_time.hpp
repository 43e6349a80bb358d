// Times as log lines have them, and as people give them on a command line. Nanoseconds since 1970;
// what names no zone is UTC, as sapwood's own lines are. Any thread, a time_reader for each.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sapwood::tools {

inline constexpr std::int64_t nanoseconds_per_second = 1'000'000'000;

/// Reads `2026-11-21 22:39:56.123`, also with a `T`, a comma, no fraction or up to nine digits of
/// it, and a zone (`Z`, `+01:00`, `-0330`) behind. Remembers the last day, which most lines share.
class time_reader {
  public:
    /// The time at the begin of `text`, of which it takes away what it has read; none, and all of
    /// it left, where there is none.
    [[nodiscard]] std::optional<std::int64_t> take(std::string_view& text) noexcept;

  private:
    char day_[10] = {};
    std::int64_t day_begin_ = 0;
};

/// A moment as so many seconds since 1970, or thousandths, millionths or billionths of them: by how
/// long ago it would be. None where it is not after 1970, or beyond what nanoseconds can say.
[[nodiscard]] std::optional<std::int64_t> time_since_epoch(double number) noexcept;

/// The same of a text, which is a number and nothing else.
[[nodiscard]] std::optional<std::int64_t> time_since_epoch(std::string_view number) noexcept;

/// What an option says: a time as above, a date alone, `@` and seconds since 1970, or a span before
/// `now`, as `90s`, `10m`, `2h` and `7d`. Throws std::invalid_argument that says what would be
/// right.
[[nodiscard]] std::int64_t parse_when(std::string_view text, std::int64_t now);

/// `2026-11-21 22:39:56.123`, of as many digits of the second as `digits` says; UTC.
[[nodiscard]] std::string time_text(std::int64_t ns, int digits = 3, char between = ' ');

} // namespace sapwood::tools
