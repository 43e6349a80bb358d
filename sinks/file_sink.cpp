#include <sapwood/file_sink.hpp>

#include <sapwood/event_loop.hpp>

#include <algorithm>
#include <cerrno>
#include <fmt/format.h>
#include <fstream>
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
    std::string number;
    std::string kind;
    std::string mode;
    std::string access;
    std::string where;
    std::string rest;
    long pid = 0;
    while (locks >> number >> kind >> mode >> access >> pid >> where && std::getline(locks, rest)) {
        if (kind == "FLOCK" && where == wanted && pid > 0) {
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
    if (!(co_await aside.stat()).is_regular()) {
        throw_errno(EINVAL,
                    fmt::format("cannot move a torn line to {}: it is not a regular file", path));
    }
    co_return aside;
}

} // namespace

task<file_sink> file_sink::open(const file_sink_options& options) {
    return open_path(std::string(options.path), options.mode);
}

task<file_sink> file_sink::open_path(std::string path, mode_t mode) {
    file log = co_await file::open(path, {.flags = O_RDWR | O_APPEND | O_CREAT, .mode = mode});
    const file_status status = co_await log.stat();
    if (!status.is_regular()) {
        throw_errno(EINVAL, fmt::format("cannot open {} as a log: it is not a regular file", path));
    }
    lock(log, status, path);
    file_sink sink(std::move(log), std::move(path));
    co_await sink.move_torn_tail((co_await sink.file_.stat()).size);
    co_return sink;
}

task<> file_sink::move_torn_tail(std::uint64_t size) {
    const std::uint64_t torn = co_await torn_tail(file_, size);
    if (torn == 0) {
        co_return;
    }
    // First copied and on disk, then cut: killed in between, the next open does it again.
    file aside = co_await open_torn(path_ + ".torn");
    std::vector<char> block(std::min<std::uint64_t>(torn, 64u << 10));
    for (std::uint64_t moved = 0; moved < torn;) {
        const std::size_t got = co_await file_.read_some(block, {size - torn + moved});
        if (got == 0) {
            break;
        }
        co_await aside.write_all(std::span(block).first(got));
        moved += got;
    }
    co_await aside.write_all(std::string_view("\n"));
    co_await aside.datasync();
    co_await aside.close();
    co_await file_.truncate(size - torn);
    torn_bytes_ = torn;
}

task<> file_sink::write(std::span<const char> lines) {
    auto rest = lines;
    while (!rest.empty()) {
        const auto written = co_await as_result(file_.write_some(rest));
        if (written && *written > 0) {
            rest = rest.subspan(*written);
            continue;
        }
        const std::error_code why =
            written ? make_error_code(std::errc::no_space_on_device) : written.error();
        if (why == std::errc::operation_canceled || why == std::errc::interrupted) {
            continue; // a batch is not given up half-way
        }
        const auto done = static_cast<std::size_t>(rest.data() - lines.data());
        const std::string_view text(lines.data(), done);
        const std::size_t whole = text.rfind('\n') + 1; // npos + 1 is 0
        co_await cut_off_partial_line(done - whole);
        throw write_error(why, fmt::format("cannot write {}", path_), whole);
    }
}

task<> file_sink::cut_off_partial_line(std::size_t bytes) {
    if (bytes == 0) {
        co_return;
    }
    // The end of the file is where we wrote last: we hold its lock. If it cannot be cut, the next
    // open finds a torn line and moves it aside. A request to stop waits until this is done.
    auto status = co_await as_result(file_.stat());
    while (status.error() == std::errc::operation_canceled) {
        status = co_await as_result(file_.stat());
    }
    if (!status) {
        co_return;
    }
    const std::uint64_t size = status->size - bytes;
    while ((co_await as_result(file_.truncate(size))).error() == std::errc::operation_canceled) {
    }
}

task<> file_sink::datasync() {
    co_await file_.datasync();
}

task<> file_sink::close() {
    co_await file_.close();
}

} // namespace sapwood
