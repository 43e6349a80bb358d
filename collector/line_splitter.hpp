// line_splitter: messages out of the bytes of a stream: each ended by a newline or a NUL, or
// preceded by its length (RFC 6587), as the first message shows. Each byte is looked at once, and
// of a message that does not come in one piece no more is kept than the longest may have. Makes no
// system call and knows no socket. Any thread, one at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace sapwood::collector {

class line_splitter {
  public:
    /// The longest length that is believed where messages may be half as long; otherwise it is
    /// twice the longest message, and 2 MiB at least. What is longer than a message may be is
    /// cut, and its rest left out. A larger number is a line's first word, as a time or an id is.
    static constexpr std::size_t counted_bytes_max = 16u << 20;

    /// Longer messages are cut. `may_be_counted`: lengths and NULs are looked for; otherwise a line
    /// ends with a newline.
    line_splitter(std::size_t longest, bool may_be_counted) noexcept
        : longest_(longest),
          framing_(may_be_counted ? framing::unknown : framing::newline) {}

    /// Takes from the front of `input`. True where line() is a message that is over; false where
    /// all of the input was used, and more is to come. Throws std::bad_alloc.
    [[nodiscard]] bool next(std::string_view& input);

    /// No more is to come, or not in time: true where line() is what there is of a message.
    [[nodiscard]] bool finish();

    /// The same, and what still comes of that message is left out. Nothing happens where nothing of
    /// a message is kept, or no more than of its length.
    [[nodiscard]] bool cut_short();

    /// In the input, or kept, until the next call.
    [[nodiscard]] std::string_view line() const noexcept { return line_; }

    /// Some of line() is missing at its end, or may be.
    [[nodiscard]] bool is_cut() const noexcept { return is_cut_; }

    /// Some of a message has come, and not all of it.
    [[nodiscard]] bool is_in_line() const noexcept {
        return is_over_ || is_in_frame_ || (!kept_.empty() && !is_told_);
    }

    /// What comes next is of a message that was cut short.
    [[nodiscard]] bool is_skipping() const noexcept { return is_skipping_; }

    /// What comes next is the first byte of a line that ends with a newline.
    [[nodiscard]] bool is_at_line() const noexcept {
        return framing_ == framing::newline && !is_in_line() && !is_skipping_;
    }

    [[nodiscard]] std::size_t held_bytes() const noexcept {
        return kept_.empty() ? 0 : kept_.capacity();
    }

  private:
    enum class framing : std::uint8_t { unknown, newline, nul, counted };

    void choose(std::string_view input) noexcept;
    bool next_ended(std::string_view& input);
    bool next_counted(std::string_view& input);
    bool take_length(std::string_view& input);
    void keep(std::string_view part);
    bool tell_kept(bool is_whole) noexcept;
    bool tell(std::string_view whole) noexcept;
    void forget_told() noexcept;

    const std::size_t longest_;
    framing framing_;
    /// Of a message of a known length: what is still to come.
    std::size_t left_ = 0;
    bool is_in_frame_ = false;
    /// More has come of the message than is kept.
    bool is_over_ = false;
    /// What was kept is line(): it may go.
    bool is_told_ = false;
    /// The rest of the message is not wanted.
    bool is_skipping_ = false;
    bool is_cut_ = false;
    std::string_view line_;
    std::string kept_;
};

} // namespace sapwood::collector
