// The form of a line in a durable log, which says by itself whether it is whole and where it
// belongs:
//
//     0000000000000042 ef34678f 2026-11-21 22:39:56.123 17#5 info message
//
// The record's lsn; the CRC32C of the line but for itself; the plain line, whose producer may have
// a number of its own for the record behind a '#'. A bar instead of the first space is a mark: what
// stands above this line was on disk before the line was written. Any thread.
#pragma once

#include <sapwood/lsn.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace sapwood {

struct numbered_line {
    /// Digits, a space or a bar, checksum, a space.
    static constexpr std::size_t lsn_digits = 16;
    static constexpr std::size_t crc_digits = 8;
    static constexpr std::size_t mark_at = lsn_digits;
    static constexpr std::size_t crc_at = mark_at + 1;
    static constexpr std::size_t head_bytes = crc_at + crc_digits + 1;
    static constexpr char mark = '|';

    enum class state : std::uint8_t {
        /// As it was written.
        whole,
        /// It has a head, and its checksum does not fit, or it has zeros in it.
        broken,
        /// No line of this form.
        foreign,
    };

    state is = state::foreign;
    /// Only of a whole line are the rest true.
    bool is_marked = false;
    lsn place = lsn::none;
    std::uint32_t checksum = 0;

    /// Looks at a line without its newline.
    [[nodiscard]] static numbered_line parse(std::string_view line) noexcept;

  private:
    friend class numbered_line_parts;

    /// `whole` where the line begins with a head, whatever its checksum is.
    [[nodiscard]] static numbered_line parse_head(std::string_view line) noexcept;
};

/// The same of a line that comes in parts, so that its length needs no memory.
class numbered_line_parts {
  public:
    /// The first part is the whole line, or has head_bytes at least.
    void add(std::string_view part) noexcept;

    /// All parts were added.
    [[nodiscard]] numbered_line parse() const noexcept;

  private:
    numbered_line head_;
    bool has_begun_ = false;
    bool has_zeros_ = false;
    std::uint32_t crc_ = 0;
};

/// How much of `lines`, whole numbered ones, has its numbers at the front of `present`, one after
/// the other, which are taken from there.
[[nodiscard]] std::size_t take_present(std::string_view lines,
                                       std::span<const lsn>& present) noexcept;

/// The producer, and its own number of the record, of a whole line.
struct line_producer {
    bool is_known = false;
    std::uint32_t id = 0;
    /// 0 where the producer gave none.
    std::uint64_t sequence = 0;

    [[nodiscard]] static line_producer of(std::string_view line) noexcept;
};

/// The numbers of lines that come one after the other, and their heads: keeps the digits of the
/// next lsn, and counts in them.
class line_head {
  public:
    explicit line_head(lsn next = lsn::none + 1) noexcept { set(next); }

    void set(lsn next) noexcept;

    /// Of the next line.
    [[nodiscard]] lsn next() const noexcept { return next_; }

    /// Writes the head of the line at `line`, of `size` bytes without its newline, whose first
    /// head_bytes are free.
    void put(char* line, std::size_t size) const noexcept;

    /// The same for a line that stands elsewhere: `head` gets its head_bytes, `text` is the rest.
    void put_apart(char* head, std::string_view text) const noexcept;

    /// Goes on to the next lsn.
    void skip() noexcept {
        next_ = next_ + 1;
        for (std::size_t i = sizeof(digits_); i-- > 0;) {
            if (digits_[i] != '9') [[likely]] {
                ++digits_[i];
                break;
            }
            digits_[i] = '0';
        }
    }

  private:
    void put_digits(char* head, std::uint32_t crc) const noexcept;

    lsn next_{};
    char digits_[numbered_line::lsn_digits];
};

} // namespace sapwood
