// A file of a log that is followed: what of it has been shown, and what has come since. Holds it
// open, so that it stays the same file whatever becomes of its name. One thread.
#pragma once

#include "line_view.hpp"
#include "log_files.hpp"

#include <sapwood/clock.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <vector>

namespace sapwood::tools {

class followed_file {
  public:
    /// Takes `fd` over. What stands before `offset`, where a line begins, has been shown.
    followed_file(std::string name, int fd, std::uint64_t offset);

    /// One that has been compressed already: it is shown as a whole.
    explicit followed_file(log_file packed);
    followed_file(const followed_file&) = delete;
    followed_file& operator=(const followed_file&) = delete;
    ~followed_file();

    /// -1 of one that has been compressed.
    [[nodiscard]] int fd() const noexcept { return fd_; }

    [[nodiscard]] bool is(const struct ::stat& other) const noexcept {
        return fd_ >= 0 && device_ == other.st_dev && inode_ == other.st_ino;
    }

    [[nodiscard]] std::uint64_t size() const noexcept;

    /// Shows the lines that have become whole, up to `end` at most. Where the file was cut, says so
    /// on standard error and begins at its begin.
    void show_new(std::uint64_t end, line_view& view);

    /// The name has another file now.
    void is_replaced(clock::time_point now) noexcept { replaced_ = now; }

    /// Whether it was replaced before then.
    [[nodiscard]] bool is_over(clock::time_point before) const noexcept {
        return replaced_ != clock::time_point() && replaced_ < before;
    }

    /// Whether the last show_new() has come to its end, or to space for lines to come.
    [[nodiscard]] bool is_read() const noexcept { return is_read_; }

    /// Shows a last line that never got its end.
    void show_rest(line_view& view);

  private:
    void show_packed(line_view& view);
    void notice_cut(std::uint64_t size);
    [[nodiscard]] bool is_cut(std::uint64_t size) const;
    [[nodiscard]] bool is_unchanged_before(std::uint64_t offset, std::string_view text) const;
    [[nodiscard]] std::size_t read(std::uint64_t at, char* to, std::size_t size) const;
    [[nodiscard]] std::uint64_t zeros_end(std::uint64_t from, std::uint64_t end) const;
    void take(std::string_view text, line_view& view);
    [[nodiscard]] bool may_skip_zeros(std::uint64_t to);

    /// Where zeros begin that are no part of a line, and where they end.
    struct space {
        std::uint64_t begin = 0;
        std::uint64_t end = 0;
    };

    [[nodiscard]] space find_space(std::string_view text, std::uint64_t at,
                                   std::uint64_t size) const;

    std::string name_;
    int fd_ = -1;
    dev_t device_ = 0;
    ino_t inode_ = 0;
    log_file packed_;
    /// Behind the last line that was shown.
    std::uint64_t offset_ = 0;
    /// Read behind it, and not shown: the begin of a line.
    std::vector<char> pending_;
    std::size_t pending_bytes_ = 0;
    /// The last bytes before offset_, by which it is noticed that the file was cut and has grown
    /// again.
    std::string before_;
    clock::time_point replaced_{};
    bool is_read_ = false;
    /// Zeros with text behind them, and since when they are seen there.
    std::uint64_t zeros_at_ = 0;
    clock::time_point zeros_since_{};
};

} // namespace sapwood::tools
