#include "log_files.hpp"

#include "log_line.hpp"

#include <log_tail.hpp>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <map>
#include <optional>
#include <poll.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#ifdef SAPWOOD_HAS_ZSTD
#include <zstd.h>
#endif

namespace sapwood::tools {

namespace {

constexpr std::string_view compressed_ending = ".zst";

bool has_form(std::string_view text, std::string_view form) noexcept {
    return text.size() == form.size() &&
           std::equal(text.begin(), text.end(), form.begin(), [](char c, char wanted) {
               return wanted == '#' ? c >= '0' && c <= '9' : c == wanted;
           });
}

std::optional<std::uint64_t> file_number_of(std::string_view digits) noexcept {
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    return error == std::errc() && end == digits.data() + digits.size() && !digits.empty()
               ? std::optional(number)
               : std::nullopt;
}

struct found_file {
    /// Logrotate's go first, the highest number first; then those that have a moment, then those
    /// that have a lsn.
    int kind = 0;
    std::int64_t order = 0;
    std::string name;
    log_file file;
    /// Of a segment whose number does not tell its order, in nanoseconds.
    std::int64_t time = 0;
};

/// What stands behind the log's name, without `.zst`.
std::optional<found_file> look_at(std::string_view ending) {
    found_file found;
    found.name = ending;
    if (has_form(ending, "-########") || has_form(ending, "-##########")) {
        return found;
    }
    if (!ending.starts_with('.')) {
        return std::nullopt;
    }
    ending.remove_prefix(1);
    if (has_form(ending, "########T######.###Z")) {
        found.kind = 2;
        return found;
    }
    const std::string_view lsn = ending.substr(0, 16);
    if (has_form(lsn, "################")) {
        const std::string_view further = ending.substr(16);
        const auto repeated =
            file_number_of(further.substr(std::min<std::size_t>(1, further.size())));
        if (further.empty() || (further.front() == '-' && repeated)) {
            found.kind = 3;
            found.order = repeated ? static_cast<std::int64_t>(*repeated) : 0;
            found.name = lsn;
            found.file.superseded_from = file_number_of(lsn).value_or(0);
            return found;
        }
        return std::nullopt;
    }
    const auto number = file_number_of(ending);
    if (!number || ending.size() > 6) {
        return std::nullopt;
    }
    found.kind = 1;
    found.order = -static_cast<std::int64_t>(*number);
    found.name.clear();
    return found;
}

/// What `get` finds in one of the first lines; none where none has it, or the file cannot be read:
/// who reads it says so.
template <class Get>
auto found_at_begin(const log_file& file, Get get) -> decltype(get(log_line())) {
    try {
        line_parser parser;
        block_reader reader(file);
        std::string_view block = reader.next();
        for (int lines = 0; lines < 10 && !block.empty(); ++lines) {
            if (const auto found = get(parser.parse(take_line(block)))) {
                return found;
            }
        }
    } catch (const std::system_error&) {
        return std::nullopt;
    }
    return std::nullopt;
}

/// The time of the first record.
std::optional<std::int64_t> begin_of(const log_file& file) {
    return found_at_begin(file, [](const log_line& line) { return line.time_ns; });
}

std::optional<std::uint64_t> first_number_of(const log_file& file) {
    return found_at_begin(file, [](const log_line& line) {
        return line.is_numbered && line.number != 0 ? std::optional(line.number) : std::nullopt;
    });
}

std::int64_t modified_ns(const std::string& path) noexcept {
    struct ::stat status {};

    return ::stat(path.c_str(), &status) == 0
               ? status.st_mtim.tv_sec * std::int64_t{1'000'000'000} + status.st_mtim.tv_nsec
               : 0;
}

/// Whether it begins with the log's own word on the lines that are missing before it.
bool tells_of_missing(const log_file& file, std::uint64_t from, std::uint64_t to) {
    return found_at_begin(file,
                          [&](const log_line& line) {
                              return line.is_numbered ? std::optional(detail::tells_of_missing(
                                                            line.body, {lsn{from}, lsn{to}}))
                                                      : std::nullopt;
                          })
        .value_or(false);
}

/// Of each the first record's time. Where one has none, neither is.
bool is_older(const log_file& one, const log_file& other) {
    const auto begin = begin_of(one);
    const auto other_begin = begin ? begin_of(other) : std::nullopt;
    return other_begin && *begin < *other_begin;
}

/// Whether the lines of these segments, in the order of their names, have numbers that go on. What
/// goes on behind a gap with older lines does not: the log began anew, and has not come as far yet
/// as the segments that it had before.
bool numbers_go_on(const std::vector<found_file>& files) {
    std::uint64_t before = 0;
    const found_file* last = nullptr;
    for (const found_file& each : files) {
        std::error_code ignored;
        if (std::filesystem::file_size(each.file.path, ignored) == 0) {
            continue; // it has no line
        }
        const auto first = each.kind == 3 ? first_number_of(each.file) : before;
        if (!first || *first < before ||
            (before != 0 && *first > before && !tells_of_missing(each.file, before, *first) &&
             is_older(each.file, last->file))) {
            return false;
        }
        before = each.file.superseded_from;
        last = &each;
    }
    return true;
}

/// A log without numbers in its lines begins at 1 with each run. What stands in its segments tells
/// their order then, or, where that has no times, when they were last written to.
void order_segments(std::vector<found_file>& files) {
    const auto first =
        std::ranges::find_if(files, [](const found_file& each) { return each.kind == 3; });
    if (files.end() - first < 2 || numbers_go_on(files)) {
        return;
    }
    for (auto each = first; each != files.end(); ++each) {
        const auto begin = begin_of(each->file);
        each->time = begin ? *begin : modified_ns(each->file.path);
    }
    std::ranges::stable_sort(first, files.end(), {}, &found_file::time);
}

} // namespace

std::vector<log_file> files_of(const std::string& path, std::vector<std::string>* unreadable) {
    namespace fs = std::filesystem;
    const fs::path log(path);
    const fs::path folder = log.has_parent_path() ? log.parent_path() : fs::path(".");
    const std::string base = log.filename().string();
    std::map<std::string, found_file> all; // by ending: of two, the one that is not compressed
    std::error_code failure;
    for (fs::directory_iterator each(folder, failure), end; !failure && each != end;
         each.increment(failure)) {
        const std::string name = each->path().filename().string();
        if (name.size() <= base.size() || !name.starts_with(base)) {
            continue;
        }
        std::string_view ending = std::string_view(name).substr(base.size());
        const bool is_compressed = ending.ends_with(compressed_ending);
        ending.remove_suffix(is_compressed ? compressed_ending.size() : 0);
        auto found = look_at(ending);
        std::error_code unknown;
        if (found && each->is_fifo(unknown)) {
            continue; // nobody's old log: its reader would wait for whoever has put it there
        }
        if (found) {
            found->file.path = (log.parent_path() / name).string();
            found->file.is_compressed = is_compressed;
            const auto place = all.find(std::string(ending));
            if (place == all.end() || !is_compressed) {
                all.insert_or_assign(std::string(ending), std::move(*found));
            }
        } else if (unreadable != nullptr && ending.rfind('.') != ending.npos &&
                   ending.rfind('.') > 0 && look_at(ending.substr(0, ending.rfind('.'))) &&
                   (ending.ends_with(".gz") || ending.ends_with(".xz") ||
                    ending.ends_with(".bz2"))) {
            unreadable->push_back((log.parent_path() / name).string());
        }
    }
    if (failure) {
        throw std::system_error(failure,
                                fmt::format("cannot read the directory {}", folder.string()));
    }
    std::vector<found_file> ordered;
    ordered.reserve(all.size());
    for (auto& [ending, found] : all) {
        ordered.push_back(std::move(found));
    }
    std::ranges::sort(ordered, [](const found_file& one, const found_file& other) {
        return std::tie(one.kind, one.name, one.order) <
               std::tie(other.kind, other.name, other.order);
    });
    order_segments(ordered);
    // Names of two kinds say nothing about each other's order; what stands in them does.
    if (!ordered.empty() && ordered.front().kind != ordered.back().kind) {
        std::map<std::string, std::int64_t> begins;
        std::int64_t before = 0;
        for (const found_file& each : ordered) {
            before = begin_of(each.file).value_or(before);
            begins[each.file.path] = before;
        }
        std::ranges::stable_sort(ordered, {},
                                 [&](const found_file& each) { return begins[each.file.path]; });
    }
    std::vector<log_file> files;
    files.reserve(ordered.size() + 1);
    for (found_file& each : ordered) {
        files.push_back(std::move(each.file));
    }
    files.push_back({.path = path});
    return files;
}

bool reads_zstd() noexcept {
#ifdef SAPWOOD_HAS_ZSTD
    return true;
#else
    return false;
#endif
}

bool is_live(const std::string& path) noexcept {
    struct ::stat status {};

    const int failed =
        path == standard_input ? ::fstat(STDIN_FILENO, &status) : ::stat(path.c_str(), &status);
    return failed == 0 && !S_ISREG(status.st_mode);
}

int open_log(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        throw std::system_error(errno, std::generic_category(),
                                fmt::format("cannot open {}", path));
    }
    return fd;
}

namespace {

bool is_fifo(int fd) noexcept {
    struct ::stat status {};

    return ::fstat(fd, &status) == 0 && S_ISFIFO(status.st_mode);
}

} // namespace

class block_reader::source {
  public:
    explicit source(const log_file& file)
        : path_(file.path),
          fd_(file.path == standard_input ? STDIN_FILENO : open_log(file.path)) {
        (void)::posix_fadvise(fd_, 0, 0, POSIX_FADV_SEQUENTIAL);
        if (fd_ != STDIN_FILENO && is_fifo(fd_)) {
            // It was opened without waiting for somebody who writes; without one it would be at its
            // end. The kernel tells also of one who has come and gone.
            wait_for_bytes();
        }
    }

    source(const source&) = delete;
    source& operator=(const source&) = delete;

    virtual ~source() {
        if (fd_ != STDIN_FILENO) {
            ::close(fd_);
        }
    }

    /// 0 at the end.
    [[nodiscard]] virtual std::size_t read(char* to, std::size_t size) {
        for (;;) {
            const ssize_t got = ::read(fd_, to, size);
            if (got >= 0) {
                return static_cast<std::size_t>(got);
            }
            if (errno == EAGAIN) { // others may have made standard input so
                wait_for_bytes();
            } else if (errno != EINTR) {
                throw std::system_error(errno, std::generic_category(),
                                        fmt::format("cannot read {}", path_));
            }
        }
    }

  protected:
    [[nodiscard]] const std::string& path() const noexcept { return path_; }

  private:
    /// Or for the end.
    void wait_for_bytes() const noexcept {
        pollfd waited{.fd = fd_, .events = POLLIN, .revents = 0};
        while (::poll(&waited, 1, -1) < 0 && errno == EINTR) {
        }
    }

    std::string path_;
    int fd_;
};

namespace {

#ifdef SAPWOOD_HAS_ZSTD
class zstd_source final : public block_reader::source {
  public:
    explicit zstd_source(const log_file& file)
        : source(file),
          stream_(ZSTD_createDStream(), &ZSTD_freeDStream),
          packed_(new char[packed_bytes]) {
        if (stream_ == nullptr) {
            throw std::bad_alloc();
        }
    }

    [[nodiscard]] std::size_t read(char* to, std::size_t size) override {
        ZSTD_outBuffer out{to, size, 0};
        while (out.pos == 0) {
            if (in_.pos == in_.size) {
                in_ = {packed_.get(), source::read(packed_.get(), packed_bytes), 0};
                if (in_.size == 0 && !is_frame_over_) {
                    fail("it ends in the middle");
                }
                if (in_.size == 0) {
                    return 0;
                }
            }
            const std::size_t left = ZSTD_decompressStream(stream_.get(), &out, &in_);
            if (ZSTD_isError(left) != 0) {
                fail(ZSTD_getErrorName(left));
            }
            is_frame_over_ = left == 0;
        }
        return out.pos;
    }

  private:
    static constexpr std::size_t packed_bytes = 128u << 10;

    [[noreturn]] void fail(const char* why) const {
        throw std::system_error(EIO, std::generic_category(),
                                fmt::format("cannot decompress {}: {}", path(), why));
    }

    std::unique_ptr<ZSTD_DStream, std::size_t (*)(ZSTD_DStream*)> stream_;
    std::unique_ptr<char[]> packed_;
    ZSTD_inBuffer in_{nullptr, 0, 0};
    bool is_frame_over_ = true;
};
#endif

std::unique_ptr<block_reader::source> source_of(const log_file& file) {
    if (file.is_compressed) {
#ifdef SAPWOOD_HAS_ZSTD
        return std::make_unique<zstd_source>(file);
#else
        throw std::system_error(
            ENOTSUP, std::generic_category(),
            fmt::format("cannot read {}: built without zstd; try zstdcat", file.path));
#endif
    }
    return std::make_unique<block_reader::source>(file);
}

} // namespace

block_reader::block_reader(const log_file& file)
    : source_(source_of(file)),
      block_(new char[capacity_ + line_padding]) {
    std::memset(block_.get(), 0, capacity_ + line_padding);
}

block_reader::~block_reader() = default;

std::string_view block_reader::next() {
    // What was given out is done with; what is left is the begin of a line.
    end_ -= begin_;
    std::memmove(block_.get(), block_.get() + begin_, end_);
    begin_ = 0;
    std::size_t searched = 0;
    while (!is_over_) {
        if (capacity_ - end_ < block_bytes) {
            grow();
        }
        const std::size_t got = source_->read(block_.get() + end_, block_bytes);
        bytes_ += got;
        if (got == 0) {
            is_over_ = true;
            break;
        }
        searched = end_;
        end_ += got;
        const void* const newline = ::memrchr(block_.get() + searched, '\n', end_ - searched);
        if (newline != nullptr) {
            begin_ = static_cast<std::size_t>(static_cast<const char*>(newline) - block_.get()) + 1;
            return {block_.get(), begin_};
        }
        if (end_ > line_bytes_max) {
            begin_ = end_;
            return {block_.get(), end_};
        }
    }
    const std::string_view rest(block_.get(), end_);
    begin_ = end_;
    return rest.substr(0, rest.find_last_not_of('\0') + 1); // npos + 1 is 0
}

void block_reader::grow() {
    std::unique_ptr<char[]> larger(new char[2 * capacity_ + line_padding]);
    std::memcpy(larger.get(), block_.get(), end_);
    block_ = std::move(larger);
    capacity_ *= 2;
}

} // namespace sapwood::tools
