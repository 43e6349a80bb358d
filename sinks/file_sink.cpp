#include <sapwood/file_sink.hpp>

#include "mistakes.hpp"
#include "open_log_file.hpp"
#include "parts_kept.hpp"
#include "preallocation.hpp"
#include "write_behind.hpp"

#include <sapwood/crash_file.hpp>
#include <sapwood/event_loop.hpp>
#include <sapwood/shield.hpp>

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <new>
#include <string_view>
#include <unistd.h>
#include <utility>
#include <vector>

namespace sapwood {

namespace {

/// At an end that is no end of a line: whoever writes there may not be done.
constexpr int looks_at_end_max = 8;

/// So much of others is looked at for lines of ours that may stand behind it.
constexpr std::uint64_t others_bytes_max = 8u << 20;

} // namespace

file_sink::file_sink(detail::opened_log opened, std::unique_ptr<detail::log_file_settings> settings)
    : settings_(std::move(settings)),
      file_(std::move(opened.descriptor)),
      inode_(opened.identity.inode),
      device_(opened.identity.device),
      size_(opened.size),
      modified_(opened.modified),
      opener_(::getpid()),
      looked_(event_loop::current().now()),
      untold_(std::make_unique<detail::parts_kept>(path())) {}

file_sink::file_sink(file_sink&&) noexcept = default;
file_sink::~file_sink() = default;

const std::string& file_sink::path() const noexcept {
    return settings_->path;
}

task<file_sink> file_sink::open(const file_sink_options& options) {
    auto settings = std::make_unique<detail::log_file_settings>(std::string(options.path));
    settings->mode = options.mode;
    settings->group = options.group;
    settings->make_directories = options.make_directories;
    settings->directory_mode = options.directory_mode;
    settings->may_be_link = options.may_be_link;
    settings->sync_directory = options.sync_directory;
    settings->numbered = options.numbered;
    settings->has_segments = options.has_segments || options.numbered;
    settings->preallocated_bytes = options.preallocated_bytes;
    settings->cached_bytes_max = options.cached_bytes_max;
    require_preallocatable(options);
    if (settings->has_segments) {
        settings->may_be_link = false;
    }
    return open_with(std::move(settings));
}

task<file_sink> file_sink::open_with(std::unique_ptr<detail::log_file_settings> settings) {
    const bool recovers = !settings->shares_lock; // its last line may be being written
    if (settings->has_segments && recovers) {
        co_await finish_segment(*settings);
    }
    detail::opened_log opened = co_await detail::open_log_file(*settings);
    settings->may_be_link = opened.is_link;
    settings->directory_may_be_link = opened.is_in_link;
    file_sink sink(std::move(opened), std::move(settings));
    if (recovers) {
        co_await sink.recover();
        if (sink.settings_->has_segments) {
            co_await sink.settle_segment();
        }
        co_await sink.preallocate(sink.path());
    }
    co_return sink;
}

task<file_sink> file_sink::share(const file_sink& parents, int fd) {
    const int doubled = ::fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (doubled < 0) {
        detail::throw_errno(
            errno, fmt::format("cannot go on with the log {} in a child process", parents.path()));
    }
    file same(doubled);
    const file_status status = co_await same.stat();
    const auto& settings = *parents.settings_;
    file_sink sink(detail::opened_log(std::move(same), status, settings.may_be_link,
                                      settings.directory_may_be_link),
                   std::make_unique<detail::log_file_settings>(settings));
    sink.opener_ = parents.opener_;
    co_return sink;
}

task<> file_sink::write(std::span<const char> lines) {
    return write_lines(lines, false);
}

task<> file_sink::write_synced(std::span<const char> lines) {
    co_await end_writeback();
    require_no_failed_sync();
    co_await write_lines(lines, true);
    // What others have appended meanwhile is before these lines, and not synced with them.
    if (!can_write_synced_ || has_others_lines_) {
        co_await datasync();
    }
}

task<> file_sink::write_lines(std::span<const char> lines, bool synced) {
    // A batch is not given up half-way.
    const auto shielded = co_await shield();
    if (preallocation_ != nullptr) {
        co_await write_preallocated(lines, synced);
        co_return;
    }
    if (partial_line_bytes_ > 0) {
        co_await cut_off_partial_line();
    }
    const auto size = file_.size_now(); // asked once: that is a call of the kernel for each batch
    const bool has_others = size && *size > size_;
    if (has_cut_end_ || has_piece_before_ || (size && *size < size_) ||
        (has_others && is_numbered())) {
        co_await begin_line();
    } else if (has_others) {
        // Whoever else has written to a log of plain lines may be at it, and its end is his.
        note_others(*size);
    }
    const std::uint64_t begin = size_;
    auto rest = lines;
    while (!rest.empty()) {
        result<std::size_t> written = std::size_t{0};
        if (rest.size() < lines.size() && is_taken_over()) {
            written = detail::crash_file::taken_over(); // who has gone on with the line
        } else if (synced && can_write_synced_) {
            written = co_await as_result(file_.write_some_synced(rest));
        } else {
            written = co_await as_result(file_.write_some(rest));
        }
        if (written && *written > 0) {
            rest = rest.subspan(*written);
            size_ += *written;
            if (detail::makes(detail::mistake::ignore_short_write)) {
                co_return;
            }
            continue;
        }
        const std::error_code why =
            written ? make_error_code(std::errc::no_space_on_device) : written.error();
        if (synced && can_write_synced_ && why != detail::crash_file::taken_over()) {
            if (why == std::errc::operation_not_supported || why == std::errc::invalid_argument) {
                can_write_synced_ = false;
                continue;
            }
            if (has_grown()) {
                note_failed_sync(why);
                throw sync_error(why, fmt::format("cannot write and sync {}", path()));
            }
        }
        const auto done = static_cast<std::size_t>(rest.data() - lines.data());
        const std::string_view text(lines.data(), done);
        const std::size_t whole = text.rfind('\n') + 1; // npos + 1 is 0
        partial_line_bytes_ = done - whole;
        try {
            co_await cut_off_partial_line();
        } catch (const std::exception&) {
            // The next write tries again before it writes, and the next open moves it aside.
        }
        try {
            if (whole > 0 && is_numbered() && is_lengthened()) { // the same of lines that are kept
                co_await require_unmixed(lines.first(whole), begin);
            }
        } catch (const std::bad_alloc&) {
            rethrow_kept(whole);
        }
        try {
            throw write_error(why, fmt::format("cannot write {}", path()), whole);
        } catch (const std::bad_alloc&) {
            untold_->rethrow(whole);
        }
    }
    if ((synced || is_numbered()) && is_lengthened()) { // before these lines, or behind them
        has_others_lines_ = true;
        try {
            co_await require_unmixed(lines, begin);
        } catch (const std::bad_alloc&) {
            rethrow_kept(lines.size());
        }
    }
}

/// In place of the std::bad_alloc that is being handled: the file has so much of what was written.
/// Where somebody else has written to it, and nobody could look where, no sync of it is believed.
void file_sink::rethrow_kept(std::size_t bytes) {
    if (is_lengthened()) {
        note_failed_sync(std::make_error_code(std::errc::device_or_resource_busy));
    }
    untold_->rethrow(bytes);
}

/// While the lines were on their way somebody else has appended: a piece of a line, it may be, and
/// one of these stands behind it; or between the parts of a write that was short. `begin` is where
/// they would be without him.
task<> file_sink::require_unmixed(std::span<const char> lines, std::uint64_t begin) {
    if (!is_numbered() || is_inherited() || is_taken_over()) {
        co_return;
    }
    const std::string_view wanted(lines.data(), lines.size());
    bool is_there = false;
    const std::error_code before = failed_sync_;
    note_failed_sync(std::make_error_code(std::errc::device_or_resource_busy)); // until it is known
    try {
        const std::uint64_t from = begin == 0 ? 0 : begin - 1; // a newline
        const std::uint64_t size =
            std::min((co_await file_.stat()).size, begin + lines.size() + others_bytes_max);
        std::vector<char> found(size - std::min(size, from));
        std::size_t filled = 0;
        while (filled < found.size()) {
            const std::size_t got =
                co_await file_.read_some(std::span(found).subspan(filled), {from + filled});
            if (got == 0) {
                break;
            }
            filled += got;
        }
        const std::string_view text(found.data(), filled);
        for (auto at = text.find(wanted); at != text.npos && !is_there;
             at = text.find(wanted, at + 1)) {
            is_there = at == 0 ? begin == 0 : text[at - 1] == '\n';
        }
    } catch (const std::system_error& error) {
        throw sync_error(error.code(), fmt::format("cannot read the end of {}", path()));
    }
    if (!is_there) {
        throw sync_error(std::make_error_code(std::errc::device_or_resource_busy),
                         fmt::format("somebody else has written to {} in the midst of a line; the "
                                     "log goes on in a new segment",
                                     path()));
    }
    failed_sync_ = before;
}

file_end file_sink::look_at_end() noexcept {
    // Not by an operation: it would cost as much again as the write before which it is asked.
    auto now = file_.extent_now();
    if (now && now->names == 0) {
        return file_end::removed;
    }
    if (preallocation_ != nullptr) {
        if (now) {
            look_at_preallocated(now->size);
        }
        return preallocation_->is_distrusted() ? file_end::in_doubt : file_end::as_written;
    }
    was_cut_ = was_cut_ || has_cut_end_ || (now && now->size < size_);
    if (was_cut_) { // also when somebody has lengthened it since
        return file_end::cut;
    }
    return has_others_lines_ || (now && now->size > size_) ? file_end::lengthened
                                                           : file_end::as_written;
}

/// By somebody else, and what he has written is not looked at yet.
bool file_sink::is_lengthened() const noexcept {
    const auto size = file_.size_now();
    return size && *size > size_;
}

/// Others have written up to there, before what comes next.
void file_sink::note_others(std::uint64_t end) noexcept {
    size_ = end;
    has_others_lines_ = true;
    segment_begin_ = lsn::none; // it has lines that stand nowhere else
}

/// The file ends with a whole line, whoever has cut it or was killed while he lengthened it.
task<> file_sink::begin_line() {
    try {
        std::uint64_t size = 0;
        char last = '\n';
        for (int look = 0; look < looks_at_end_max; ++look) {
            const std::uint64_t before = std::exchange(size, (co_await file_.stat()).size);
            if (last != '\n' && size == before) {
                break; // nobody is at work on that line
            }
            last = '\n';
            if (size > 0) {
                (void)co_await file_.read_some(std::span(&last, 1), {size - 1});
            }
            if (last == '\n') {
                break;
            }
        }
        if (last != '\n') {
            co_await file_.write_all(std::string_view("\n"));
        }
        has_cut_end_ = false;
        has_piece_before_ = false;
        was_cut_ = was_cut_ || size < size_;
        bytes_cut_ += size_ - std::min(size, size_);
        if (size > size_) {
            note_others(size);
        }
        size_ = size + (last != '\n' ? 1 : 0);
    } catch (const std::system_error& error) {
        throw write_error(error.code(), fmt::format("cannot write {}", path()), 0);
    }
}

task<> file_sink::end_cut_line() {
    const auto shielded = co_await shield();
    co_await end_last_line();
    was_cut_ = false;
}

task<std::vector<lsn>> file_sink::look_after_cut(lsn first) {
    const auto shielded = co_await shield();
    co_await end_last_line();
    std::vector<lsn> present = co_await numbers_at_end(first);
    was_cut_ = false; // not before it is known what is there
    co_return present;
}

task<> file_sink::end_last_line() {
    co_await cut_off_partial_line();
    co_await begin_line();
    co_await datasync();
}

/// Whether the file is not as long as what was written successfully: a write that failed has left
/// something there, so it was its sync that failed.
bool file_sink::has_grown() const noexcept {
    const auto size = file_.size_now(); // without memory, too
    return !size || *size != size_;
}

task<> file_sink::cut_off_partial_line() {
    note_handlers(); // before the question: whom that does not see has come since
    if (partial_line_bytes_ == 0 || is_taken_over()) { // a handler has ended it
        partial_line_bytes_ = 0;
        co_return;
    }
    try {
        // It is at the end of the file, whoever has truncated it meanwhile, as long as we are its
        // only writer.
        const std::uint64_t size = (co_await file_.stat()).size;
        if (size != size_) {
            // It is not: what would be cut off is somebody else's, who relies on it. The next line
            // is one of its own.
            partial_line_bytes_ = 0;
            has_cut_end_ = has_cut_end_ || size < size_;
            has_piece_before_ = has_piece_before_ || size > size_;
            co_return;
        }
        if (!co_await cut_to(size - std::min<std::uint64_t>(size, partial_line_bytes_))) {
            has_piece_before_ = true; // which he ends, or the next line does
        }
    } catch (const std::system_error& error) {
        throw write_error(error.code(),
                          fmt::format("cannot cut a partly written line off {}", path()), 0);
    }
    partial_line_bytes_ = 0;
}

/// To the end of a line. Where somebody has cut off more at that moment this makes the file longer,
/// and what was there is zeros. False, and nothing is done, where a signal's handler was at work at
/// note_handlers(), or has come since: what he has written, or does, would be cut off with it.
task<bool> file_sink::cut_to(std::uint64_t end) {
    if (notes_ != nullptr) {
        notes_->begin_cut(end); // before the question: one of the two sees the other
    }
    if (has_handler_come()) {
        notes_->end_cut();
        co_return false;
    }
    const auto cut = co_await as_result(file_.truncate(end));
    if (notes_ != nullptr) {
        notes_->end_cut();
    }
    throw_cancelled_or(cut.error(), "cannot cut");
    size_ = end;
    char last = '\n';
    bool is_known = true;
    if (end > 0) {
        const auto got = co_await as_result(file_.read_some(std::span(&last, 1), {end - 1}));
        is_known = got && *got == 1;
    }
    if (!is_known || last != '\n') {
        was_cut_ = true;
        has_cut_end_ = true;
    }
    co_return true;
}

/// Before there may be no memory to throw it: the kernel tells it once, and believes the next sync.
void file_sink::note_failed_sync(std::error_code why) noexcept {
    if (!detail::makes(detail::mistake::retry_sync)) {
        failed_sync_ = why;
    }
}

void file_sink::require_no_failed_sync() const {
    if (failed_sync_) {
        throw sync_error(failed_sync_, fmt::format("cannot sync {}", path()));
    }
}

task<> file_sink::begin_writeback(std::size_t bytes_min) {
    if (preallocation_ != nullptr) { // past the page cache
        co_return;
    }
    if (write_behind_ == nullptr) {
        write_behind_ = std::make_unique<detail::write_behind>(size_, settings_->cached_bytes_max);
    }
    co_await write_behind_->go_on(file_, size_, bytes_min);
}

task<> file_sink::bound_cache(std::size_t bytes_min) {
    if (settings_->cached_bytes_max == 0) {
        co_return;
    }
    if (write_behind_ != nullptr) {
        write_behind_->forgive();
    }
    co_await begin_writeback(bytes_min);
}

/// Nothing of it is under way any more. What it could not write the next sync need not know of, so
/// that it is a sync that has failed.
task<> file_sink::end_writeback() {
    if (write_behind_ == nullptr) {
        co_return;
    }
    if (const std::error_code why = co_await write_behind_->end()) {
        note_failed_sync(why);
    }
}

task<> file_sink::datasync() {
    co_await end_writeback();
    require_no_failed_sync();
    const bool has_others = std::exchange(has_others_lines_, false);
    const std::uint64_t size = size_;
    const auto synced = co_await as_result(file_.datasync());
    if (synced) {
        if (write_behind_ != nullptr) {
            write_behind_->skip_to(size);
        }
        co_return;
    }
    has_others_lines_ = has_others;
    if (synced.error() == std::errc::operation_canceled) {
        throw cancelled{};
    }
    note_failed_sync(synced.error());
    throw sync_error(synced.error(), fmt::format("cannot sync {}", path()));
}

bool file_sink::is_numbered() const noexcept {
    return settings_->numbered;
}

bool file_sink::syncs_directory() const noexcept {
    return settings_->sync_directory;
}

bool file_sink::is_inherited() const noexcept {
    return ::getpid() != opener_;
}

task<> file_sink::close() {
    co_await end_writeback();
    co_await give_space_back();
    if (leave_to_handler(file_, false)) {
        co_return;
    }
    std::error_code closed;
    if (is_inherited()) { // the lock is the parent's
        closed = (co_await as_result(file_.close())).error();
    } else {
        closed = co_await detail::unlock_and_close(file_);
    }
    throw_cancelled_or(closed, "cannot close");
}

void file_sink::throw_cancelled_or(std::error_code error, const char* what) const {
    if (error == std::errc::operation_canceled) {
        throw cancelled{};
    }
    if (error) {
        throw std::system_error(error, fmt::format("{} {}", what, path()));
    }
}

} // namespace sapwood
