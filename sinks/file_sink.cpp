#include <sapwood/file_sink.hpp>

#include "mistakes.hpp"
#include "open_log_file.hpp"
#include "preallocation.hpp"

#include <sapwood/crash_file.hpp>
#include <sapwood/directory.hpp>
#include <sapwood/event_loop.hpp>
#include <sapwood/shield.hpp>

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <optional>
#include <string_view>
#include <unistd.h>
#include <utility>
#include <vector>

namespace sapwood {

namespace {

/// The name is looked at so often, so that a change is seen within a second.
constexpr clock::duration look_every = std::chrono::milliseconds(500);

/// A look may fail for a moment: so many in succession are told of.
constexpr unsigned failed_looks_told = 4;

bool may_pass(std::error_code failure) noexcept {
    return failure == std::errc::resource_unavailable_try_again ||
           failure == std::errc::interrupted || failure == std::errc::not_enough_memory ||
           failure == std::errc::too_many_files_open_in_system;
}

} // namespace

file_sink::file_sink(detail::opened_log opened, std::unique_ptr<detail::log_file_settings> settings)
    : settings_(std::move(settings)),
      file_(std::move(opened.descriptor)),
      inode_(opened.identity.inode),
      device_(opened.identity.device),
      size_(opened.size),
      modified_(opened.modified),
      opener_(::getpid()),
      looked_(event_loop::current().now()) {}

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
    require_preallocatable(options);
    if (options.numbered) {
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
    file_sink sink(std::move(opened), std::move(settings));
    if (recovers) {
        co_await sink.recover();
        co_await sink.preallocate();
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
    file_sink sink(detail::opened_log(std::move(same), status, parents.settings_->may_be_link),
                   std::make_unique<detail::log_file_settings>(*parents.settings_));
    sink.opener_ = parents.opener_;
    co_return sink;
}

task<> file_sink::write(std::span<const char> lines) {
    return write_lines(lines, false);
}

task<> file_sink::write_synced(std::span<const char> lines) {
    if (can_write_synced_) {
        co_await write_lines(lines, true);
    } else {
        co_await write_lines(lines, false);
    }
    if (!can_write_synced_) {
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
    if (is_cut()) {
        co_await begin_line();
    }
    auto rest = lines;
    while (!rest.empty()) {
        result<std::size_t> written = std::size_t{0};
        if (synced && can_write_synced_) {
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
        if (synced && can_write_synced_) {
            if (why == std::errc::operation_not_supported || why == std::errc::invalid_argument) {
                can_write_synced_ = false;
                continue;
            }
            if (co_await has_grown()) {
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
        throw write_error(why, fmt::format("cannot write {}", path()), whole);
    }
}

bool file_sink::is_cut() noexcept {
    // Not by an operation: it would cost as much again as the write before which it is asked.
    const auto size = file_.size_now();
    if (preallocation_ != nullptr) { // whose next write says so
        if (size) {
            look_at_preallocated(*size);
        }
        return false;
    }
    return has_cut_end_ || (size && *size < size_);
}

/// The file ends with a whole line, whoever has cut it.
task<> file_sink::begin_line() {
    try {
        const std::uint64_t size = (co_await file_.stat()).size;
        char last = '\n';
        if (size > 0) {
            (void)co_await file_.read_some(std::span(&last, 1), {size - 1});
        }
        if (last != '\n') {
            co_await file_.write_all(std::string_view("\n"));
        }
        has_cut_end_ = false;
        bytes_cut_ += size_ - std::min(size, size_);
        size_ = size + (last != '\n' ? 1 : 0);
    } catch (const std::system_error& error) {
        throw write_error(error.code(), fmt::format("cannot write {}", path()), 0);
    }
}

task<> file_sink::end_cut_line() {
    const auto shielded = co_await shield();
    if (partial_line_bytes_ > 0) {
        co_await cut_off_partial_line();
    }
    co_await begin_line();
    co_await datasync();
}

/// Whether the file is not as long as what was written successfully: a write that failed has left
/// something there, so it was its sync that failed.
task<bool> file_sink::has_grown() {
    try {
        co_return (co_await file_.stat()).size != size_;
    } catch (const std::system_error&) {
        co_return true; // not known
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
        const std::uint64_t whole = size - std::min<std::uint64_t>(size, partial_line_bytes_);
        co_await file_.truncate(whole);
        size_ = whole;
    } catch (const std::system_error& error) {
        throw write_error(error.code(),
                          fmt::format("cannot cut a partly written line off {}", path()), 0);
    }
    partial_line_bytes_ = 0;
}

task<> file_sink::datasync() {
    const auto synced = co_await as_result(file_.datasync());
    if (synced) {
        co_return;
    }
    if (synced.error() == std::errc::operation_canceled) {
        throw cancelled{};
    }
    throw sync_error(synced.error(), fmt::format("cannot sync {}", path()));
}

// --- the name ---

void file_sink::note_in(detail::crash_file& notes) noexcept {
    notes_ = &notes;
    notes.note(*this);
}

bool file_sink::is_numbered() const noexcept {
    return settings_->numbered;
}

bool file_sink::is_inherited() const noexcept {
    return ::getpid() != opener_;
}

void file_sink::look_soon() noexcept {
    looked_ = event_loop::current().now() - look_every;
}

bool file_sink::follow_is_due() const noexcept {
    return news_ || event_loop::current().now() - looked_ >= look_every;
}

task<log_news> file_sink::follow() {
    if (news_) {
        co_return std::exchange(news_, log_news());
    }
    if (!follow_is_due()) {
        co_return log_news();
    }
    co_return co_await look(false);
}

task<log_news> file_sink::reopen() {
    return look(true);
}

task<log_news> file_sink::look(bool is_asked) {
    const auto shielded = co_await shield();
    looked_ = event_loop::current().now();
    if (is_unnamed_) {
        co_return log_news();
    }
    std::optional<file_status> named;
    std::error_code failure;
    try {
        named = co_await status_of(path(),
                                   settings_->may_be_link ? at_symlink::follow : at_symlink::stay);
    } catch (const std::system_error& error) {
        failure = error.code();
    }
    if (named && named->inode == inode_ && named->device == device_) {
        told_failure_ = {};
        looks_failed_ = 0;
        if (preallocation_ != nullptr) {
            look_at_preallocated(named->size);
            co_return log_news();
        }
        if (named->size < size_) {
            bytes_cut_ += size_ - named->size;
            has_cut_end_ = true;
        }
        size_ = named->size;
        const std::uint64_t cut = std::exchange(bytes_cut_, 0);
        if (cut == 0) {
            co_return log_news();
        }
        ++counts_.truncated;
        co_return log_news(level::info,
                           fmt::format("somebody has cut {} bytes off {}", cut, path()));
    }
    if (failure && failure != std::errc::no_such_file_or_directory &&
        failure != std::errc::not_a_directory) {
        co_return tell_unknown(failure);
    }
    looks_failed_ = 0;
    co_return co_await change_file(is_asked);
}

/// Goes on in what has the name now, which is a new file where nothing has it.
task<log_news> file_sink::change_file(bool is_asked) {
    try {
        co_await cut_off_partial_line();
    } catch (const std::exception&) {
        // The lines it belongs to are written anew.
    }
    std::optional<file_sink> fresh;
    try {
        auto settings = std::make_unique<detail::log_file_settings>(*settings_);
        settings->shares_lock = is_inherited();
        fresh.emplace(co_await open_with(std::move(settings)));
    } catch (const std::system_error& error) {
        co_return tell_once(error);
    }
    co_await take_place(*fresh, false);
    segment_begin_ = lsn::none; // others have written to it
    ++counts_.reopened;
    if (is_asked) {
        co_return log_news();
    }
    co_return log_news(
        level::info,
        fmt::format("{} was renamed or removed; the log goes on in this file", path()));
}

/// `fresh` is the file from now on, and the one that was is closed.
task<> file_sink::take_place(file_sink& fresh, bool keep_lock) {
    if (preallocation_ != nullptr && fresh.news_) { // that it cannot be had in the new one
        news_ = std::move(fresh.news_);
    }
    co_await give_space_back();
    preallocation_ = std::move(fresh.preallocation_);
    file old = std::exchange(file_, std::move(fresh.file_));
    inode_ = fresh.inode_;
    device_ = fresh.device_;
    size_ = fresh.size_;
    modified_ = fresh.modified_;
    partial_line_bytes_ = 0;
    has_cut_end_ = false;
    bytes_cut_ = 0;
    torn_bytes_ += fresh.torn_bytes_;
    told_failure_ = {};
    if (notes_ != nullptr) { // before the number is free for another file
        notes_->note(*this);
    }
    // What closing tells of the old file is of no use: all of it is with the kernel.
    if (keep_lock || is_inherited()) {
        (void)co_await as_result(old.close());
    } else {
        (void)co_await detail::unlock_and_close(old);
    }
}

/// It is not known whether the file still has its name. Not each time, and at once only where it
/// will not pass by itself.
log_news file_sink::tell_unknown(std::error_code failure) {
    if (++looks_failed_ < failed_looks_told && may_pass(failure)) {
        return {};
    }
    if (std::exchange(told_failure_, failure) == failure) {
        return {};
    }
    return {level::warning,
            fmt::format("cannot learn whether {} is still the log, and writing goes on: {}", path(),
                        failure.message())};
}

log_news file_sink::tell_once(const std::system_error& error) {
    if (std::exchange(told_failure_, error.code()) == error.code()) {
        return {};
    }
    return {level::warning,
            fmt::format("{}; the log goes on in the file that was opened, which has lost its name",
                        error.what())};
}

task<> file_sink::rotate(std::string to, bool sync) {
    const auto shielded = co_await shield();
    co_await cut_off_partial_line();
    if (sync) {
        co_await datasync();
    }
    const file_status named = co_await status_of(path(), at_symlink::stay);
    if (named.inode != inode_ || named.device != device_) {
        detail::throw_errno(ESTALE, fmt::format("cannot rotate {}: it is another file", path()));
    }
    co_await rename_aside(to);
    std::exception_ptr failure;
    try {
        auto settings = std::make_unique<detail::log_file_settings>(*settings_);
        file_sink fresh = co_await open_with(std::move(settings));
        co_await take_place(fresh, true);
    } catch (const std::exception&) {
        failure = std::current_exception();
    }
    if (failure) {
        (void)co_await as_result(rename_file(to, path(), when_taken::refuse));
        std::rethrow_exception(failure);
    }
    ++counts_.rotated;
}

/// Gives the file a name that nothing has.
task<> file_sink::rename_aside(const std::string& to) {
    const auto renamed = co_await as_result(rename_file(path(), to, when_taken::refuse));
    std::error_code failure = renamed.error();
    if (failure == std::errc::invalid_argument) {
        // A file system that cannot do it in one step: we are its only writer who uses such names.
        try {
            (void)co_await status_of(to, at_symlink::stay);
            failure = std::make_error_code(std::errc::file_exists);
        } catch (const std::system_error& error) {
            failure = error.code();
        }
        if (failure == std::errc::no_such_file_or_directory) {
            failure = (co_await as_result(rename_file(path(), to))).error();
        }
    }
    if (failure) {
        throw std::system_error(failure, fmt::format("cannot rename {} to {}", path(), to));
    }
}

task<> file_sink::close() {
    co_await give_space_back();
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
