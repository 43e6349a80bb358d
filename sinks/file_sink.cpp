#include <sapwood/file_sink.hpp>

#include <sapwood/shield.hpp>

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <fstream>
#include <sstream>
#include <string_view>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <vector>

namespace sapwood {

namespace {

[[noreturn]] void throw_errno(int error, const std::string& what) {
    throw std::system_error(error, std::generic_category(), what);
}

/// Who holds the flock(2) on the file, for a message to a person: `process 42 (name)`, from
/// /proc/locks (proc(5)), whose lines are
/// `1: FLOCK  ADVISORY  WRITE 42 08:01:1234 0 EOF` with the device in hexadecimal.
std::string lock_holder(const file_status& status) {
    const std::string wanted = fmt::format("{:02x}:{:02x}:{}", status.device >> 32,
                                           status.device & 0xffffffff, status.inode);
    std::ifstream locks("/proc/locks");
    std::string line;
    while (std::getline(locks, line)) {
        std::istringstream fields(line);
        std::string number;
        std::string kind;
        std::string mode;
        std::string access;
        std::string where;
        long pid = 0;
        // A line of somebody who waits for a lock has `->` before its kind, and is not the
        // holder's.
        if (fields >> number >> kind >> mode >> access >> pid >> where && kind == "FLOCK" &&
            where == wanted && pid > 0) {
            std::string name;
            std::getline(std::ifstream(fmt::format("/proc/{}/comm", pid)), name);
            return pid == ::getpid() ? fmt::format("this process ({})", pid)
                                     : fmt::format("process {} ({})", pid, name);
        }
    }
    return "another process";
}

/// One writer per file. The lock belongs to the open file: it goes with the process, however that
/// ends.
void lock(const file& log, const file_status& status, const std::string& path) {
    if (::flock(log.fd(), LOCK_EX | LOCK_NB) == 0) {
        return;
    }
    if (errno != EWOULDBLOCK) {
        throw_errno(errno, fmt::format("cannot lock {}", path));
    }
    throw_errno(EWOULDBLOCK,
                fmt::format("cannot open {} for writing: {} is writing it already; end that one, "
                            "or choose another file",
                            path, lock_holder(status)));
}

/// Bytes of `size` after the last newline.
task<std::uint64_t> torn_tail(file& log, std::uint64_t size) {
    constexpr std::uint64_t step = 64u << 10;
    std::vector<char> block(step);
    for (std::uint64_t end = size; end > 0;) {
        const std::uint64_t begin = end > step ? end - step : 0;
        std::size_t filled = 0;
        while (filled < end - begin) {
            const std::size_t got = co_await log.read_some(
                std::span(block).first(end - begin).subspan(filled), {begin + filled});
            if (got == 0) {
                co_return 0; // it has become shorter: somebody else has cut it
            }
            filled += got;
        }
        const std::string_view text(block.data(), filled);
        if (const auto newline = text.rfind('\n'); newline != std::string_view::npos) {
            co_return size - (begin + newline + 1);
        }
        end = begin;
    }
    co_return size;
}

/// Opens where torn lines go. Somebody may have put something else there: a link would have us
/// write to its target, a FIFO would keep us waiting.
task<file> open_torn(std::string path) {
    file aside = co_await file::open(
        path, {.flags = O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK});
    const file_status status = co_await aside.stat();
    if (!status.is_regular()) {
        throw_errno(EINVAL,
                    fmt::format("cannot move a torn line to {}: it is not a regular file", path));
    }
    if (status.links > 1) {
        throw_errno(EINVAL, fmt::format("cannot move a torn line to {}: it has another name (a "
                                        "hard link), perhaps the log's own",
                                        path));
    }
    co_return aside;
}

/// Makes a name that was created survive the machine.
task<> sync_directory_of(const std::string& path) {
    const auto slash = path.rfind('/');
    std::string name = slash == std::string::npos ? "." : path.substr(0, slash + 1);
    file directory = co_await file::open(std::move(name), {.flags = O_RDONLY | O_DIRECTORY});
    co_await directory.datasync();
}

} // namespace

task<file_sink> file_sink::open(const file_sink_options& options) {
    return open_path(std::string(options.path), options.mode);
}

task<file_sink> file_sink::open_path(std::string path, mode_t mode) {
    file log = co_await file::open(path, {.flags = O_RDWR | O_APPEND | O_CREAT, .mode = mode});
    try {
        const file_status status = co_await log.stat();
        if (!status.is_regular()) {
            throw_errno(EINVAL,
                        fmt::format("cannot open {} as a log: it is not a regular file", path));
        }
        lock(log, status, path);
        file_sink sink(std::move(log), path);
        co_await sync_directory_of(path); // the log may be new
        const std::uint64_t size = (co_await sink.file_.stat()).size;
        co_await sink.move_torn_tail(size);
        sink.end_ = size - sink.torn_bytes_;
        co_return sink;
    } catch (const std::system_error& error) {
        if (std::string_view(error.what()).find(path) != std::string_view::npos) {
            throw;
        }
        throw std::system_error(error.code(), "cannot open " + path + " as a log");
    }
}

file_sink file_sink::share(int fd, std::string path) {
    const int doubled = ::fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (doubled < 0) {
        throw_errno(errno, fmt::format("cannot go on with the log {} in a child process", path));
    }
    file_sink sink(file(doubled), std::move(path));
    sink.is_shared_ = true;
    return sink;
}

task<> file_sink::move_torn_tail(std::uint64_t size) {
    const std::uint64_t torn = co_await torn_tail(file_, size);
    if (torn == 0) {
        co_return;
    }
    // First copied and on disk, then cut: killed in between, the next open does it again.
    const std::string aside_path = path_ + ".torn";
    file aside = co_await open_torn(aside_path);
    const std::uint64_t aside_size = (co_await aside.stat()).size;
    std::exception_ptr failure;
    try {
        co_await copy_tail(aside, size - torn, torn);
        co_await sync_directory_of(aside_path);
        const auto cut = co_await as_result(file_.truncate(size - torn));
        if (!cut) { // a log that may only grow (chattr +a), say
            throw std::system_error(cut.error(),
                                    fmt::format("cannot cut the torn last line of {}", path_));
        }
    } catch (...) {
        failure = std::current_exception();
    }
    if (failure) {
        // The line is still in the log: it must not be there once more after the next open.
        const auto shielded = co_await shield();
        (void)co_await as_result(aside.truncate(aside_size));
        std::rethrow_exception(failure);
    }
    co_await aside.close();
    torn_bytes_ = torn;
}

/// Appends `size` bytes from `begin` on to `aside`, and a newline, and has them on disk.
task<> file_sink::copy_tail(file& aside, std::uint64_t begin, std::uint64_t size) {
    std::vector<char> block(std::min<std::uint64_t>(size, 64u << 10));
    for (std::uint64_t copied = 0; copied < size;) {
        const std::size_t got = co_await file_.read_some(block, {begin + copied});
        if (got == 0) {
            break;
        }
        co_await aside.write_all(std::span(block).first(got));
        copied += got;
    }
    co_await aside.write_all(std::string_view("\n"));
    co_await aside.datasync();
}

task<> file_sink::write(std::span<const char> lines) {
    // A batch is not given up half-way.
    const auto shielded = co_await shield();
    if (partial_line_bytes_ > 0) {
        co_await cut_off_partial_line();
    }
    auto rest = lines;
    while (!rest.empty()) {
        const auto written = co_await as_result(file_.write_some(rest));
        if (written && *written > 0) {
            rest = rest.subspan(*written);
            end_ += *written;
            continue;
        }
        const std::error_code why =
            written ? make_error_code(std::errc::no_space_on_device) : written.error();
        const auto done = static_cast<std::size_t>(rest.data() - lines.data());
        const std::string_view text(lines.data(), done);
        const std::size_t whole = text.rfind('\n') + 1; // npos + 1 is 0
        partial_line_bytes_ = done - whole;
        try {
            co_await cut_off_partial_line();
        } catch (const std::exception&) {
            // The next write tries again before it writes, and the next open moves it aside.
        }
        throw write_error(why, fmt::format("cannot write {}", path_), whole);
    }
}

task<> file_sink::cut_off_partial_line() {
    if (partial_line_bytes_ == 0) {
        co_return;
    }
    try {
        // It is at the end of the file, whoever has truncated it meanwhile, as long as we are its
        // only writer.
        const std::uint64_t size = (co_await file_.stat()).size;
        co_await file_.truncate(size - std::min<std::uint64_t>(size, partial_line_bytes_));
        end_ -= std::min<std::uint64_t>(end_, partial_line_bytes_);
    } catch (const std::system_error& error) {
        throw write_error(error.code(),
                          fmt::format("cannot cut a partly written line off {}", path_), 0);
    }
    partial_line_bytes_ = 0;
}

task<> file_sink::datasync() {
    const auto synced = co_await as_result(file_.datasync());
    throw_cancelled_or(synced.error(), "cannot sync");
}

task<> file_sink::close() {
    // A child process that was forked meanwhile has the file open too, and would keep the lock.
    if (!is_shared_) {
        ::flock(file_.fd(), LOCK_UN);
    }
    const auto closed = co_await as_result(file_.close());
    throw_cancelled_or(closed.error(), "cannot close");
}

void file_sink::throw_cancelled_or(std::error_code error, const char* what) const {
    if (error == std::errc::operation_canceled) {
        throw cancelled{};
    }
    if (error) {
        throw std::system_error(error, fmt::format("{} {}", what, path_));
    }
}

} // namespace sapwood
