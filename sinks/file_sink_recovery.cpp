// How a file_sink finds its file again: what a writer that was killed, or a machine that lost its
// power, has left at the end is moved aside, and what stays is on disk before it is relied on.
#include "log_tail.hpp"
#include "open_log_file.hpp"

#include <sapwood/crash_file.hpp>
#include <sapwood/file_sink.hpp>
#include <sapwood/numbered_line.hpp>
#include <sapwood/shield.hpp>

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <optional>
#include <string_view>
#include <vector>

namespace sapwood {

namespace {

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
        detail::throw_errno(
            EINVAL, fmt::format("cannot move a torn line to {}: it is not a regular file", path));
    }
    if (status.links > 1) {
        detail::throw_errno(EINVAL,
                            fmt::format("cannot move a torn line to {}: it has another name (a "
                                        "hard link), perhaps the log's own",
                                        path));
    }
    co_return aside;
}

} // namespace

task<> file_sink::recover() {
    try {
        if (settings_->numbered) {
            co_await recover_numbered();
        } else {
            co_await recover_plain();
        }
    } catch (const std::system_error& error) {
        if (std::string_view(error.what()).find(path()) != std::string_view::npos) {
            throw;
        }
        throw std::system_error(error.code(), "cannot open " + path() + " as a log");
    }
}

task<> file_sink::recover_plain() {
    co_await cut_off_zeros(); // the log was a numbered one before
    const std::uint64_t size = size_;
    if (const std::uint64_t torn = co_await torn_tail(file_, size); torn > 0) {
        co_await move_torn_tail(torn);
    }
    if (settings_->has_segments && size > 0) { // it is durable: what is written is synced alone
        co_await datasync();
    }
}

/// What no mark says is on disk is written once more: the kernel may believe that it is, after a
/// sync that failed and was seen by a process that is no more.
task<> file_sink::recover_numbered() {
    co_await cut_off_zeros();
    const detail::log_tail tail = co_await detail::read_log_tail(file_, size_);
    last_lsn_ = tail.last;
    if (tail.end < size_) {
        co_await move_torn_tail(size_ - tail.end);
    }
    co_await rewrite(tail.unproven(), tail.begin);
    failed_sync_ = {}; // what it was to have on disk is there
    co_await datasync();
}

task<std::vector<lsn>> file_sink::recover_again(lsn first) {
    const auto shielded = co_await shield();
    note_handlers();
    const std::uint64_t size = (co_await file_.stat()).size;
    if (size > size_) {
        segment_begin_ = lsn::none; // it has lines that stand nowhere else
    }
    size_ = size;
    partial_line_bytes_ = 0;
    torn_bytes_ = 0;
    has_cut_end_ = false;
    has_piece_before_ = false;
    was_cut_ = false;
    has_others_lines_ = false;
    co_await recover();
    tell_torn();
    co_return co_await numbers_at_end(first);
}

task<std::vector<lsn>> file_sink::numbers_at_end(lsn first) {
    std::vector<lsn> found;
    if (!settings_->numbered) {
        co_return found;
    }
    std::optional<detail::log_tail> tail;
    try {
        tail.emplace(co_await detail::read_log_tail(file_, size_));
    } catch (const std::system_error& error) {
        throw std::system_error(error.code(), fmt::format("cannot read the end of {}", path()));
    }
    std::string_view rest = tail->text();
    for (auto end = rest.find('\n'); end != rest.npos; end = rest.find('\n')) {
        const auto line = numbered_line::parse(rest.substr(0, end));
        if (line.is == numbered_line::state::whole && line.place >= first) {
            found.push_back(line.place);
        }
        rest.remove_prefix(end + 1);
    }
    std::sort(found.begin(), found.end());
    found.erase(std::unique(found.begin(), found.end()), found.end());
    co_return found;
}

/// Writes what is at `begin` over itself.
task<> file_sink::rewrite(std::span<const char> lines, std::uint64_t begin) {
    if (lines.empty()) {
        co_return;
    }
    // Ours appends, whatever offset a write names.
    file same = co_await detail::open_again(*settings_, detail::file_identity{inode_, device_});
    co_await same.write_all(lines, {begin});
    if (const auto synced = co_await as_result(same.datasync()); !synced) {
        throw sync_error(synced.error(), fmt::format("cannot sync {}", path()));
    }
    co_await same.close();
}

/// Moves the last `torn` bytes aside.
task<> file_sink::move_torn_tail(std::uint64_t torn) {
    const std::uint64_t size = size_;
    // First copied and on disk, then cut: killed in between, the next open does it again.
    const std::string aside_path = settings_->torn_path;
    file aside = co_await open_torn(aside_path);
    const std::uint64_t aside_size = (co_await aside.stat()).size;
    std::exception_ptr failure;
    try {
        co_await copy_tail(aside, size - torn, torn);
        co_await detail::sync_directory_of(aside_path);
        try {
            if (!co_await cut_to(size - torn)) {
                throw std::system_error(detail::crash_file::taken_over());
            }
        } catch (const std::system_error& error) { // a log that may only grow (chattr +a), say
            throw std::system_error(error.code(),
                                    fmt::format("cannot cut the torn last line of {}", path()));
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

void file_sink::tell_torn() {
    if (log_news torn = torn_news()) {
        tell_later(std::move(torn));
    }
}

log_news file_sink::torn_news() const {
    if (torn_bytes_ == 0) {
        return {};
    }
    return {level::warning,
            fmt::format("the last {} byte{} of {}, left by an earlier writer, {} no whole line and "
                        "{} moved to {}",
                        torn_bytes_, torn_bytes_ > 1 ? "s" : "", path(),
                        torn_bytes_ > 1 ? "were" : "was", torn_bytes_ > 1 ? "were" : "was",
                        settings_->torn_path)};
}

} // namespace sapwood
