// The part of a durable_writer that deals with the disk: a batch is written, and synced as its
// durability says; what was not synced when a sync failed goes into a new segment.
#include "durable_writer.hpp"

#include "mistakes.hpp"
#include "take_marks.hpp"

#include <sapwood/event_loop.hpp>
#include <sapwood/shield.hpp>

#include <algorithm>
#include <exception>
#include <fmt/format.h>
#include <new>
#include <system_error>
#include <utility>

namespace sapwood::detail {

namespace {

/// Two operations of the ring cost two changes of threads: some 10 us, as much as 16 KiB cost.
constexpr std::size_t small_batch_bytes_max = 16u << 10;

} // namespace

task<> durable_writer::attempt() {
    if (is_child_) {
        crash_.begin_write(text_.data(), 0);
        try {
            co_await file_.write(text_);
        } catch (const write_error& error) {
            keep(error.bytes_kept);
            throw;
        }
        co_return;
    }
    if (file_.is_unnamed()) {
        co_await take_name();
    }
    if (!is_poisoned_) {
        // A sync that fails poisons the file: the kernel says it once and then believes that all
        // is well.
        try {
            co_await write_and_sync();
            co_return;
        } catch (const sync_error&) {
            is_poisoned_ = true;
        } catch (const std::exception&) {
            // Other lines may get the numbers that these have, which are in the file.
            is_poisoned_ = is_poisoned_ || (is_numbered_ && is_text_written_);
            throw;
        }
    }
    if (makes(mistake::retry_sync)) {
        co_await file_.datasync();
        is_poisoned_ = false;
        keep(text_.size());
        note_durable();
        co_return;
    }
    co_await begin_segment();
}

task<> durable_writer::write_and_sync() {
    for (;;) {
        const file_end end = co_await settle_end();
        if (rewrites_unsynced_) {
            co_await rewrite_unsynced();
        }
        bool is_synced = true;
        if (text_.empty()) {
            if (!unsynced_.empty()) {
                co_await file_.datasync();
            }
            require_alone();
        } else {
            is_synced = co_await write_text(end);
        }
        if (!is_synced) {
            co_return; // it is not due
        }
        if (!has_lost_lines(file_.look_at_end())) { // what is acknowledged now is there now
            keep(text_.size());
            note_durable();
            co_return;
        }
    }
}

task<> durable_writer::rewrite_unsynced() {
    require_alone();
    try {
        co_await file_.write(std::span(unsynced_).subspan(unsynced_there_));
    } catch (const write_error& error) {
        unsynced_there_ += error.bytes_kept;
        throw;
    }
    rewrites_unsynced_ = false;
}

/// Looks at what others have done to the file, and goes on from there.
task<file_end> durable_writer::settle_end() {
    file_end end = file_.look_at_end();
    if (end == file_end::removed) {
        co_await leave_removed_file();
        end = file_.look_at_end();
    }
    if (end == file_end::lengthened && is_numbered_ && unsynced_.empty() && !text_.empty()) {
        // Synced first, so that the batch can be marked: recovery, which may find a piece of
        // anything there, begins at the mark.
        co_await file_.end_cut_line();
        end = file_end::as_written;
    }
    if (end == file_end::cut) {
        co_await find_in_cut_file();
    }
    co_return end;
}

/// Somebody has cut the file, perhaps of what is not synced: that comes once more, and what is
/// there still, and on disk then, not a second time: a log's numbers do not begin again in a file.
task<> durable_writer::find_in_cut_file() {
    const std::vector<lsn> present = co_await file_.look_after_cut(durable_last_ + 1);
    require_alone();
    std::span<const lsn> others = present;
    unsynced_there_ = take_present(unsynced_, others);
    text_there_ = unsynced_there_ == unsynced_.size() ? take_present(text_, others) : 0;
    if (!others.empty()) { // what is missing would stand behind higher numbers
        is_poisoned_ = true;
        file_.give_up();
    }
    rewrites_unsynced_ = unsynced_there_ < unsynced_.size();
    if (is_numbered_ && rewrites_unsynced_) {
        take_marks(std::span(unsynced_).subspan(unsynced_there_)); // of a cut behind this one
        unsynced_[unsynced_there_ + numbered_line::mark_at] = numbered_line::mark;
    }
}

/// What is written into a file that nothing leads to is gone with this process.
task<> durable_writer::leave_removed_file() {
    const auto reopened = file_.counts().reopened;
    for (int look = 0; look < 2 && file_.counts().reopened == reopened; ++look) {
        file_.look_soon();
        log_news news =
            co_await file_.follow(durable_last_ + 1); // perhaps what was to be told, without a look
        if (news) {
            news_ = std::move(news);
        }
    }
    if (file_.counts().reopened == reopened) {
        throw write_error(std::make_error_code(std::errc::no_such_file_or_directory),
                          fmt::format("{} was removed, and cannot be made anew", file_.path()), 0);
    }
    note_reopened();
}

void durable_writer::note_reopened() noexcept {
    is_poisoned_ = false;
    rewrites_unsynced_ = !unsynced_.empty();
    unsynced_there_ = 0;
    if (is_numbered_) {
        take_marks(unsynced_); // which were true in the file that was
    }
    text_there_ = 0;
    is_changed_in_crash_ = is_taken_over();
}

/// Writes the batch, and has it synced if that is due, which it returns.
task<bool> durable_writer::write_text(file_end end) {
    const bool is_all_synced = unsynced_.empty() && end != file_end::lengthened;
    const bool is_small =
        durable_.is_batch() && is_all_synced && text_.size() <= small_batch_bytes_max;
    if (is_numbered_ && is_all_synced && text_there_ == 0) {
        mark_text();
    }
    const auto rest = std::span(text_).subspan(text_there_);
    crash_.begin_write(text_.data(), 0, text_there_);
    require_alone();
    try {
        if (is_small && !makes(mistake::acknowledge_before_sync)) {
            co_await file_.write_synced(rest);
        } else {
            co_await file_.write(rest);
        }
    } catch (const write_error& error) {
        const std::size_t kept = text_there_ + error.bytes_kept;
        unsynced_.append(text_, 0, kept);
        keep(kept);
        if (!unsynced_.empty()) {
            sync_at_ = std::min(sync_at_, event_loop::current().now());
        }
        if (!makes(mistake::acknowledge_failed_write)) {
            throw;
        }
        keep(text_.size());
        co_return false;
    }
    is_text_written_ = true;
    require_alone_with_text();
    if (is_small) {
        co_return true;
    }
    const clock::time_point now = event_loop::current().now();
    if (durable_.is_batch() || now >= sync_at_ ||
        unsynced_.size() + text_.size() >= unsynced_bytes_max_) {
        if (!makes(mistake::acknowledge_before_sync)) {
            co_await file_.datasync();
        }
        require_alone_with_text();
        co_return true;
    }
    unsynced_.append(text_);
    keep(text_.size());
    sync_at_ = std::min(sync_at_, saturating_add(now, durable_.at_most()));
    try { // they are kept: whatever becomes of it the next sync tells
        co_await file_.begin_writeback(writeback_bytes_);
    } catch (const std::bad_alloc&) { // that has more to do, and that is all
    }
    co_return false;
}

task<log_news> durable_writer::follow(bool asked) {
    if (crash_.is_taken_over() && !is_child_) {
        log_news news = std::exchange(news_, log_news());
        try {
            co_await settle();               // which follows, too
        } catch (const std::system_error&) { // as the next write will say
        }
        co_return news ? news : std::exchange(news_, log_news());
    }
    log_news seen;
    const auto reopened = file_.counts().reopened;
    if (asked) {
        seen = co_await file_.reopen(durable_last_ + 1);
    } else if (file_.follow_is_due()) {
        seen = co_await file_.follow(durable_last_ + 1);
    }
    if (file_.counts().reopened != reopened) {
        note_reopened();
    }
    if (news_) { // which does not keep it from looking
        co_return std::exchange(news_, std::move(seen));
    }
    co_return seen;
}

task<> durable_writer::sync() {
    const auto shielded = co_await shield();
    co_await settle();
    if (is_child_ || (unsynced_.empty() && !file_.is_unnamed())) {
        co_return;
    }
    text_.clear();
    kept_ = 0;
    text_there_ = 0;
    co_await attempt();
}

/// Lines of others at the end of a file that is set aside are on disk as those of ours are.
task<> durable_writer::sync_others() {
    try {
        co_await file_.end_cut_line();
    } catch (const sync_error&) {
        is_poisoned_ = true;
        throw;
    }
}

/// Everything that is not durable goes into a new file, which takes the place of the one that is.
task<> durable_writer::begin_segment() {
    if (is_numbered_ && unsynced_.empty()) {
        mark_text();
    } else if (is_numbered_) {
        take_marks(unsynced_); // of a cut in the file that was
        unsynced_[numbered_line::mark_at] = numbered_line::mark;
    }
    crash_.end_write(); // to the file that was
    require_alone();
    std::exception_ptr failure;
    try {
        co_await file_.begin_segment(unsynced_, text_, durable_last_ + 1);
    } catch (const std::exception&) {
        if (!file_.is_unnamed()) {
            throw;
        }
        failure = std::current_exception();
    }
    is_poisoned_ = false;
    is_changed_in_crash_ = is_taken_over();
    require_alone_with_text();
    if (failure || has_lost_lines(file_.look_at_end())) {
        // The lines are in the new file, which has yet to get its name, or come once more.
        unsynced_.append(text_);
        keep(text_.size());
        sync_at_ = clock::time_point::min();
        if (failure) {
            std::rethrow_exception(failure);
        }
        throw std::system_error(
            std::make_error_code(std::errc::device_or_resource_busy),
            fmt::format("somebody has cut or removed {} as it was begun", file_.path()));
    }
    keep(text_.size());
    note_durable();
}

/// The file that is open is to get the log's name.
task<> durable_writer::name_segment() {
    try {
        co_await file_.begin_segment({}, {}, lsn::none); // of which it does the rest only
    } catch (const std::exception&) {
        // Somebody has taken it away. It is not the log's any more, whatever name it has later.
        is_poisoned_ = is_poisoned_ || !file_.is_unnamed();
        throw;
    }
}

/// What was not synced is in the file that is to get the log's name, and on disk.
task<> durable_writer::take_name() {
    co_await name_segment();
    if (!has_lost_lines(file_.look_at_end())) {
        note_durable();
    }
}

} // namespace sapwood::detail
