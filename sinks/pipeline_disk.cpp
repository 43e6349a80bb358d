// The part of a pipeline's consumer that deals with the disk: a batch is written, and synced as the
// durability says, however often that takes; what was not synced when a sync failed goes into a new
// segment.
#include "mistakes.hpp"
#include "pipeline_consumer.hpp"
#include "take_marks.hpp"

#include <sapwood/errors.hpp>

#include <algorithm>
#include <cerrno>
#include <exception>
#include <fmt/format.h>
#include <system_error>
#include <utility>

namespace sapwood {

using detail::makes;
using detail::mistake;

namespace {

/// Two operations of the ring cost two changes of threads: some 10 us, as much as 16 KiB cost.
constexpr std::size_t small_group_bytes_max = 16u << 10;

std::error_code reason_of(const std::exception_ptr& failure) {
    try {
        std::rethrow_exception(failure);
    } catch (const std::system_error& error) {
        return error.code();
    } catch (const std::bad_alloc&) {
        return std::make_error_code(std::errc::not_enough_memory);
    } catch (...) {
        return std::make_error_code(std::errc::io_error);
    }
}

} // namespace

/// Gives the batch that is written to the sink, if there is one, and has what is due synced.
/// Afterwards kept_ tells how much of the batch is in the file: all of it, or the log has failed.
task<> pipeline::consumer::deliver() {
    while (!failure_) {
        std::exception_ptr failure;
        watch_disk();
        try {
            co_await attempt();
        } catch (...) {
            failure = std::current_exception();
        }
        unset(stall_alarm_);
        if (!failure) {
            succeeded();
            co_return;
        }
        const std::error_code why = reason_of(failure);
        if (!tries_again(why)) {
            lose_unsynced();
            note_kept();
            fail(failure, why);
            co_return;
        }
        ++counts_.retries;
        try {
            std::rethrow_exception(failure);
        } catch (const std::exception& error) {
            degrade(why, error.what());
        } catch (...) {
            degrade(why, "an exception of unknown type");
        }
        const bool wants_memory = why == std::errc::not_enough_memory;
        if (wants_memory) {
            co_await yield(); // others may give back what is wanted
        }
        try {
            co_await sleep_for(wants_memory ? without_memory : next_delay());
        } catch (const std::bad_alloc&) {
            // No timer to be had: then at once.
        }
    }
    if (writing_->empty()) {
        unsynced_.clear(); // the log has failed: nobody waits for it any more
    }
}

task<> pipeline::consumer::attempt() {
    if (!is_poisoned_) {
        // A sync that fails poisons the file: the kernel says it once and then believes that all
        // is well.
        try {
            if (!sink_.is_unnamed()) { // nor is anything written to one that has no name yet
                co_await follow_file();
            }
            bool is_over = false;
            if (wants_segment()) {
                is_over = co_await begin_next_segment();
            }
            if (!is_over && !sink_.is_unnamed()) {
                co_await write_and_sync();
                is_over = true;
            }
            if (is_over) {
                co_return;
            }
        } catch (const sync_error& error) {
            is_poisoned_ = true;
            degrade(error.code(), error.what());
        }
    }
    if (makes(mistake::retry_sync)) {
        co_await sink_.datasync();
        is_poisoned_ = false;
        kept_ = writing_->bytes().size();
        note_written();
        note_durable();
        co_return;
    }
    co_await begin_segment();
}

/// Without memory the sync has more to do, and that is all.
task<> pipeline::consumer::begin_writeback() {
    try {
        if (durable_.is_none()) {
            co_await sink_.bound_cache(writeback_bytes_);
        } else {
            co_await sink_.begin_writeback(writeback_bytes_);
        }
    } catch (const std::bad_alloc&) {
    }
}

task<> pipeline::consumer::write_and_sync() {
    const auto began = loop_.now();
    if (durable_.is_none() && form_ == layout::numbered && kept_ == 0) {
        co_await mark_behind_cut();
    }
    do {
        file_end end = look_at_end();
        if (end == file_end::removed) [[unlikely]] {
            co_await leave_removed_file();
            end = look_at_end();
        }
        if (wants_sync_above(end)) [[unlikely]] {
            co_await sync_above(end);
            end = file_end::as_written;
        }
        if (is_small_group(end)) {
            co_await write_rest(end, !makes(mistake::acknowledge_before_sync));
            note_written();
        } else {
            co_await write_rest(end, false);
            note_written();
            if (!is_sync_due()) {
                co_await begin_writeback();
                keep_unsynced(); // behind all that may fail: it is done once
                co_return;
            }
            co_await sink_.datasync();
        }
    } while (has_lost_lines(look_at_end())); // what is acknowledged now is there now
    ++counts_.syncs;
    const auto took = loop_.now() - began;
    sync_takes_ = sync_takes_ == clock::duration() ? took : (7 * sync_takes_ + took) / 8;
    note_durable();
}

/// What others have done to the file. Where they have cut it, perhaps of this batch, all of that
/// comes once more.
file_end pipeline::consumer::look_at_end() {
    const file_end end = durable_.is_none() ? file_end::as_written : sink_.look_at_end();
    if (end == file_end::cut) {
        kept_ = 0;
    }
    if (end == file_end::in_doubt) {
        sink_.give_up();
    }
    return end;
}

/// Without a durability nothing comes again that somebody cuts off. But the next open must not take
/// what stands behind the piece of a line for damage, as it would where no mark is.
task<> pipeline::consumer::mark_behind_cut() {
    if (sink_.look_at_end() != file_end::cut) [[likely]] {
        co_return;
    }
    try {
        co_await sink_.end_cut_line();
        has_own_unsynced_ = false;
        writing_->mark();
    } catch (const sync_error&) { // nobody has asked for syncs: without a mark, then
    }
}

/// What is written into a file that nothing leads to is gone with this process.
task<> pipeline::consumer::leave_removed_file() {
    const auto reopened = sink_.counts().reopened;
    for (int look = 0; look < 2 && sink_.counts().reopened == reopened; ++look) {
        sink_.look_soon();
        co_await follow_file(); // perhaps what was to be told, without a look
    }
    if (sink_.counts().reopened == reopened) {
        kept_ = 0; // what it has of the batch is gone with it
        throw write_error(std::make_error_code(std::errc::no_such_file_or_directory),
                          fmt::format("{} was removed, and cannot be made anew", sink_.path()), 0);
    }
}

/// Whether lines of others, or of the log's own, stand above the batch, and are to be synced first,
/// so that it can be marked: recovery, which may find a piece of anything there, begins at the
/// mark.
bool pipeline::consumer::wants_sync_above(file_end end) const noexcept {
    const bool has_others = end == file_end::lengthened;
    return (has_others || (has_own_unsynced_ && end != file_end::cut)) && !durable_.is_none() &&
           form_ == layout::numbered && unsynced_.empty() && kept_ == 0 && !writing_->empty();
}

task<> pipeline::consumer::sync_above(file_end end) {
    if (end == file_end::lengthened) {
        co_await sink_.end_cut_line();
    } else {
        co_await sink_.datasync();
    }
    ++counts_.syncs;
    has_own_unsynced_ = false;
}

task<> pipeline::consumer::write_rest(file_end end, bool synced) {
    if (end == file_end::cut) {
        co_await find_in_cut_file();
    }
    if (rewrites_unsynced_) {
        co_await rewrite_unsynced();
    }
    const bool is_all_synced =
        unsynced_.empty() && !has_own_unsynced_ && end != file_end::lengthened;
    if (kept_ == 0 && is_all_synced && !durable_.is_none()) {
        writing_->mark();
    }
    const auto rest = writing_->bytes().subspan(kept_);
    try {
        if (synced) {
            co_await sink_.write_synced(rest);
        } else {
            co_await sink_.write(rest);
        }
    } catch (const write_error& error) {
        kept_ += error.bytes_kept;
        if (!makes(mistake::acknowledge_failed_write)) {
            throw;
        }
    }
    kept_ = writing_->bytes().size();
}

/// Somebody has cut the file, perhaps of what is not synced: that comes once more, and what is
/// there still, and on disk then, not a second time: a log's numbers do not begin again in a file.
task<> pipeline::consumer::find_in_cut_file() {
    const std::vector<lsn> present = co_await sink_.look_after_cut(durable.reached() + 1);
    has_own_unsynced_ = false;
    std::span<const lsn> others = present;
    unsynced_there_ = take_present(unsynced_, others);
    rewrites_unsynced_ = unsynced_there_ < unsynced_.size();
    if (!rewrites_unsynced_) {
        const auto lines = writing_->bytes();
        kept_ = take_present({lines.data(), lines.size()}, others);
    }
    if (!others.empty()) { // what is missing would stand behind higher numbers
        is_poisoned_ = true;
        sink_.give_up();
    }
    if (rewrites_unsynced_ && form_ == layout::numbered) {
        detail::take_marks(
            std::span(unsynced_).subspan(unsynced_there_)); // of a cut behind this one
        unsynced_[unsynced_there_ + numbered_line::mark_at] = numbered_line::mark;
    }
}

task<> pipeline::consumer::rewrite_unsynced() {
    try {
        co_await sink_.write(std::span(unsynced_).subspan(unsynced_there_));
    } catch (const write_error& error) {
        unsynced_there_ += error.bytes_kept;
        throw;
    }
    rewrites_unsynced_ = false;
}

/// Whether one operation is to write and to sync: worth it where the lines are few, or go past the
/// page cache anyway, and everything before them is on disk.
bool pipeline::consumer::is_small_group(file_end end) const noexcept {
    return durable_.is_batch() && end != file_end::lengthened && !writing_->empty() &&
           (sink_.is_preallocated() || writing_->bytes().size() <= small_group_bytes_max) &&
           unsynced_.empty() && !has_own_unsynced_ && kept_ == 0 && !written.has_waiters();
}

/// Everything that is not durable goes into a new file, which takes the place of the one that is.
task<> pipeline::consumer::begin_segment() {
    if (!unsynced_.empty()) {
        if (form_ == layout::numbered) {
            detail::take_marks(unsynced_); // of a cut in the file that was
            unsynced_[numbered_line::mark_at] = numbered_line::mark;
        }
    } else {
        writing_->mark();
    }
    const auto lines = writing_->bytes();
    const lsn next = next_in_file();
    const bool was_unnamed = sink_.is_unnamed();
    const int fd = sink_.fd();
    std::exception_ptr failure;
    try {
        co_await sink_.begin_segment(unsynced_, lines, next);
    } catch (const std::exception&) {
        failure = std::current_exception();
    }
    if (failure) { // another file may have the name: with the next attempt the log goes on there
        if ((was_unnamed || sink_.fd() != fd) && !sink_.is_unnamed()) {
            is_poisoned_ = true; // it has another name than the log's
        }
        const auto reopened = sink_.counts().reopened;
        log_news news = co_await sink_.reopen(next);
        if (sink_.counts().reopened != reopened) {
            is_poisoned_ = false;
            note_reopened();
            if (!news) { // which nobody is told who asks for it
                news =
                    log_news(level::info,
                             fmt::format("{} was renamed or removed; the log goes on in this file",
                                         sink_.path()));
            }
        }
        if (news) {
            untold_ = std::move(news);
        }
        std::rethrow_exception(failure);
    }
    is_poisoned_ = false;
    kept_ = lines.size();
    segment_retry_after_ = {};
    segment_at_ = {};
    ++counts_.segments_begun;
    ++counts_.syncs;
    if (has_lost_lines(sink_.look_at_end())) { // all of it comes once more
        throw std::system_error(
            std::make_error_code(std::errc::device_or_resource_busy),
            fmt::format("somebody has cut or removed {} as it was begun", sink_.path()));
    }
    note_written();
    note_durable();
}

/// The first number that another file of the log would have.
lsn pipeline::consumer::next_in_file() const noexcept {
    return (durable_.is_none() ? written : durable).reached() + 1;
}

bool pipeline::consumer::wants_segment() const noexcept {
    return segment_bytes_max_ != 0 && sink_.size() >= segment_bytes_max_ &&
           (!durable_.is_none() || form_ != layout::numbered) && kept_ == 0 && unsynced_.empty() &&
           !writing_->empty() && !sink_.is_unnamed() && loop_.now() >= segment_at_;
}

bool pipeline::consumer::is_sync_due() const noexcept {
    return has_unsynced() && (durable_.is_batch() || sync_is_due_ || no_more_ ||
                              unsynced_.size() + writing_->bytes().size() >= unsynced_bytes_max_);
}

bool pipeline::consumer::has_unsynced() const noexcept {
    return !durable_.is_none() && (!unsynced_.empty() || !writing_->empty());
}

void pipeline::consumer::note_written() noexcept {
    if (!writing_->empty()) {
        written.reach(writing_last_);
        records_in_file_ = records_in_file_before_ + writing_->records() - own_writing_;
        if (makes(mistake::acknowledge_before_sync)) {
            durable.reach(writing_last_);
        }
    }
}

void pipeline::consumer::note_durable() noexcept {
    sync_is_due_ = false;
    has_own_unsynced_ = false;
    unset(sync_alarm_);
    unsynced_.clear();
    rewrites_unsynced_ = false;
    unsynced_there_ = 0;
    if (!durable_.is_none()) {
        durable.reach(written.reached());
        counts_.records_durable = records_in_file_;
    }
}

/// Of a batch that is given up: lines that are in the file have got there.
void pipeline::consumer::note_kept() noexcept {
    if (form_ != layout::numbered || kept_ == 0) {
        return;
    }
    const std::string_view kept(writing_->bytes().data(), kept_ - 1); // without a newline
    const auto line = numbered_line::parse(kept.substr(kept.rfind('\n') + 1));
    if (line.place > written.reached()) {
        written.reach(line.place);
    }
}

/// The batch, whose memory is wanted for the next, may have to be written once more.
void pipeline::consumer::keep_unsynced() {
    if (durable_.is_none()) {
        return;
    }
    const auto lines = writing_->bytes();
    unsynced_.append(lines.data(), lines.size());
    set_alarm(sync_alarm_, durable_.at_most());
}

void pipeline::consumer::sync_is_due() noexcept {
    sync_is_due_ = true;
    has_work_.set();
}

/// Where the log goes on in another file, that one says so, if its lines are ours to make; and gets
/// what the one that was may not have on disk.
task<> pipeline::consumer::follow_file() {
    if (untold_) {
        co_await tell(untold_);
        untold_ = log_news();
    }
    if (!sink_.follow_is_due()) {
        co_return;
    }
    const auto reopened = sink_.counts().reopened;
    const log_news news = co_await sink_.follow(next_in_file());
    if (sink_.counts().reopened != reopened && !durable_.is_none()) {
        note_reopened();
    }
    if (news) {
        co_await tell(news);
    }
}

void pipeline::consumer::note_reopened() noexcept {
    kept_ = 0;
    rewrites_unsynced_ = !unsynced_.empty();
    unsynced_there_ = 0;
    if (form_ == layout::numbered) {
        detail::take_marks(unsynced_); // which were true in the file that was
    }
}

} // namespace sapwood
