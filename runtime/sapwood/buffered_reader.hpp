// buffered_reader: lines and other pieces that end in a delimiter, out of a stream or a file that
// gives whatever is there. Its memory is bounded: a peer that never sends the delimiter is an error
// and not a buffer that grows. The source must outlive it; nobody else may read from it meanwhile.
// Loop thread only.
#pragma once

#include <sapwood/errors.hpp>
#include <sapwood/task.hpp>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

namespace sapwood {

struct reader_options {
    /// The longest piece that read_until gives, its delimiter included, and all the memory of the
    /// reader. 64 KiB hold a page of HTTP headers; a record of a log is rarely longer.
    std::size_t piece_bytes_max = 64u << 10;
};

static_assert(std::is_trivially_destructible_v<reader_options>,
              "gcc 12 destroys options in a co_await expression twice");

/// Source has `read_some(std::span<char>)`, which gives 0 at the end.
template <class Source>
class buffered_reader {
  public:
    explicit buffered_reader(Source& source, reader_options options = {})
        : source_(source),
          buffer_(options.piece_bytes_max) {
        SAPWOOD_ASSERT(options.piece_bytes_max > 0,
                       "reader_options.piece_bytes_max must be at least 1");
    }

    /// Nobody may be reading.
    ~buffered_reader() {
        SAPWOOD_ASSERT(!is_filling_, "a buffered_reader was destroyed while a task reads by it");
    }

    buffered_reader(const buffered_reader&) = delete;
    buffered_reader& operator=(const buffered_reader&) = delete;

    /// The bytes up to the next `delimiter` and itself; valid until the next call. Where the source
    /// ends, what is left, without a delimiter, and nothing when nothing is. Where the delimiter
    /// does not come within piece_bytes_max, throws errc::piece_too_long and has taken nothing:
    /// read_some gives what is there. Cancelled, it has taken nothing either.
    [[nodiscard]] task<std::string_view> read_until(std::string_view delimiter) {
        SAPWOOD_ASSERT(!delimiter.empty(), "read_until() without a delimiter");
        std::size_t searched = 0;
        for (;;) {
            const std::string_view there(buffer_.data() + begin_, end_ - begin_);
            const auto at = there.find(delimiter, searched);
            if (at != there.npos) {
                co_return take(at + delimiter.size());
            }
            if (ended_) {
                co_return take(there.size());
            }
            if (there.size() == buffer_.size()) {
                throw std::system_error(errc::piece_too_long);
            }
            // A delimiter may have begun at the end of what is there.
            searched = there.size() < delimiter.size() ? 0 : there.size() - delimiter.size() + 1;
            co_await fill();
        }
    }

    /// A line without its newline, or its CR LF. False at the end of the source.
    [[nodiscard]] task<bool> read_line(std::string_view& line) {
        line = co_await read_until("\n");
        if (line.empty()) {
            co_return false;
        }
        if (line.ends_with('\n')) {
            line.remove_suffix(line.ends_with("\r\n") ? 2 : 1);
        }
        co_return true;
    }

    /// What is buffered, or else what the source gives; 0 at the end.
    [[nodiscard]] task<std::size_t> read_some(std::span<char> into) {
        if (begin_ == end_ && !ended_) {
            co_await fill();
        }
        const std::string_view piece = take(std::min(into.size(), end_ - begin_));
        std::copy(piece.begin(), piece.end(), into.begin());
        co_return piece.size();
    }

    /// Fills all of `into`. False where the source ends before the first byte; in the middle,
    /// throws errc::end_of_stream. Cancelled, what it has read so far is lost to the caller.
    [[nodiscard]] task<bool> read_exactly(std::span<char> into) {
        std::size_t filled = 0;
        while (filled < into.size()) {
            const std::size_t got = co_await read_some(into.subspan(filled));
            if (got == 0) {
                if (filled == 0) {
                    co_return false;
                }
                throw std::system_error(errc::end_of_stream);
            }
            filled += got;
        }
        co_return true;
    }

  private:
    struct filling {
        explicit filling(bool& flag) noexcept : is_on(flag) { is_on = true; }

        filling(const filling&) = delete;
        filling& operator=(const filling&) = delete;

        ~filling() { is_on = false; }

        bool& is_on;
    };

    std::string_view take(std::size_t size) noexcept {
        const std::string_view piece(buffer_.data() + begin_, size);
        begin_ += size;
        return piece;
    }

    /// Reads once more from the source, behind what is there.
    task<> fill() {
        SAPWOOD_ASSERT(!is_filling_, "two tasks read by one buffered_reader at once");
        const filling now(is_filling_);
        if (begin_ > 0) {
            std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
            end_ -= begin_;
            begin_ = 0;
        }
        const std::size_t got = co_await source_.read_some(std::span(buffer_).subspan(end_));
        end_ += got;
        ended_ = got == 0;
    }

    Source& source_;
    std::vector<char> buffer_;
    std::size_t begin_ = 0;
    std::size_t end_ = 0;
    bool ended_ = false;
    /// A task waits for the source.
    bool is_filling_ = false;
};

} // namespace sapwood
