// The end of a log of numbered lines: up to where it is whole, and which is its last number. Looks
// at what stands behind the last mark only, however long the log is. Loop thread only.
#pragma once

#include <sapwood/file.hpp>
#include <sapwood/lsn.hpp>
#include <sapwood/receipts.hpp>
#include <sapwood/task.hpp>

#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace sapwood::detail {

class log_tail {
  public:
    log_tail(std::vector<char> bytes, std::uint64_t at) noexcept
        : begin(at),
          bytes_(std::move(bytes)) {}

    [[nodiscard]] std::string_view text() const noexcept { return {bytes_.data(), bytes_.size()}; }

    /// The lines between begin and end: nothing but their being there says that they are on disk.
    [[nodiscard]] std::span<const char> unproven() const noexcept {
        return std::span(bytes_).subspan(skipped, end - begin);
    }

    /// Where the looking began, in the file; and how much of what was read is before that.
    std::uint64_t begin;
    std::size_t skipped = 0;
    /// Behind the last line that is good; what comes then is of no use.
    std::uint64_t end = 0;
    /// The highest number there is; none where no line is numbered.
    lsn last = lsn::none;

  private:
    std::vector<char> bytes_;
};

/// At most so far behind the last mark is looked, and over the longest line besides. Lines that are
/// not synced, those that are kept and a batch, are fewer, but for the last record of the batch,
/// which may be of any length.
inline constexpr std::uint64_t tail_bytes_max = 8u << 20;

/// Where a log of `size` bytes ends but for zeros that may be space that was preallocated: those up
/// to the end of the file, which is that of a block. At most preallocated_bytes_max and a batch.
[[nodiscard]] task<std::uint64_t> end_before_zeros(file& log, std::uint64_t size);

/// Behind which number a log of `size` bytes goes on, one that may go on behind `last`: that of its
/// first line, or `last` + 1 where that line tells that those between are lost. None where it is
/// not whole, as in a file that a power cut has caught before it was synced.
[[nodiscard]] task<lsn> first_number(file& log, std::uint64_t size, lsn last);

/// Whether the line is the log's own and says that these are missing. It has the last one's number.
[[nodiscard]] bool tells_of_missing(std::string_view line, lsn_range which);

/// Whether a segment in the making, which begins with `first`, has more than the log, and nothing
/// else of what both have: of one that was given up the numbers may have come again. Where it
/// begins within the log it has the log's last line: all of it is looked at, for it has no mark but
/// in its first line, and another log that is called so may have none of those at the log's end.
[[nodiscard]] bool has_more(const log_tail& made, const log_tail& log, lsn first);

/// Of a log of `size` bytes.
[[nodiscard]] task<log_tail> read_log_tail(file& log, std::uint64_t size);

} // namespace sapwood::detail
