#include "pipeline_consumer.hpp"

#include <sapwood/errors.hpp>
#include <sapwood/say.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <string_view>

namespace sapwood {

namespace {

/// Records that the consumer takes in one visit to the channel: enough to make the visit cheap,
/// few enough that a batch is not much longer than it should be.
constexpr std::size_t records_per_visit = 128;

/// At the end, without memory: some 5 s in all.
constexpr int close_tries_max = 500;

/// Two logs that begin together do not try again together.
std::uint64_t seed_from(const event_loop& loop) noexcept {
    return static_cast<std::uint64_t>(loop.now().time_since_epoch().count());
}

/// What a line of the log's own ends with, and no escaping can make of somebody else's.
constexpr std::string_view own_end = " \\(log)\n";

std::uint64_t own_lines_in(std::string_view text) noexcept {
    std::uint64_t own = 0;
    for (auto at = text.find(own_end); at != text.npos; at = text.find(own_end, at + 1)) {
        ++own;
    }
    return own;
}

/// A record of the log's own: `text \(log)`.
record own_record(level importance, std::string_view text) {
    constexpr std::string_view sign = own_end.substr(0, own_end.size() - 1);
    return {importance, 0, text.size() + sign.size(), true, [&](char* to) noexcept {
                to += text.copy(to, text.size());
                sign.copy(to, sign.size());
            }};
}

} // namespace

pipeline::consumer::consumer(file_sink sink, const pipeline_options& options)
    : loop_(event_loop::current()),
      linger_(options.linger),
      form_(options.form),
      durable_(options.durable),
      refused_(options.refused),
      give_up_after_(options.give_up_after),
      unsynced_bytes_max_(options.unsynced_bytes_max),
      writeback_bytes_(options.writeback_bytes),
      segment_bytes_max_(options.segment_bytes_max),
      queue(options.queue_records),
      written(sink.last_lsn()),
      durable(sink.last_lsn()),
      sink_(std::move(sink)),
      numbers_(sink_.last_lsn() + 1),
      one_(options.batch_bytes, form_, &numbers_),
      other_(options.batch_bytes, form_, &numbers_),
      opened_at_(sink_.last_lsn()),
      losses_told_(opened_at_),
      delay_({.first = std::chrono::milliseconds(10), .longest = std::chrono::seconds(1)},
             seed_from(loop_)) {
    sink_.tell_torn();
}

void pipeline::consumer::start(const std::shared_ptr<consumer>& self) {
    spawn_shielded(collect(self), *self).detach();
    try {
        spawn_shielded(write_out(self), *self).detach();
    } catch (...) {
        self->queue.close(); // ends collect
        throw;
    }
}

void pipeline::consumer::end() noexcept {
    if (!is_ending_) {
        is_ending_ = true;
        ends_at_ = saturating_add(loop_.now(), give_up_after_);
    }
    queue.close();
    batch_taken_.set(); // who waits for room looks again
}

task<> pipeline::consumer::flush(std::shared_ptr<consumer> self) {
    consumer& me = *self;
    // What other threads have sent takes turns with records that come later: counting it is not
    // enough.
    me.queue.note_pending();
    while (!me.queue.noted_are_in()) {
        co_await me.batch_done_.wait();
    }
    const lsn told_before = me.losses_told_;
    const lsn last = me.accepted();
    const std::uint64_t target =
        me.records_done_ + me.queue.unfinished() + me.direct_filling_ + me.direct_writing_;
    while (me.records_done_ < target) {
        co_await me.batch_done_.wait();
    }
    me.rethrow_failure();
    if (me.written.has_lost({told_before + 1, last})) {
        me.losses_told_ = std::max(me.losses_told_, last);
        throw std::system_error(errc::lost,
                                fmt::format("flush {}: not all of its records are in it, some were "
                                            "dropped or there was no memory for them",
                                            me.sink_.path()));
    }
}

task<> pipeline::consumer::close(std::shared_ptr<consumer> self) {
    consumer& me = *self;
    me.is_close_awaited_ = true;
    me.end();
    co_await me.finished_.wait();
    me.rethrow_failure();
}

task<> pipeline::consumer::room_now(std::shared_ptr<consumer> self) {
    consumer& me = *self;
    while (me.full() && !me.queue.is_closed() && !me.refusal()) {
        me.batch_taken_.reset();
        co_await me.batch_taken_.wait();
    }
}

pipeline_counts pipeline::consumer::counts() const noexcept {
    pipeline_counts now = counts_;
    now.queued = queue.size();
    now.accepted = accepted();
    now.written = written.reached();
    now.durable = durable.reached();
    now.torn_bytes = sink_.torn_bytes();
    now.records_accepted = to_number(now.accepted) - to_number(opened_at_);
    now.records_written_only = records_in_file_ - now.records_durable;
    now.records_in_flight = now.records_accepted - records_in_file_ - now.records_lost;
    return now;
}

// --- from the channel into the batch ---

task<> pipeline::consumer::collect(std::shared_ptr<consumer> self) {
    consumer& me = *self;
    for (;;) {
        while (me.full()) {
            me.batch_taken_.reset();
            co_await me.batch_taken_.wait();
        }
        if (!(co_await as_result(me.queue.receive_many(me, records_per_visit)))) {
            break; // closed and drained
        }
        me.has_work_.set();
        if (me.full()) {
            me.gather_no_longer();
        }
    }
    me.no_more_ = true;
    me.has_work_.set();
    me.gather_no_longer();
}

lsn pipeline::consumer::append_now(const record_view& item) noexcept {
    // What is in the channel has been accepted before.
    if (!queue.empty() || queue.is_closed() || filling_->full() || may_drop_ || gap_count_ != 0)
        [[unlikely]] {
        return lsn::none;
    }
    const lsn place = numbers_.next();
    try {
        filling_->push_back(item);
    } catch (const std::bad_alloc&) {
        return lsn::none;
    }
    ++counts_.records;
    ++direct_filling_;
    has_work_.set();
    if (filling_->full()) {
        gather_no_longer();
    }
    return place;
}

/// It takes its number, and nothing else.
void pipeline::consumer::lose(const record& item) noexcept {
    ++records_unrendered_;
    ++counts_.records_lost;
    counts_.lines_lost += filling_->lines_of(item);
    const detail::lsn_range lost{numbers_.next(), numbers_.next()};
    numbers_.skip();
    written.lose(lost);
    durable.lose(lost);
    if (form_ == layout::numbered || may_drop_) {
        gap_reason_ =
            may_drop_ ? health_.reason : std::make_error_code(std::errc::not_enough_memory);
        gap_last_ = lost.last;
        ++gap_count_;
    }
}

/// Puts a line that tells of what was lost into the batch, under the number of the last lost
/// record. False where there is no memory for it.
bool pipeline::consumer::tell_gap() noexcept {
    if (form_ != layout::verbatim) {
        try {
            const auto last = to_number(gap_last_);
            const std::string why = gap_reason_.message();
            record line = own_record(
                level::warning,
                gap_count_ == 1 ? fmt::format("1 record is missing here, number {}: {}", last, why)
                                : fmt::format("{} records are missing here, numbers {} to {}: {}",
                                              gap_count_, last - gap_count_ + 1, last, why));
            numbers_.set(gap_last_);
            filling_->push_back(std::move(line));
            ++own_filling_;
        } catch (...) {
            numbers_.set(gap_last_ + 1);
            return false;
        }
    }
    gap_count_ = 0;
    return true;
}

// --- from the batch to the sink ---

task<> pipeline::consumer::write_out(std::shared_ptr<consumer> self) {
    consumer& me = *self;
    for (;;) {
        co_await me.has_work_.wait();
        if (me.filling_->empty()) {
            if (me.gap_count_ != 0 && me.tell_gap()) {
                continue; // it is in the batch
            }
            me.done(std::exchange(me.records_unrendered_, 0));
            if (!me.has_unsynced() || !(me.sync_is_due_ || me.no_more_)) {
                if (me.no_more_) {
                    break;
                }
                me.has_work_.reset();
                continue;
            }
        } else {
            try {
                co_await me.gather();
            } catch (const std::bad_alloc&) { // for its frame, or a timer: then at once
            }
            me.take_batch();
        }
        for (bool has_ended = false; !has_ended;) {
            try {
                co_await me.deliver();
                has_ended = true;
            } catch (const std::bad_alloc&) { // for its frame: it had not begun
            }
            if (!has_ended) {
                co_await yield(); // others may give back what is wanted
                try {
                    co_await sleep_for(without_memory);
                } catch (const std::bad_alloc&) { // for a timer: then at once
                }
            }
        }
        me.account(me.kept_);
    }
    bool is_closed = false;
    for (int tries = 0; !is_closed && tries < close_tries_max; ++tries) {
        try {
            co_await me.close_sink();
            is_closed = true;
        } catch (const std::bad_alloc&) { // the same
        }
        if (is_closed) {
            break;
        }
        co_await yield();
        try {
            co_await sleep_for(without_memory);
        } catch (const std::bad_alloc&) { // the same
        }
    }
    if (!is_closed) {
        me.fail(std::make_exception_ptr(std::bad_alloc()),
                std::make_error_code(std::errc::not_enough_memory));
    }
    me.report_loss();
    me.finished_.set();
}

/// Lets the batch fill until it is full, until nobody has anything else to do, or until the linger
/// is over.
task<> pipeline::consumer::gather() {
    if (full() || no_more_) {
        co_return;
    }
    // While a sync was under way those who waited for it have filled the next batch; to wait for
    // longer than part of another sync gains nothing.
    auto quiet = idle(durable_.is_batch() ? std::min(linger_, sync_takes_ / 2) : linger_);
    gathering_ = &quiet;
    try {
        co_await quiet;
    } catch (const std::bad_alloc&) {
        // No timer to be had: then at once.
    }
    gathering_ = nullptr;
}

void pipeline::consumer::gather_no_longer() noexcept {
    if (gathering_ != nullptr) {
        gathering_->wake();
    }
}

void pipeline::consumer::take_batch() noexcept {
    std::swap(filling_, writing_);
    own_writing_ = std::exchange(own_filling_, 0);
    direct_writing_ = std::exchange(direct_filling_, 0);
    writing_last_ = numbers_.next() + static_cast<std::uint64_t>(-1);
    kept_ = 0;
    batch_taken_.set();
}

/// How many records of the batch that is written are in its first `kept` bytes, which are whole
/// lines; of records with more lines than one, all or none.
std::uint64_t pipeline::consumer::records_within(std::size_t kept) const noexcept {
    const std::size_t records = writing_->records() - own_writing_;
    if (kept == writing_->bytes().size()) [[likely]] {
        return records;
    }
    if (writing_->lines() != writing_->records()) {
        return 0;
    }
    const std::string_view text(writing_->bytes().data(), kept);
    return writing_->lines_within(kept) - (own_writing_ > 0 ? own_lines_in(text) : 0);
}

/// When the log is given up: what was in a file that was removed, of earlier batches and of this
/// one, or was to come again, has not come.
void pipeline::consumer::lose_unsynced() noexcept {
    const bool is_removed = sink_.look_at_end() == file_end::removed;
    if (is_removed && !durable_.is_none()) {
        kept_ = 0;
    }
    if (unsynced_.empty() || (!is_removed && !rewrites_unsynced_)) {
        return;
    }
    const std::string_view lines(unsynced_);
    const std::string_view there = lines.substr(0, is_removed ? 0 : unsynced_there_);
    const auto gone = lines.substr(there.size());
    const auto lines_lost = static_cast<std::uint64_t>(std::ranges::count(gone, '\n'));
    const std::uint64_t all = records_in_file_before_ - counts_.records_durable;
    // Of records that may have more lines than one, all.
    const std::uint64_t lost =
        form_ == layout::verbatim ? all : std::min(all, lines_lost - own_lines_in(gone));
    records_in_file_ = records_in_file_before_ -= lost;
    counts_.records_lost += lost;
    counts_.lines_lost += lines_lost;
    counts_.lines_written -= lines_lost;
}

/// The batch has been given to the sink, which has `kept` bytes of it.
void pipeline::consumer::account(std::size_t kept) noexcept {
    const std::size_t lines_kept = writing_->lines_within(kept);
    const std::uint64_t records = writing_->records() - own_writing_;
    const std::uint64_t records_kept = records_within(kept);
    records_in_file_ = records_in_file_before_ += records_kept;
    counts_.records_lost += records - records_kept;
    counts_.bytes_written += kept;
    counts_.lines_written += lines_kept;
    counts_.lines_lost += writing_->lines() - lines_kept;
    counts_.batches_written += kept > 0 ? 1 : 0;
    const std::size_t direct = std::exchange(direct_writing_, 0);
    records_done_ += direct;
    done(writing_->records() - std::exchange(own_writing_, 0) - direct +
         std::exchange(records_unrendered_, 0));
    writing_->clear();
    kept_ = 0;
}

void pipeline::consumer::done(std::size_t records) noexcept {
    records_done_ += records;
    queue.task_done(records);
    batch_done_.set();
    batch_done_.reset(); // whoever waits for more looks and waits again
}

task<> pipeline::consumer::close_sink() {
    unset(sync_alarm_);
    try {
        co_await sink_.close();
    } catch (const std::bad_alloc&) {
        throw; // it is tried again: of what is in the file nothing has failed
    } catch (...) {
        fail(std::current_exception(), std::make_error_code(std::errc::io_error));
    }
    // Nothing comes any more: who waits for more than there is has waited in vain.
    written.end(errc::closed);
    durable.end(errc::closed);
}

/// From now on nothing is written; producers are told, and who waits for a receipt.
void pipeline::consumer::fail(std::exception_ptr failure, std::error_code code) noexcept {
    if (!failure_) {
        failure_ = std::move(failure);
        written.end(code);
        durable.end(code);
    }
    queue.close(code);
    batch_taken_.set();
}

void pipeline::consumer::report_loss() const noexcept {
    const bool nobody_knows = failure_ && !is_close_awaited_;
    if (counts_.lines_lost == 0 && !nobody_knows) {
        return;
    }
    try {
        std::string why = "out of memory for " + sink_.path();
        try {
            rethrow_failure();
        } catch (const std::exception& failure) {
            why = failure.what();
        }
        const auto message = fmt::format("{}; {} lines were lost", why, counts_.lines_lost);
        if (on_loss_) {
            on_loss_(message);
        } else {
            detail::say(message);
        }
    } catch (...) {
        std::array<char, 64> text;
        const auto made = fmt::format_to_n(text.data(), text.size(), "{} log lines were lost",
                                           counts_.lines_lost);
        detail::say({text.data(), std::min(made.size, text.size())});
    }
}

/// A line without a number: those that come next are taken.
task<> pipeline::consumer::write_own_line(level importance, std::string text) {
    line_head none(lsn::none);
    batch line(text.size(), form_, &none);
    if (form_ == layout::numbered) {
        line.push_back(own_record(importance, text));
    } else {
        line.push_back(record(importance, 0, text));
    }
    has_own_unsynced_ = true;
    try {
        co_await sink_.write(line.bytes());
    } catch (const write_error&) {
        // The batch meets the same failure, and tells of it.
    }
}

} // namespace sapwood
