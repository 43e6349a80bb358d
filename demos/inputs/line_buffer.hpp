// line_buffer: what has been read of an input and not been handed over, cut into whole lines.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

/// After each take it holds the beginning of one line at most.
class line_buffer {
  public:
    struct limits {
        /// Room for a read. Grows only for a longer line.
        std::size_t read_bytes = 128u << 10;
        /// A longer line is cut into several.
        std::size_t line_bytes_max = 16u << 20;
    };

    explicit line_buffer(limits with) : limits_(with), memory_(with.read_bytes) {}

    /// Where the next read goes; never empty.
    [[nodiscard]] std::span<char> space() {
        if (used_ == memory_.size()) {
            memory_.resize(std::min(2 * memory_.size(), limits_.line_bytes_max + 1));
        }
        return std::span(memory_).subspan(used_);
    }

    /// So many bytes were read into space(). take() comes next if it is ready.
    void added(std::size_t bytes) {
        const std::string_view fresh(memory_.data() + used_, bytes);
        const auto newline = fresh.rfind('\n');
        whole_lines_ = newline == std::string_view::npos ? 0 : used_ + newline + 1;
        used_ += bytes;
    }

    /// There are whole lines, or the one that has begun is too long already.
    [[nodiscard]] bool ready() const { return whole_lines_ > 0 || line_is_too_long(); }

    [[nodiscard]] bool line_is_too_long() const {
        return whole_lines_ == 0 && used_ > limits_.line_bytes_max;
    }

    /// Gives `receive` all whole lines without the last newline, or of a line that is too long
    /// what may be of it, or at the end of the input the line that has begun; and forgets them.
    template <class Receive>
    auto take(Receive receive) {
        const std::size_t bytes =
            whole_lines_ > 0 ? whole_lines_ : std::min(used_, limits_.line_bytes_max);
        auto taken = receive(std::string_view(memory_.data(), bytes - (whole_lines_ > 0 ? 1 : 0)));
        std::memmove(memory_.data(), memory_.data() + bytes, used_ - bytes);
        used_ -= bytes;
        whole_lines_ = 0;
        return taken;
    }

    /// Bytes that have not been taken.
    [[nodiscard]] std::size_t size() const { return used_; }

  private:
    const limits limits_;
    std::vector<char> memory_;
    std::size_t used_ = 0;
    /// Bytes of whole lines.
    std::size_t whole_lines_ = 0;
};
