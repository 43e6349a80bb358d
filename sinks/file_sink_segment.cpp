// How a file_sink goes on in a new segment, and how an open finds what became of one.
#include "log_tail.hpp"
#include "open_log_file.hpp"
#include "preallocation.hpp"

#include <sapwood/directory.hpp>
#include <sapwood/file_sink.hpp>
#include <sapwood/shield.hpp>

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <new>
#include <optional>
#include <string_view>
#include <utility>

namespace sapwood {

namespace {

/// For a segment that is set aside: then there may be thousands.
constexpr std::uint64_t names_tried_max = 16;

/// Files of others that are put in the log's place one after the other.
constexpr int others_moved_max = 3;

std::string name_in_making(const std::string& path) {
    return path + ".next";
}

log_news news_of_moved(const std::string& path, const std::string& aside) {
    return {level::warning,
            fmt::format("another file took the name {} meanwhile: it is {} now", path, aside)};
}

log_news news_of_lost_end(const std::string& path, const std::string& aside) {
    return {level::warning,
            fmt::format("{} had not all that a writer which was killed has written: it is {} now, "
                        "and the log goes on in the file that was to take its place",
                        path, aside)};
}

/// A segment in the making; nothing where it is not there any more.
task<std::optional<detail::opened_log>> open_made(detail::log_file_settings& settings) {
    settings.must_exist = true;
    settings.make_directories = false;
    std::optional<detail::opened_log> made;
    try {
        made.emplace(co_await detail::open_log_file(settings));
    } catch (const std::system_error& error) {
        if (error.code() != std::errc::no_such_file_or_directory) {
            throw;
        }
    }
    co_return made;
}

/// The number behind the last one in a file of others, who may have numbered its lines, too: from
/// the number in its name on it would count for nothing.
task<lsn> number_behind(file& other, std::uint64_t size) {
    lsn last = lsn::none;
    try {
        const detail::log_tail tail = co_await detail::read_log_tail(other, size);
        last = tail.last;
    } catch (const std::system_error&) { // what cannot be read has no numbers either
    }
    co_return last + 1;
}

std::string name_aside(const std::string& name, std::uint64_t which) {
    return which == 1 ? name : fmt::format("{}-{}", name, which);
}

/// The first name behind a run of those that are taken, which ends behind `taken` or later.
task<std::uint64_t> first_free(std::string name, std::uint64_t taken) {
    std::uint64_t free = taken;
    for (std::uint64_t step = 1; free == taken; step *= 2) {
        free += step;
        if (co_await detail::status_if_there(name_aside(name, free), at_symlink::stay)) {
            taken = free;
        }
    }
    while (free - taken > 1) {
        const std::uint64_t middle = taken + (free - taken) / 2;
        if (co_await detail::status_if_there(name_aside(name, middle), at_symlink::stay)) {
            taken = middle;
        } else {
            free = middle;
        }
    }
    co_return free;
}

task<> remove_if_there(std::string path) {
    const auto removed = co_await as_result(remove_file(path));
    if (!removed && removed.error() != std::errc::no_such_file_or_directory) {
        throw std::system_error(removed.error(), fmt::format("cannot remove {}", path));
    }
}

} // namespace

task<> file_sink::begin_segment(std::span<const char> first, std::span<const char> second, lsn next,
                                std::string aside) {
    const auto shielded = co_await shield();
    if (is_unnamed_) { // by an attempt that failed: it has these lines
        co_await take_name();
        co_return;
    }
    const bool is_rotation = !aside.empty();
    const std::string making = name_in_making(path());
    co_await remove_if_there(making);
    left_in_making_ = 0;
    auto settings = std::make_unique<detail::log_file_settings>(*settings_);
    settings->path = making;
    settings->must_be_new = true;
    settings->sync_directory = false;
    std::uint64_t made = 0;
    std::exception_ptr failure;
    try {
        detail::opened_log opened = co_await detail::open_log_file(*settings);
        made = opened.identity.inode;
        file_sink fresh(std::move(opened), std::move(settings));
        co_await fresh.preallocate(path());
        co_await fresh.write(first);
        co_await fresh.write(second);
        co_await fresh.datasync();
        co_await end_writeback();
        co_await make_way(next, std::move(aside));
        // Nothing has the log's name any more: whatever fails now, this file is the log.
        detail::replaced_file old = adopt(fresh);
        is_unnamed_ = true;
        segment_begin_ = next;
        try {
            co_await let_go(std::move(old), is_rotation);
        } catch (const std::bad_alloc&) {
            // It is closed all the same.
        }
    } catch (const std::exception&) {
        failure = std::current_exception();
    }
    if (failure) {
        if (!is_unnamed_) {
            const auto removed = co_await as_result(remove_file(making));
            left_in_making_ = removed ? 0 : made;
        }
        std::rethrow_exception(failure);
    }
    co_await take_name();
}

/// What an attempt that failed has left is not to be taken for a killed writer's, whose lines
/// count.
task<> file_sink::remove_left_in_making() {
    const std::string making = name_in_making(path());
    const auto status = co_await detail::status_if_there(making, at_symlink::stay);
    if (status && status->inode == left_in_making_) {
        co_await remove_if_there(making);
    }
    left_in_making_ = 0;
}

/// Makes the name free: what had it is known by another one from then on.
task<> file_sink::make_way(lsn next, std::string aside) {
    const auto named = co_await detail::status_if_there(path(), at_symlink::stay);
    if (named && (named->inode != inode_ || named->device != device_)) {
        detail::throw_errno(ESTALE, fmt::format("cannot begin a new segment of {}: another file "
                                                "has its name now",
                                                path()));
    }
    if (!named) {
        co_return;
    }
    if (!aside.empty()) {
        co_await rename_aside(path(), aside);
    } else if (segment_begin_ == next && look_at_end() != file_end::lengthened) {
        // It has nothing that is of use: what it has from its beginning on comes again.
        co_await remove_if_there(path());
    } else {
        co_await set_aside(next, path());
    }
}

/// Under the first name that is free, which it returns: an earlier process may have come as far as
/// this number, too.
task<std::string> file_sink::set_aside(lsn next, std::string from) {
    const std::string name = fmt::format("{}.{:016}", path(), to_number(next));
    for (std::uint64_t attempt = 1;; ++attempt) {
        if (attempt > names_tried_max) {
            attempt = co_await first_free(name, attempt - 1);
        }
        std::string to = name_aside(name, attempt);
        bool is_taken = false;
        try {
            co_await rename_aside(from, to);
        } catch (const std::system_error& error) {
            is_taken = error.code() == std::errc::file_exists;
            if (!is_taken) {
                throw;
            }
        }
        if (!is_taken) {
            co_return to;
        }
    }
}

/// What somebody has put in the log's place meanwhile keeps its lines, beside the log: a program
/// that makes logs anew when it renames them, say, or a process of ours. With its lock, so that
/// nobody begins to write to it as a log at that moment.
task<> file_sink::set_anothers_aside(lsn next) {
    // To be written, for on NFS an exclusive lock wants that.
    auto other =
        co_await as_result(file::open(path(), {.flags = O_RDWR | O_NOFOLLOW | O_NONBLOCK}));
    if (!other && other.error() != std::errc::no_such_file_or_directory) {
        other =
            co_await as_result(file::open(path(), {.flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK}));
    }
    if (!other && other.error() == std::errc::no_such_file_or_directory) {
        co_return;
    }
    std::string why;
    std::error_code failure = std::make_error_code(std::errc::device_or_resource_busy);
    if (!other) {
        why = "what is there cannot be opened";
    } else if (!(co_await other->stat()).is_regular()) {
        why = "what is there is not a file";
    } else if (const auto refused = co_await detail::lock_soon(*other)) {
        // Not one that only looks whether it may write.
        why = "another process writes a log there; end that one";
        if (refused != std::errc::operation_would_block) {
            failure = refused;
            why = "what is there cannot be locked";
        }
    }
    if (!why.empty()) {
        throw std::system_error(failure,
                                fmt::format("cannot give {} its name back: {}", path(), why));
    }
    const file_status locked = co_await other->stat();
    const auto named = co_await detail::status_if_there(path(), at_symlink::stay);
    if (!named || detail::file_identity::of(*named) != detail::file_identity::of(locked)) {
        co_return; // it is another one by now
    }
    const lsn behind = co_await number_behind(*other, locked.size);
    const std::string aside = co_await set_aside(std::max(next, behind), path());
    (void)co_await detail::unlock_and_close(*other);
    tell_later(news_of_moved(path(), aside));
}

/// What has the name now, or a new file; and never one in which numbers from `next` on would stand
/// twice. Its lines, and their numbers, stay beside the log: none of them comes again.
task<file_sink> file_sink::open_by_name(lsn next) {
    for (int moved = 0;; ++moved) {
        auto settings = std::make_unique<detail::log_file_settings>(*settings_);
        settings->shares_lock = is_inherited();
        file_sink fresh = co_await open_with(std::move(settings));
        if (next == lsn::none || fresh.last_lsn_ < next) {
            co_return fresh;
        }
        if (moved == others_moved_max) {
            detail::throw_errno(
                EBUSY,
                fmt::format("cannot open {} as a log: others put logs there all the time", path()));
        }
        const std::string aside = co_await fresh.set_aside(fresh.last_lsn_ + 1, path());
        tell_later(news_of_moved(path(), aside));
        co_await fresh.close();
    }
}

/// Gives `path` to the segment that was made, and to nothing else that is in the making there by
/// now: its directory may be another one.
task<std::error_code> name_segment(std::string path, detail::file_identity made) {
    const std::string making = name_in_making(path);
    const auto there = co_await detail::status_if_there(making, at_symlink::stay);
    if (!there || detail::file_identity::of(*there) != made) {
        co_return std::make_error_code(std::errc::no_such_file_or_directory);
    }
    co_return co_await detail::rename_to_free_name(making, path);
}

/// The segment in the making gets the log's name, for good. Until that has succeeded it is called
/// again; and killed in between, the next open does it.
task<> file_sink::take_name() {
    co_await detail::sync_directory_of(path());
    const auto named = co_await detail::status_if_there(path(), at_symlink::stay);
    if (!named || named->inode != inode_ || named->device != device_) {
        const detail::file_identity made{inode_, device_};
        std::error_code failure = co_await name_segment(path(), made);
        for (int moved = 0; failure == std::errc::file_exists && moved < others_moved_max;
             ++moved) {
            co_await set_anothers_aside(segment_begin_);
            failure = co_await name_segment(path(), made);
        }
        if (failure == std::errc::file_exists) { // which would say that another name is taken
            failure = std::make_error_code(std::errc::device_or_resource_busy);
        }
        if (failure == std::errc::no_such_file_or_directory) {
            // Somebody has removed it, or given it a name of his: another one must be begun.
            // What is written to this one would be gone when that has its name again, or takes it.
            note_failed_sync(failure);
            is_unnamed_ = false;
            look_soon();
        }
        if (failure) {
            throw std::system_error(
                failure, fmt::format("cannot rename {} to {}", name_in_making(path()), path()));
        }
    }
    co_await detail::sync_directory_of(path()); // also where somebody else has named it
    is_unnamed_ = false;
}

// --- what a writer that was killed has left ---

/// Killed between two names: the segment that it had made takes the log's name.
task<> file_sink::finish_segment(const detail::log_file_settings& settings) {
    if (co_await detail::status_if_there(settings.path, at_symlink::stay)) {
        co_return;
    }
    auto made = std::make_unique<detail::log_file_settings>(settings);
    made->path = name_in_making(settings.path);
    if (!(co_await detail::status_if_there(made->path, at_symlink::stay))) {
        co_return;
    }
    // With its lock: a writer that lives may be at that very step.
    std::optional<detail::opened_log> opened = co_await open_made(*made);
    if (!opened) {
        co_return;
    }
    const std::error_code failure = co_await detail::rename_to_free_name(made->path, settings.path);
    if (failure && failure != std::errc::file_exists) {
        throw std::system_error(failure,
                                fmt::format("cannot rename {} to {}", made->path, settings.path));
    }
    co_await detail::sync_directory_of(settings.path);
    (void)co_await detail::unlock_and_close(opened->descriptor);
}

/// The first number of a segment that has more than the log; none where the log has all of it, or
/// it has no numbers.
task<lsn> file_sink::first_of_more(detail::opened_log& made, const std::string& making) {
    try {
        const lsn first = co_await detail::first_number(made.descriptor, made.size, last_lsn_);
        if (first == lsn::none || first > last_lsn_ + 1 || last_lsn_ == lsn::none) {
            co_return first;
        }
        // The log may have had it all, and lost the end of it with a sync that failed.
        const std::uint64_t end = co_await detail::end_before_zeros(made.descriptor, made.size);
        const detail::log_tail its = co_await detail::read_log_tail(made.descriptor, end);
        const detail::log_tail log = co_await detail::read_log_tail(file_, size_);
        co_return detail::has_more(its, log, first) ? first : lsn::none;
    } catch (const std::system_error& error) {
        throw std::system_error(error.code(), fmt::format("cannot read {} or {}", making, path()));
    }
}

/// Killed before it had set the log aside. Where the log has everything that the segment in the
/// making has, that is removed: a later open would take it for the log. It may have less: a sync
/// has failed, and the file system has dropped what it could not write; or it was killed between
/// two names, and somebody has put another file there since. Then the segment is the log.
task<> file_sink::settle_segment() {
    const std::string making = name_in_making(path());
    const auto status = co_await detail::status_if_there(making, at_symlink::stay);
    if (!status || !status->is_regular()) {
        co_return;
    }
    auto settings = std::make_unique<detail::log_file_settings>(*settings_);
    settings->path = making;
    // Throws where a writer that lives is between two names: it would be the second one of this
    // log. What has the name now it sets aside, once that is not locked any more.
    std::optional<detail::opened_log> made = co_await open_made(*settings);
    if (!made) {
        co_return;
    }
    lsn first = lsn::none;
    if (settings_->numbered) {
        first = co_await first_of_more(*made, making);
    }
    const bool follows = settings_->numbered ? first != lsn::none : size_ == 0 && made->size > 0;
    if (!follows) {
        if (!settings_->numbered && made->size > 0) { // which nobody can compare with the log
            const std::string left = co_await set_aside(lsn::none, making);
            tell_later({level::warning,
                        fmt::format("a writer that was killed had begun another file of {}: it is "
                                    "{} now, and may have lines that are not in the log",
                                    path(), left)});
        } else {
            co_await remove_if_there(making);
        }
        co_await detail::sync_directory_of(path());
        (void)co_await detail::unlock_and_close(made->descriptor);
        co_return;
    }
    // Its writer may have been killed before it was on disk, or its sync has failed: a power cut
    // that finds it called as the log would leave less than the log had, and give numbers again.
    file_sink fresh(std::move(*made), std::move(settings));
    co_await fresh.recover();
    const bool is_others = first > last_lsn_ + 1 || last_lsn_ == lsn::none;
    const std::string aside = co_await set_aside(first, path()); // its lock is ours
    tell_later(is_others ? news_of_moved(path(), aside) : news_of_lost_end(path(), aside));
    if (const auto failure = co_await detail::rename_to_free_name(making, path())) {
        throw std::system_error(failure, fmt::format("cannot rename {} to {}", making, path()));
    }
    co_await detail::sync_directory_of(path());
    co_await take_place(fresh, false);
    last_lsn_ = std::max(last_lsn_, fresh.last_lsn_);
}

} // namespace sapwood
