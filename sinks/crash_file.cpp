#include <sapwood/crash_file.hpp>

#include <sapwood/file_sink.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

namespace sapwood::detail {

namespace {

/// So long a signal handler waits for the kernel to go on with a write or a cut that is under way.
constexpr int looks_max = 300;
constexpr timespec between_looks{.tv_sec = 0, .tv_nsec = 1'000'000};

constexpr std::uint64_t unknown = ~std::uint64_t{0};

/// How long the file is.
std::uint64_t size_of(int fd, int flags = AT_STATX_SYNC_AS_STAT) noexcept {
    struct statx status {};

    return ::statx(fd, "", AT_EMPTY_PATH | flags, STATX_SIZE, &status) == 0 ? status.stx_size
                                                                            : unknown;
}

/// Whether the file has `text` at that place.
bool has_text_at(int fd, std::uint64_t place, std::string_view text) noexcept {
    while (!text.empty()) {
        std::array<char, 256> piece; // NOLINT: filled by pread; a signal's stack may be small
        const ssize_t got = ::pread(fd, piece.data(), std::min(piece.size(), text.size()),
                                    static_cast<off_t>(place));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0 || !text.starts_with({piece.data(), static_cast<std::size_t>(got)})) {
            return false;
        }
        place += static_cast<std::uint64_t>(got);
        text.remove_prefix(static_cast<std::size_t>(got));
    }
    return true;
}

/// Whether the next line would be a line of its own.
bool ends_with_line(int fd, std::uint64_t size) noexcept {
    char last = '\n';
    return size == 0 || size == unknown ||
           ::pread(fd, &last, 1, static_cast<off_t>(size - 1)) != 1 || last == '\n';
}

/// How much of `text` came to the end of the file.
std::size_t append(int fd, std::string_view text) noexcept {
    std::size_t done = 0;
    while (done < text.size()) {
        const ssize_t written = ::write(fd, text.data() + done, text.size() - done);
        if (written > 0) {
            done += static_cast<std::size_t>(written);
        } else if (written == 0 || errno != EINTR) {
            break;
        }
    }
    return done;
}

/// The same of a text in pieces, as far as one operation gets.
std::size_t append_some(int fd, std::span<const std::string_view, 3> pieces) noexcept {
    std::array<iovec, 3> vectors{};
    for (std::size_t i = 0; i < vectors.size(); ++i) {
        // Which is only read.
        vectors[i] = {const_cast<char*>(pieces[i].data()), pieces[i].size()};
    }
    const ssize_t written = ::writev(fd, vectors.data(), vectors.size());
    return written > 0 ? static_cast<std::size_t>(written) : 0;
}

/// The file had grown to `end`, of which what is behind `whole` is a piece of a line. It stays,
/// where somebody else has written meanwhile: what comes next ends it.
void cut_off(int fd, std::uint64_t whole, std::uint64_t end) noexcept {
    if (whole < end && size_of(fd) == end) {
        (void)::ftruncate(fd, static_cast<off_t>(whole));
    }
}

/// Goes on with `text`, of which `done` bytes are there already; it began at `begin` in the file.
std::size_t append_lines(int fd, std::string_view text, std::size_t done,
                         std::uint64_t begin) noexcept {
    done += append(fd, text.substr(done));
    if (done == text.size()) {
        return done;
    }
    const std::size_t whole = text.substr(0, done).rfind('\n') + 1; // npos + 1 is 0
    if (begin != unknown) {
        cut_off(fd, begin + whole, begin + done);
    }
    return whole;
}

/// Where the next line begins: behind the end of what another write has left of one; nowhere where
/// that cannot be ended.
bool begin_line(int fd, std::uint64_t& begin) noexcept {
    begin = size_of(fd);
    if (ends_with_line(fd, begin)) {
        return true;
    }
    ++begin;
    return append(fd, "\n") == 1;
}

} // namespace

void crash_file::note(const file_sink& file) noexcept {
    end_.store(file.size(), std::memory_order_relaxed); // of a write that goes on in another file
    fd_.store(file.fd(), std::memory_order_seq_cst);
}

void crash_file::begin_write(const char* batch, std::size_t done, std::size_t there) noexcept {
    // On the loop, which must not wait for who serves the file: what this system knows is enough,
    // for a handler compares what has come with what was to come.
    const std::uint64_t size = size_of(fd(), AT_STATX_DONT_SYNC);
    end_.store(size == unknown || size < there ? unknown : size - there, std::memory_order_relaxed);
    done_.store(done, std::memory_order_relaxed);
    batch_.store(batch, std::memory_order_seq_cst);
}

void crash_file::begin_in_child() noexcept {
    end_write();
    end_cut();
    begun_.store(0, std::memory_order_relaxed);
    ended_.store(0, std::memory_order_relaxed);
    settled_.store(0, std::memory_order_relaxed);
}

/// What was written before it would be cut off. It has been done when the file is not longer any
/// more; whoever does it need not be told to go on for that. Who is interrupted by this handler
/// does not end it: so that none waits for that behind this one, the handler does.
void crash_file::wait_for_cut() noexcept {
    std::uint64_t end = nowhere;
    for (int i = 0; i < looks_max; ++i) {
        end = cut_to_.load(std::memory_order_seq_cst);
        const int to = fd();
        if (end == nowhere || to < 0) {
            return;
        }
        const std::uint64_t size = size_of(to);
        if (size == unknown) {
            return;
        }
        if (size <= end) {
            break;
        }
        ::nanosleep(&between_looks, nullptr);
    }
    cut_to_.compare_exchange_strong(end, nowhere, std::memory_order_seq_cst);
}

/// How much of `text`, which is being written, is in the file, where it begins at `begin`: the file
/// has grown by so much, and by nothing else.
std::size_t crash_file::count_written(int fd, std::string_view text,
                                      std::uint64_t& begin) const noexcept {
    begin = end_.load(std::memory_order_relaxed);
    std::size_t written = 0;
    for (int i = 0; i < looks_max && begin != unknown; ++i) {
        const std::uint64_t size = size_of(fd);
        // What somebody has left of a line the write has ended first.
        if (size != unknown && size > begin && !text.starts_with('\n') &&
            has_text_at(fd, begin, "\n")) {
            ++begin;
        }
        if (size == unknown || size < begin || size - begin > text.size()) {
            return 0;
        }
        written = static_cast<std::size_t>(size - begin);
        if (written == text.size()) {
            break;
        }
        ::nanosleep(&between_looks, nullptr);
    }
    // It may be somebody else's, before a write that has not begun yet.
    return has_text_at(fd, begin, text.substr(0, written)) ? written : 0;
}

std::size_t crash_file::finish(std::string_view lines) noexcept {
    const int to = fd();
    if (to < 0) {
        return 0;
    }
    if (lines.data() != batch_.load(std::memory_order_seq_cst)) {
        return put(lines);
    }
    return go_on(to, lines);
}

/// With what is being written.
std::size_t crash_file::go_on(int to, std::string_view lines) noexcept {
    std::uint64_t begin = unknown;
    const std::size_t written = count_written(to, lines, begin);
    if (written == 0) {
        return put(lines);
    }
    return append_lines(to, lines, written, begin);
}

std::size_t crash_file::put(std::string_view lines) noexcept {
    const int to = fd();
    std::uint64_t begin = unknown;
    if (to < 0 || lines.empty() || !begin_line(to, begin)) {
        return 0;
    }
    return append_lines(to, lines, 0, begin);
}

bool crash_file::put_line(std::string_view head, std::string_view line) noexcept {
    const int to = fd();
    std::uint64_t begin = unknown;
    if (to < 0 || !begin_line(to, begin)) {
        return false;
    }
    const std::array<std::string_view, 3> pieces{head, line, "\n"};
    std::size_t done = append_some(to, pieces);
    std::size_t had = done;
    for (std::string_view rest : pieces) {
        const std::size_t of_this = std::min(had, rest.size());
        had -= of_this;
        rest.remove_prefix(of_this);
        const std::size_t more = append(to, rest);
        done += more;
        if (more < rest.size()) {
            if (begin != unknown) {
                cut_off(to, begin, begin + done);
            }
            return false;
        }
    }
    return true;
}

bool crash_file::write(std::span<const char> given) noexcept {
    const turn at_work(*this);
    const std::string_view lines(given.data(), given.size());
    if (lines.data() != batch_.load(std::memory_order_seq_cst)) {
        kept_.store(put(lines), std::memory_order_relaxed);
        return kept() == lines.size() && fd() >= 0;
    }
    const std::size_t before = std::min(done_.load(std::memory_order_relaxed), lines.size());
    const int to = fd();
    kept_.store(before + (to < 0 ? 0 : go_on(to, lines.substr(before))), std::memory_order_relaxed);
    if (kept() < lines.size()) { // it may be called once more
        end_.store(size_of(to), std::memory_order_relaxed);
        done_.store(kept(), std::memory_order_relaxed);
        return false;
    }
    end_write();
    return true;
}

} // namespace sapwood::detail
