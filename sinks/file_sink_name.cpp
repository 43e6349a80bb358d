// How a file_sink follows its name: a file that somebody has renamed or removed is opened anew, and
// one that is rotated gets another name.
#include "mistakes.hpp"
#include "open_log_file.hpp"
#include "preallocation.hpp"
#include "write_behind.hpp"

#include <sapwood/crash_file.hpp>
#include <sapwood/directory.hpp>
#include <sapwood/event_loop.hpp>
#include <sapwood/file_sink.hpp>
#include <sapwood/shield.hpp>

#include <cerrno>
#include <csignal>
#include <exception>
#include <fcntl.h>
#include <fmt/format.h>
#include <memory>
#include <new>
#include <optional>
#include <utility>

namespace sapwood {

namespace {

/// The name is looked at so often, so that a change is seen within a second.
constexpr clock::duration look_every = std::chrono::milliseconds(500);

/// A look may fail for a moment: so many in succession are told of.
constexpr unsigned failed_looks_told = 4;

/// A child waits so many looks for its parent to give the name to a file: ten seconds.
constexpr unsigned childs_looks_max = 20;

log_news news_of_cut(const std::string& path, std::uint64_t bytes) {
    return {level::info, fmt::format("somebody has cut {} bytes off {}", bytes, path)};
}

bool may_pass(std::error_code failure) noexcept {
    return failure == std::errc::resource_unavailable_try_again ||
           failure == std::errc::not_enough_memory ||
           failure == std::errc::too_many_files_open_in_system;
}

} // namespace

void file_sink::note_in(detail::crash_file& notes) noexcept {
    notes_ = &notes;
    notes.note(*this);
}

void file_sink::look_soon() noexcept {
    looked_ = event_loop::current().now() - look_every;
}

bool file_sink::is_taken_over() const noexcept {
    return notes_ != nullptr && notes_->is_taken_over();
}

void file_sink::note_handlers() noexcept {
    handlers_seen_ = notes_ != nullptr ? notes_->handlers_done() : 0;
}

bool file_sink::has_handler_come() const noexcept {
    return notes_ != nullptr && notes_->handlers() != handlers_seen_;
}

/// A handler may have the number of a file that the notes have no more, and would write to the next
/// file that gets it: then it is left open. Where the new one was noted before this is asked, who
/// comes later has that. False, and nothing is done, where there is no handler.
bool file_sink::leave_to_handler(file& of, bool keep_lock) const noexcept {
    if (notes_ == nullptr || !notes_->has_handler()) {
        return false;
    }
    if (!keep_lock && !is_inherited()) {
        of.unlock();
    }
    (void)of.release();
    return true;
}

bool file_sink::look_is_due() const noexcept {
    return event_loop::current().now() - looked_ >= look_every;
}

bool file_sink::follow_is_due() const noexcept {
    return news_ || look_is_due();
}

task<log_news> file_sink::follow(lsn next) {
    const bool has_news = static_cast<bool>(news_); // which does not keep it from looking
    log_news seen;
    if (look_is_due()) {
        seen = co_await look(false, next);
    }
    if (has_news) {
        co_return std::exchange(news_, std::move(seen));
    }
    co_return seen;
}

task<log_news> file_sink::reopen(lsn next) {
    return look(true, next);
}

task<log_news> file_sink::look(bool is_asked, lsn next) {
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
    if (detail::makes(detail::mistake::believe_renamed_file) && file_.extent_now() &&
        file_.extent_now()->names != 0) {
        co_return log_news();
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
            was_cut_ = true;
            partial_line_bytes_ = 0; // it is not at the end any more
            size_ = named->size;
        }
        const std::uint64_t cut = std::exchange(bytes_cut_, 0);
        if (cut == 0) {
            co_return log_news();
        }
        ++counts_.truncated;
        co_return news_of_cut(path(), cut);
    }
    if (failure && failure != std::errc::no_such_file_or_directory &&
        failure != std::errc::not_a_directory) {
        co_return tell_unknown(failure);
    }
    if (!named && is_between_names() && ++looks_failed_ < childs_looks_max) {
        co_return log_news();
    }
    looks_failed_ = 0;
    co_return co_await change_file(is_asked, next);
}

/// In a child that was forked: its parent, which sets segments aside, will give the name to the
/// next one in a moment, or to a new file, and what a child made there would be in its way.
bool file_sink::is_between_names() const noexcept {
    return settings_->has_segments && is_inherited() && (::kill(opener_, 0) == 0 || errno != ESRCH);
}

/// Goes on in what has the name now, which is a new file where nothing has it.
task<log_news> file_sink::change_file(bool is_asked, lsn next) {
    try {
        co_await cut_off_partial_line();
    } catch (const std::exception&) {
        // The lines it belongs to are written anew.
    }
    std::optional<file_sink> fresh;
    try {
        if (left_in_making_ != 0 && !is_inherited()) {
            co_await remove_left_in_making();
        }
        fresh.emplace(co_await open_by_name(next));
        co_await end_writeback();
    } catch (const std::system_error& error) {
        co_return tell_once(error);
    }
    detail::replaced_file old = adopt(*fresh);
    segment_begin_ = lsn::none; // others have written to it
    ++counts_.reopened;
    log_news news;
    try { // who uses this must learn of it, whatever there is no memory for
        co_await let_go(std::move(old), false);
        if (log_news torn = fresh->torn_news()) {
            tell_later(std::move(torn));
        }
        if (!is_asked) {
            news = log_news(
                level::info,
                fmt::format("{} was renamed or removed; the log goes on in this file", path()));
        }
    } catch (const std::bad_alloc&) {
        // It is counted.
    }
    co_return news;
}

/// `fresh` is the file from now on, and the one that was is closed.
task<> file_sink::take_place(file_sink& fresh, bool keep_lock) {
    co_await end_writeback();
    detail::replaced_file old = adopt(fresh);
    try {
        co_await let_go(std::move(old), keep_lock);
    } catch (const std::bad_alloc&) {
        // It is closed all the same.
    }
}

/// The first half, which cannot fail. Nothing is under way on the file that was.
detail::replaced_file file_sink::adopt(file_sink& fresh) noexcept {
    tell_cut();
    if (preallocation_ != nullptr && fresh.news_) { // that it cannot be had in the new one
        news_ = std::move(fresh.news_);
    }
    detail::replaced_file old(std::exchange(file_, std::move(fresh.file_)),
                              std::exchange(preallocation_, std::move(fresh.preallocation_)),
                              size_);
    inode_ = fresh.inode_;
    device_ = fresh.device_;
    size_ = fresh.size_;
    if (write_behind_ != nullptr) {
        write_behind_->begin_anew(size_);
    }
    modified_ = fresh.modified_;
    partial_line_bytes_ = 0;
    has_cut_end_ = false;
    has_piece_before_ = false;
    was_cut_ = false;
    has_others_lines_ = false;
    failed_sync_ = fresh.failed_sync_;
    torn_bytes_ += fresh.torn_bytes_;
    told_failure_ = {};
    if (notes_ != nullptr) { // before the number is free for another file
        notes_->note(*this);
    }
    return old;
}

/// The second half. Without memory the file is closed all the same.
task<> file_sink::let_go(detail::replaced_file old, bool keep_lock) {
    const auto shielded = co_await shield();
    if (old.space != nullptr && !is_inherited()) {
        (void)old.descriptor.change_flags(O_DIRECT, O_APPEND);
        co_await old.space->end(old.descriptor, old.size);
    }
    if (leave_to_handler(old.descriptor, keep_lock)) {
        co_return;
    }
    // What closing tells of the old file is of no use: all of it is with the kernel.
    if (keep_lock || is_inherited()) {
        (void)co_await as_result(old.descriptor.close());
    } else {
        (void)co_await detail::unlock_and_close(old.descriptor);
    }
}

/// That somebody has cut the file which was, if no look has told it yet.
void file_sink::tell_cut() noexcept {
    const std::uint64_t cut = std::exchange(bytes_cut_, 0);
    if (cut == 0) {
        return;
    }
    ++counts_.truncated;
    try {
        tell_later(news_of_cut(path(), cut));
    } catch (const std::bad_alloc&) {
        // It is counted.
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
    std::string not_synced;
    if (sync) {
        try {
            co_await datasync();
        } catch (const sync_error& error) { // as each further one would
            not_synced = error.what();
        }
    }
    co_await require_name();
    co_await rename_aside(path(), to);
    co_await go_on_anew(to);
    if (not_synced.empty()) {
        co_return;
    }
    try {
        tell_later({level::warning,
                    fmt::format("{} may not be on disk, and what it has gone when the machine "
                                "loses its power: {}",
                                to, not_synced)});
    } catch (const std::bad_alloc&) { // it is rotated all the same
    }
}

task<> file_sink::rotate(lsn next) {
    const auto shielded = co_await shield();
    co_await cut_off_partial_line();
    co_await require_name();
    const std::string to = co_await set_aside(next, path());
    co_await go_on_anew(to);
}

/// Nobody has put another file in the place of this one.
task<> file_sink::require_name() {
    const file_status named = co_await status_of(path(), at_symlink::stay);
    if (named.inode != inode_ || named.device != device_) {
        detail::throw_errno(ESTALE, fmt::format("cannot rotate {}: it is another file", path()));
    }
}

/// In a new file; the one that was is called `aside`, and gets its own name back where there is
/// no new one to be had.
task<> file_sink::go_on_anew(const std::string& aside) {
    std::exception_ptr failure;
    try {
        auto settings = std::make_unique<detail::log_file_settings>(*settings_);
        file_sink fresh = co_await open_with(std::move(settings));
        co_await take_place(fresh, true);
    } catch (const std::exception&) {
        failure = std::current_exception();
    }
    if (failure) {
        look_soon(); // where it does not get its name back
        (void)co_await detail::rename_to_free_name(aside, path());
        std::rethrow_exception(failure);
    }
    ++counts_.rotated;
}

/// Gives a file a name that nothing has.
task<> file_sink::rename_aside(std::string from, std::string to) {
    if (const std::error_code failure = co_await detail::rename_to_free_name(from, to)) {
        throw std::system_error(failure, fmt::format("cannot rename {} to {}", from, to));
    }
}

} // namespace sapwood
