#include "last_lines.hpp"

#include "complaint.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <fmt/format.h>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <vector>

namespace sapwood::tools {

namespace {

constexpr std::size_t piece_bytes = 256u << 10;

/// A file that is read from wherever one likes.
class readable_file {
  public:
    readable_file(int fd, std::string path) : fd_(fd), path_(std::move(path)) {
        struct ::stat status {};

        if (::fstat(fd_, &status) != 0) {
            fail();
        }
        if (!S_ISREG(status.st_mode)) {
            throw std::system_error(ESPIPE, std::generic_category(),
                                    fmt::format("{} is not a file", path_));
        }
        size_ = static_cast<std::uint64_t>(status.st_size);
    }

    [[nodiscard]] std::uint64_t size() const noexcept { return size_; }

    /// Fewer at the end of the file.
    [[nodiscard]] std::size_t read(std::uint64_t at, char* to, std::size_t size) const {
        std::size_t done = 0;
        while (done < size) {
            const ssize_t got = ::pread(fd_, to + done, size - done, static_cast<off_t>(at + done));
            if (got == 0) {
                break;
            }
            if (got < 0 && errno != EINTR) {
                fail();
            }
            done += got > 0 ? static_cast<std::size_t>(got) : 0;
        }
        return done;
    }

    /// Behind the last newline, and behind the last byte that is no zero: space for lines to come.
    void find_end(std::uint64_t& lines_end, std::uint64_t& text_end) const {
        const std::unique_ptr<char[]> block(new char[piece_bytes]);
        bool has_text = false;
        lines_end = text_end = 0;
        for (std::uint64_t end = size_; end > 0;) {
            const std::uint64_t begin = end > piece_bytes ? end - piece_bytes : 0;
            const std::size_t got = read(begin, block.get(), static_cast<std::size_t>(end - begin));
            const std::string_view text(block.get(), got);
            if (!has_text) {
                const std::size_t last = text.find_last_not_of('\0');
                has_text = last != text.npos;
                text_end = has_text ? begin + last + 1 : begin;
            }
            if (const std::size_t newline = text.rfind('\n'); newline != text.npos) {
                lines_end = begin + newline + 1;
                return;
            }
            end = begin;
        }
    }

  private:
    [[noreturn]] void fail() const {
        throw std::system_error(errno, std::generic_category(),
                                fmt::format("cannot read {}", path_));
    }

    int fd_;
    std::string path_;
    std::uint64_t size_ = 0;
};

/// Counts the lines of a file that are wanted, from its end on.
class backward_search {
  public:
    backward_search(const readable_file& file, line_view& view, std::uint64_t wanted)
        : file_(file),
          view_(view),
          left_(wanted) {}

    /// Where the first of the wanted lines begins; `end` is behind the last line.
    [[nodiscard]] std::uint64_t begin_of(std::uint64_t end) {
        std::size_t kept = 0; // of a line whose begin has not been read, at the end of the block
        std::uint64_t first = end;
        for (std::uint64_t at = end; at > 0 && left_ > 0 && !is_too_early_;) {
            const std::uint64_t begin = at > piece_bytes ? at - piece_bytes : 0;
            const auto size = static_cast<std::size_t>(at - begin);
            make_room(kept, size);
            char* const line = block_.data() + block_.size() - line_padding - kept;
            char* const piece = line - size;
            if (file_.read(begin, piece, size) < size) {
                break; // it was cut meanwhile
            }
            const std::string_view read(piece, size);
            const bool is_space = read.find_first_not_of('\0') == read.npos;
            if (kept > 0 && (is_space || kept > block_reader::line_bytes_max)) {
                // Zeros end a line, and one that is too long is taken for several.
                (void)look_at({line, kept}, kept, at, true, first);
                kept = 0;
                continue;
            }
            kept = is_space ? 0 : look_at({piece, size + kept}, size, begin, begin == 0, first);
            if (kept > 0) {
                // What was read is behind what is looked at no longer.
                std::memmove(block_.data() + block_.size() - line_padding - kept, piece, kept);
            }
            at = begin;
        }
        return first;
    }

    [[nodiscard]] std::uint64_t left() const noexcept { return is_too_early_ ? 0 : left_; }

  private:
    /// The lines of a piece, the last one first, of which the `fresh` first bytes are new; how much
    /// of its begin is part of a line that begins before it, which it does not where `has_begin`.
    [[nodiscard]] std::size_t look_at(std::string_view text, std::size_t fresh,
                                      std::uint64_t offset, bool has_begin, std::uint64_t& first) {
        std::size_t end = text.size();
        while (end > 0 && left_ > 0 && !is_too_early_) {
            // Behind the fresh bytes there is no newline but at the end.
            const std::size_t newline =
                end >= 2 ? text.rfind('\n', std::min(end - 2, fresh - 1)) : text.npos;
            if (newline == text.npos && !has_begin) {
                return end;
            }
            std::size_t begin = newline == text.npos ? 0 : newline + 1;
            begin = std::min(text.find_first_not_of('\0', begin), end);
            std::string_view line = text.substr(begin, end - begin);
            line.remove_suffix(line.ends_with('\n') ? 1 : 0);
            if (is_wanted(line)) {
                --left_;
                first = offset + begin;
            }
            end = newline == text.npos ? 0 : newline + 1;
        }
        return 0;
    }

    /// For so much before the `kept` bytes at the end of the block.
    void make_room(std::size_t kept, std::size_t size) {
        if (block_.size() < size + kept + line_padding) {
            std::vector<char> larger(2 * (size + kept) + line_padding);
            std::copy_n(block_.end() - static_cast<std::ptrdiff_t>(line_padding + kept), kept,
                        larger.end() - static_cast<std::ptrdiff_t>(line_padding + kept));
            block_ = std::move(larger);
        }
    }

    [[nodiscard]] bool is_wanted(std::string_view line) {
        const line_filter& filter = view_.filter();
        if (filter.is_empty()) {
            return true;
        }
        line_parser& parser = view_.parser();
        const log_line& parsed = parser.parse(line);
        // Lines of several threads may be a little out of order.
        constexpr std::int64_t disorder_max = 10 * nanoseconds_per_second;
        const auto since = filter.since();
        if (since && parsed.time_ns && *parsed.time_ns < *since - disorder_max) {
            is_too_early_ = true;
        }
        return filter.wants(parsed, parser);
    }

    const readable_file& file_;
    line_view& view_;
    std::uint64_t left_;
    bool is_too_early_ = false;
    std::vector<char> block_ = std::vector<char>(line_padding);
};

/// Shows all lines of the file from `at` to `end`.
void show(const readable_file& file, std::uint64_t at, std::uint64_t end, line_view& view) {
    std::vector<char> block(piece_bytes + line_padding);
    std::size_t kept = 0;
    while (at < end) {
        if (block.size() - line_padding < kept + piece_bytes) {
            block.resize(2 * (kept + piece_bytes) + line_padding);
        }
        const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(end - at, piece_bytes));
        const std::size_t got = file.read(at, block.data() + kept, size);
        if (got == 0) {
            break;
        }
        at += got;
        const std::string_view read(block.data() + kept, got);
        const bool is_space = read.find_first_not_of('\0') == read.npos;
        if (is_space || kept > block_reader::line_bytes_max) {
            // Zeros end a line, and one that is too long is shown in pieces.
            if (kept > 0) {
                view.show({block.data(), kept});
            }
            std::memmove(block.data(), read.data(), is_space ? 0 : got);
            kept = is_space ? 0 : got;
            if (is_space || std::string_view(block.data(), kept).find('\n') == read.npos) {
                continue;
            }
            kept = 0;
        }
        const std::string_view text(block.data(), kept + got);
        const std::size_t last = text.substr(kept).rfind('\n');
        std::string_view lines = text.substr(0, last == text.npos ? 0 : kept + last + 1);
        std::string_view rest = text.substr(lines.size());
        rest.remove_prefix(std::min(rest.find_first_not_of('\0'), rest.size()));
        kept = rest.size();
        while (!lines.empty()) {
            std::string_view line = take_line(lines);
            line.remove_prefix(std::min(line.find_first_not_of('\0'), line.size()));
            view.show(line);
        }
        std::memmove(block.data(), rest.data(), kept);
    }
    if (kept > 0) {
        view.show({block.data(), kept});
    }
}

/// One file that cannot be read does not take the others with it.
void complain_of(const std::system_error& error) {
    if (error.code() == std::errc::broken_pipe) {
        throw error; // nobody reads what is shown
    }
    complain_as("tail", error.what());
}

struct closed_fd {
    int fd;

    closed_fd(const closed_fd&) = delete;
    closed_fd& operator=(const closed_fd&) = delete;

    explicit closed_fd(int which) noexcept : fd(which) {}

    ~closed_fd() {
        if (fd >= 0) {
            ::close(fd);
        }
    }
};

/// What is wanted of the files before the present one, `wanted` lines at most.
void show_older(std::vector<log_file> older, std::uint64_t wanted, line_view& view) {
    if (older.empty() || wanted == 0) {
        return;
    }
    const log_file file = std::move(older.back());
    older.pop_back();
    if (file.is_compressed) {
        // It has no end to begin at; and what came before it is not looked for.
        constexpr auto all = std::numeric_limits<std::uint64_t>::max();
        std::deque<std::string> last;
        try {
            block_reader reader(file);
            for (std::string_view block = reader.next(); !block.empty(); block = reader.next()) {
                while (!block.empty()) {
                    const std::string_view line = take_line(block);
                    if (wanted == all) {
                        view.show(line);
                        continue;
                    }
                    if (view.wants(line)) {
                        last.emplace_back(line).append(line_padding, '\0');
                    }
                    if (last.size() > wanted) {
                        last.pop_front();
                    }
                }
            }
        } catch (const std::system_error& error) {
            complain_of(error);
        }
        for (const std::string& each : last) {
            view.show(std::string_view(each).substr(0, each.size() - line_padding));
        }
        return;
    }
    closed_fd opened(-1);
    std::unique_ptr<readable_file> readable;
    std::uint64_t begin = 0;
    std::uint64_t text_end = 0;
    std::uint64_t left = wanted;
    try {
        opened.fd = open_log(file.path);
        readable = std::make_unique<readable_file>(opened.fd, file.path);
        std::uint64_t lines_end = 0;
        readable->find_end(lines_end, text_end);
        backward_search search(*readable, view, wanted);
        begin = search.begin_of(text_end);
        left = search.left();
    } catch (const std::system_error& error) {
        complain_of(error);
        readable.reset();
        left = wanted;
    }
    show_older(std::move(older), left, view);
    if (readable != nullptr) {
        try {
            show(*readable, begin, text_end, view);
        } catch (const std::system_error& error) {
            complain_of(error);
        }
    }
}

/// One cannot go backwards in anything else.
void require_file(const std::string& path, int fd) {
    struct ::stat status {};

    if (::fstat(fd, &status) == 0 && !S_ISREG(status.st_mode)) {
        throw std::runtime_error(fmt::format(
            "{} is not a file, but {}", path,
            S_ISDIR(status.st_mode) ? "a directory" : "a pipe or a device: try 'sapwood grep'"));
    }
}

/// Whether the file has been renamed since it was opened as the present one.
bool is_same_file(const std::string& path, int fd) {
    struct ::stat by_name {};

    struct ::stat by_fd {};

    return fd >= 0 && ::stat(path.c_str(), &by_name) == 0 && ::fstat(fd, &by_fd) == 0 &&
           by_name.st_dev == by_fd.st_dev && by_name.st_ino == by_fd.st_ino;
}

} // namespace

follow_point print_last_lines(const std::string& log, std::uint64_t wanted, bool is_followed,
                              line_view& view) {
    std::vector<log_file> older;
    closed_fd present(-1);
    try {
        present.fd = open_log(log);
        require_file(log, present.fd);
    } catch (const std::system_error& error) {
        if (!is_followed || error.code() != std::errc::no_such_file_or_directory) {
            throw;
        }
    }
    follow_point from;
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
    std::uint64_t left = wanted;
    std::unique_ptr<readable_file> file;
    if (present.fd >= 0) {
        file = std::make_unique<readable_file>(present.fd, log);
        std::uint64_t text_end = 0;
        file->find_end(from.offset, text_end);
        end = is_followed ? from.offset : text_end;
        backward_search search(*file, view, wanted);
        begin = search.begin_of(end);
        left = search.left();
    }
    if (left > 0) {
        try {
            older = files_of(log);
            older.pop_back();
            const auto same = std::ranges::find_if(
                older, [&](const log_file& each) { return is_same_file(each.path, present.fd); });
            older.erase(same, older.end()); // what is behind it is newer
        } catch (const std::system_error&) {
            // Its directory may not be listed: then there is this file alone.
        }
        show_older(std::move(older), left, view);
    }
    if (file != nullptr) {
        show(*file, begin, end, view);
    }
    from.fd = std::exchange(present.fd, -1);
    if (!is_followed && from.fd >= 0) {
        ::close(std::exchange(from.fd, -1));
    }
    return from;
}

} // namespace sapwood::tools
