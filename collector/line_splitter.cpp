#include "line_splitter.hpp"

#include <algorithm>
#include <utility>

namespace sapwood::collector {

namespace {

/// Of the longest length that is believed.
constexpr std::size_t count_digits_max = 8;
static_assert(line_splitter::counted_bytes_max < 100'000'000);

/// Is believed however short messages are cut: more than `sapwood send` makes of a line, of which
/// it sends a mebibyte and what it has read with it.
constexpr std::size_t believed_bytes = 2u << 20;
static_assert(believed_bytes <= line_splitter::counted_bytes_max);

/// More memory than this is given back between messages.
constexpr std::size_t usual_piece_bytes = 1u << 10;

bool is_digit(char c) noexcept {
    return c >= '0' && c <= '9';
}

} // namespace

bool line_splitter::next(std::string_view& input) {
    forget_told();
    while (!input.empty()) {
        if (framing_ == framing::unknown) {
            choose(input);
        }
        if (framing_ == framing::unknown) {
            keep(std::exchange(input, {}));
            return false;
        }
        if (framing_ == framing::counted ? next_counted(input) : next_ended(input)) {
            return true;
        }
    }
    return false;
}

/// Nothing, where no message has ended yet: how they end is seen by the first one that does.
void line_splitter::choose(std::string_view input) noexcept {
    const bool is_first = kept_.empty() && !is_over_ && !is_skipping_;
    if (is_first && is_digit(input.front())) {
        framing_ = framing::counted;
        return;
    }
    // What ends a piece ends a message: who sends one that has the other end in it, as Python's
    // SysLogHandler does with newlines, or somebody who has a NUL logged, must not have it taken
    // for two. A piece that ends in a message goes by NUL only where it has no newline: what
    // somebody has logged before one is no message of its own.
    if (input.back() == '\0') {
        framing_ = framing::nul;
    } else if (input.find('\n') != input.npos) {
        framing_ = framing::newline;
    } else if (input.find('\0') != input.npos) {
        framing_ = framing::nul;
    }
}

bool line_splitter::next_ended(std::string_view& input) {
    const auto end = input.find(framing_ == framing::nul ? '\0' : '\n');
    const std::string_view part = input.substr(0, end);
    input.remove_prefix(std::min(part.size() + 1, input.size()));
    if (end == part.npos) {
        keep(part);
        return false;
    }
    if (std::exchange(is_skipping_, false)) {
        return false;
    }
    if (kept_.empty() && !is_over_) {
        return tell(part.ends_with('\r') ? part.substr(0, part.size() - 1) : part) &&
               !line_.empty();
    }
    keep(part);
    if (kept_.ends_with('\r') && !is_over_) {
        kept_.pop_back();
    }
    return tell_kept(true);
}

bool line_splitter::next_counted(std::string_view& input) {
    if (!is_in_frame_ && !take_length(input)) {
        return false;
    }
    const std::string_view part = input.substr(0, left_);
    input.remove_prefix(part.size());
    left_ -= part.size();
    const bool is_first = kept_.empty() && !is_over_;
    if (left_ == 0) {
        is_in_frame_ = false;
        if (std::exchange(is_skipping_, false)) {
            return false;
        }
        if (is_first) {
            return tell(part);
        }
    }
    keep(part);
    return left_ == 0 && tell_kept(true);
}

/// False where more is to come, or where there is none: then the rest goes by newlines.
bool line_splitter::take_length(std::string_view& input) {
    while (!input.empty() && is_digit(input.front()) && kept_.size() < count_digits_max) {
        kept_ += input.front();
        input.remove_prefix(1);
    }
    if (input.empty()) {
        return false;
    }
    std::size_t length = 0;
    for (const char c : kept_) {
        length = length * 10 + static_cast<std::size_t>(c - '0');
    }
    const std::size_t believed =
        std::max(believed_bytes, 2 * std::min(longest_, counted_bytes_max / 2));
    if (input.front() != ' ' || kept_.empty() || kept_.front() == '0' || length > believed) {
        framing_ = framing::newline; // the digits are the beginning of a line
        return false;
    }
    input.remove_prefix(1);
    kept_.clear();
    left_ = length;
    is_in_frame_ = true;
    return true;
}

bool line_splitter::finish() {
    forget_told();
    is_in_frame_ = false;
    left_ = 0;
    is_skipping_ = false;
    return tell_kept(false);
}

bool line_splitter::cut_short() {
    forget_told();
    if (kept_.empty() || (framing_ == framing::counted && !is_in_frame_)) {
        return false; // the digits of a length say where the message ends: all behind hangs on them
    }
    is_skipping_ = true;
    return tell_kept(false);
}

void line_splitter::keep(std::string_view part) {
    if (is_skipping_) {
        return;
    }
    // One more than the longest: it may be the carriage return before a newline.
    // The digits of what is no length may be more than that.
    const std::size_t room = longest_ + 1 - std::min(kept_.size(), longest_ + 1);
    if (part.size() > room) {
        is_over_ = true;
        part = part.substr(0, room);
    }
    kept_ += part;
}

bool line_splitter::tell_kept(bool is_whole) noexcept {
    line_ = std::string_view(kept_).substr(0, longest_);
    is_cut_ = is_over_ || !is_whole || kept_.size() > longest_;
    is_over_ = false;
    is_told_ = !line_.empty();
    return is_told_;
}

bool line_splitter::tell(std::string_view whole) noexcept {
    is_cut_ = whole.size() > longest_;
    line_ = whole.substr(0, longest_);
    return true;
}

void line_splitter::forget_told() noexcept {
    if (std::exchange(is_told_, false)) {
        kept_.clear();
        if (kept_.capacity() > usual_piece_bytes) {
            std::string().swap(kept_);
        }
    }
}

} // namespace sapwood::collector
