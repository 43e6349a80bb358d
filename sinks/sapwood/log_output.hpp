// One output of a log: a sink, what it is to be given, and in which form. Records are rendered into
// one batch while the sink writes the other. A sink that fails is tried again; other outputs do not
// notice. On the consumer's loop only.
#pragma once

#include <sapwood/clock.hpp>
#include <sapwood/event.hpp>
#include <sapwood/log_counter.hpp>
#include <sapwood/log_record.hpp>
#include <sapwood/log_restraint.hpp>
#include <sapwood/log_sink.hpp>
#include <sapwood/log_stats.hpp>
#include <sapwood/log_visits.hpp>
#include <sapwood/recent_lines.hpp>
#include <sapwood/shared_health.hpp>
#include <sapwood/task.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <system_error>

namespace sapwood {

struct log_output_options {
    /// Where to.
    std::unique_ptr<log_sink> sink;

    /// How; the sink's default_form() where there is none.
    std::unique_ptr<log_layout> form = nullptr;

    /// Records below it are not for this output. A line that says that records are missing always
    /// is, since nobody knows which they were.
    level at_least = level::trace;

    /// Nor those that it says no to. Called on the consumer's thread. Where it throws, the record
    /// is written.
    std::function<bool(const log_record&)> filter = {};

    /// A batch goes to the sink when it has this many bytes, or a little more. There are two. While
    /// both are full, other outputs wait, unless this one fails.
    std::size_t batch_bytes = 256u << 10;

    /// A sink whose write takes longer than this counts as failing: a hung disk, a peer that does
    /// not read.
    clock::duration stuck_after = std::chrono::seconds(1);

    /// Records that are too low for it, kept for when an error comes.
    log_recent recent = {};

    /// How many records it takes at most, and whether it takes repetitions.
    log_limits limits = {};
};

namespace detail {

/// Counted on the consumer's loop, read anywhere.
struct log_output_counts {
    log_counter lines_written;
    log_counter bytes_written;
    log_counter lines_lost;
    log_counter lines_unwanted;
    log_counter lines_held_back;
    log_counter notes;
    log_counter failures;
    std::array<log_counter, log_write_times::bounds.size() + 1> write_times;
    log_counter write_ns_sum;
    log_counter write_ns_max;

    void note_write(clock::duration took) noexcept;
};

/// Lines on their way to the sink, and how far they have come.
struct log_batch {
    explicit log_batch(std::size_t capacity) : text(capacity) {}

    log_buffer text;
    /// So many bytes in front the sink has, or a signal handler has had them written.
    std::size_t done = 0;
    /// Behind them.
    std::uint64_t lines = 0;
    /// Lines of it say of so many records that they are missing.
    std::uint64_t missing = 0;
    /// A signal handler has had the rest written, while the sink was at it; or so many bytes of it.
    bool is_saved = false;
    std::size_t saved = 0;

    [[nodiscard]] std::size_t size() const noexcept { return text.size() - done; }

    [[nodiscard]] bool empty() const noexcept { return size() == 0; }

    [[nodiscard]] std::string_view rest() const noexcept { return text.text().substr(done); }

    void cut(std::size_t to) noexcept {
        text.cut(to);
        done = std::min(done, to);
    }

    void clear() noexcept {
        done = 0;
        text.cut(0);
        lines = 0;
        missing = 0;
        is_saved = false;
        saved = 0;
    }
};

/// Why a record that an output was to have is not there.
enum class log_loss : std::uint8_t { no_room, no_form, no_handler, count };

class log_output final : private log_restraint::teller {
  public:
    /// `may_block`, and where the sink is durable: while the sink fails, what is there is kept and
    /// no more is taken, so that the rings fill. Otherwise, for one of several outputs, lines are
    /// dropped then, and counted.
    log_output(log_output_options options, bool may_block);

    /// Opens the sink. Throws what it threw.
    [[nodiscard]] task<> open();

    /// The same in a forked child, for an output made of what hand_over() gave.
    [[nodiscard]] task<> open_in_child();

    /// In a forked child, for another output in this one's place, which is not used any more.
    [[nodiscard]] log_output_options hand_over() noexcept;

    [[nodiscard]] bool may_block() const noexcept { return may_block_; }

    /// Whether there is room for more.
    [[nodiscard]] bool full() const noexcept { return filling().size() >= batch_bytes_; }

    /// It is full, and worth waiting for: always where it is the only one, until it is to be given
    /// up; otherwise as long as it does not fail.
    [[nodiscard]] bool must_wait() const noexcept {
        return full() && !((gives_up_ || !may_block_) && is_failing() && !waits_at_end());
    }

    /// From now on nobody waits for a sink that fails, but some seconds where it may pass.
    void give_up() noexcept;

    [[nodiscard]] std::size_t batch_bytes() const noexcept { return batch_bytes_; }

    // --- in a log_visit ---

    /// In their order. What cannot be rendered is counted as lost.
    void append(std::span<const log_record> records) noexcept;

    /// Writes the records that it keeps now.
    void dump_recent() noexcept;

    /// Tells what was held back until now; at the end of time, all.
    void tell_held_back(clock::time_point now) noexcept;

    /// When that has to be done; the end of time where nothing is held back.
    [[nodiscard]] clock::time_point tells_at() const noexcept {
        return restraint_ != nullptr ? restraint_->due() : clock::time_point::max();
    }

    /// Has what is in the batch written as soon as the sink is free.
    void push() noexcept;

    // --- at any time ---

    /// Nothing is left to write or to be done, or the sink fails; but for what may pass where the
    /// log ends.
    [[nodiscard]] bool settled() const noexcept {
        return (is_failing() && !failure_may_pass()) ||
               (filling().empty() && !is_writing_ && !asked_ && !is_tending_ && !is_sync_asked_);
    }

    /// The sink is asked for something, which is done before the next write.
    void ask(log_sink_requests what) noexcept;

    /// What it has taken is to survive the machine.
    [[nodiscard]] bool is_durable() const noexcept { return sink_->is_durable(); }

    /// Lost, or not to be had on disk any more.
    [[nodiscard]] std::uint64_t lines_lost() const noexcept {
        return counts_.lines_lost + sink_->lines_stranded();
    }

    /// Has the sink do so with all that it was given.
    void ask_to_sync() noexcept {
        is_sync_asked_ = true;
        work_.set();
    }

    /// Its last write failed, or what is under way takes longer than stuck_after.
    [[nodiscard]] bool is_failing() const noexcept {
        return failure_ || ((is_writing_ || is_tending_) && waited_ > stuck_after_);
    }

    [[nodiscard]] clock::duration stuck_after() const noexcept { return stuck_after_; }

    /// To be called now and then, with the time of the loop's turn, at best every look_after():
    /// only here it is noticed that the sink is stuck. No more than that counts at a time, since a
    /// loop that did not run, because the process was stopped or had no processor, could not have
    /// seen that the sink was done.
    void look(clock::time_point now) noexcept {
        waited_ += std::min(std::max(now - looked_, clock::duration::zero()), look_after());
        looked_ = now;
        if (has_sink_ && waited_ > stuck_after_) [[unlikely]] {
            note_stuck();
        }
    }

    /// The end of time where nothing is under way, or it is known to be stuck.
    [[nodiscard]] clock::duration look_after() const noexcept {
        return (is_writing_ || is_tending_) && waited_ <= stuck_after_
                   ? stuck_after_ / looks + clock::duration(1)
                   : clock::duration::max();
    }

    /// What its form wants records to carry.
    [[nodiscard]] bool wants_location() const noexcept { return form_->wants_location(); }

    [[nodiscard]] bool wants_task() const noexcept { return form_->wants_task(); }

    [[nodiscard]] bool wants_site() const noexcept { return limits_.each_call_site.records > 0; }

    /// Records from this level on are to be made for it, whatever the loggers' levels are.
    [[nodiscard]] level keeps_from() const noexcept {
        return recent_ != nullptr ? recent_options_.at_least : level::off;
    }

    /// The writing coroutine: runs until stop() and all is written. `progress` is set whenever it
    /// has got on. Nothing that a sink, a form or a filter throws ends it.
    [[nodiscard]] task<> write_out(event& progress, log_visits& visits);

    /// What is there is still written, or, where the sink fails, lost and reported.
    void stop() noexcept;

    // --- crash: async-signal-safe, while the consumer does nothing ---

    /// Of the records that it is being given, those that it is done with.
    [[nodiscard]] std::size_t taken() const noexcept { return taken_; }

    /// It is not to go on with those that it is being given, should the process survive.
    void stop_taking_in_crash() noexcept { taken_ = stopped; }

    /// Has the sink write what was rendered and is not written, each batch once. Where it cannot,
    /// the batch stays as it is, in case that the process survives; with `is_exit` it is lost.
    void write_batches_in_crash(bool is_exit = false) noexcept;

    /// What it keeps (log_recent), to be written once; null where there is nothing.
    [[nodiscard]] const recent_lines* take_recent_in_crash() noexcept {
        if (recent_ == nullptr || recent_->lines() == 0 || is_recent_saved_) {
            return nullptr;
        }
        is_recent_saved_ = true;
        return recent_.get();
    }

    /// So many lines that were never in a batch.
    void write_in_crash(std::span<const char> text, std::uint64_t lines) noexcept;

    /// A record was taken that is not for it.
    void count_unwanted_in_crash() noexcept { ++counts_.lines_unwanted; }

    /// Lines of its own come.
    void count_notes_in_crash(std::uint64_t lines) noexcept { counts_.notes += lines; }

    [[nodiscard]] crash_form form_in_crash() const noexcept { return form_->in_crash(); }

    /// Whether a record is for it; one that is made to be kept for an error is for who keeps such.
    [[nodiscard]] bool wants(const log_record& record) const noexcept {
        return takes(record) || keeps(record);
    }

    /// Any thread. `in_flight` is the caller's to add.
    [[nodiscard]] log_output_stats stats() const;

  private:
    [[nodiscard]] bool takes_all(std::span<const log_record> records) const noexcept;
    /// So often it must be seen at work before it is stuck.
    static constexpr int looks = 4;
    static constexpr std::size_t nowhere = static_cast<std::size_t>(-1);
    static constexpr std::size_t stopped = nowhere / 2; // taken_: more than there are

    [[nodiscard]] bool takes(const log_record& record) const noexcept {
        return (record.importance >= at_least_ || record.missing > 0) && !record.is_kept_only;
    }

    [[nodiscard]] bool keeps(const log_record& record) const noexcept {
        return recent_ != nullptr && record.importance >= recent_options_.at_least;
    }

    /// The batch that records are rendered into, and the one that the sink has. They change places
    /// by one store, in the middle of which no signal comes.
    [[nodiscard]] log_batch& filling() noexcept { return batches_[filling_]; }

    [[nodiscard]] const log_batch& filling() const noexcept { return batches_[filling_]; }

    [[nodiscard]] log_batch& writing() noexcept { return batches_[filling_ ^ 1U]; }

    void append_one_by_one(std::span<const log_record> records) noexcept;
    [[nodiscard]] bool passes_filter(const log_record& record) noexcept;
    void take(const log_record& record) noexcept;
    void keep(const log_record& record) noexcept;
    void forget_saved() noexcept;
    [[nodiscard]] bool restrains(const log_record& record) noexcept;
    bool render(const log_record& record) noexcept;

    void begin_work() noexcept;
    void end_work(std::string_view why) noexcept;
    void note_stuck() noexcept;

    [[nodiscard]] bool has_no_room() const noexcept { return full() && is_failing(); }

    bool tell_held_back(std::string_view text, level importance) noexcept override;
    bool note(std::string_view text, level importance) noexcept;
    void count_lost(log_loss why, const log_record& record) noexcept;
    void tell_losses() noexcept;
    [[nodiscard]] bool has_untold_losses() const noexcept;
    void note_written(std::size_t bytes) noexcept;
    [[nodiscard]] task<> wait_for_work();
    [[nodiscard]] clock::time_point sync_due() const noexcept;
    [[nodiscard]] task<> sync(event& progress);
    [[nodiscard]] task<> write_batch(event& progress, log_visits& visits);
    void begin_end() noexcept;

    [[nodiscard]] bool is_ending() const noexcept { return ends_at_ != clock::time_point::max(); }

    [[nodiscard]] bool failure_may_pass() const noexcept;

    [[nodiscard]] bool waits_at_end() const noexcept { return may_block_ && failure_may_pass(); }

    [[nodiscard]] task<> wait_for_next_try(clock::duration delay);
    void end_write(std::size_t written, std::string_view why) noexcept;
    void give_batches_up(std::string_view why) noexcept;
    [[nodiscard]] task<> tend(log_visits& visits);
    void end_tending() noexcept;
    void put_first(const log_news& news) noexcept;
    void tell_summary() const noexcept;

    std::unique_ptr<log_layout> form_;
    std::unique_ptr<log_sink> sink_;
    const std::string description_;
    std::function<bool(const log_record&)> filter_;
    const std::size_t batch_bytes_;
    const clock::duration stuck_after_;
    const level at_least_;
    const log_recent recent_options_;
    const log_limits limits_;
    const bool may_block_;

    std::unique_ptr<recent_lines> recent_;
    log_buffer kept_line_{0};
    /// A signal handler has written them; nothing of their memory may change there.
    bool is_recent_saved_ = false;
    std::unique_ptr<log_restraint> restraint_;

    std::array<log_batch, 2> batches_;
    unsigned filling_ = 0;
    /// While records are rendered: how many are done, and where in the batch their lines end.
    std::size_t taken_ = 0;
    std::size_t rendered_to_ = nowhere;
    bool is_writing_ = false;
    bool is_tending_ = false;
    bool is_sync_asked_ = false;
    clock::duration sync_retry_after_{};
    clock::time_point sync_retry_at_ = clock::time_point::min();
    log_sink_requests asked_;
    bool is_stopping_ = false;
    bool gives_up_ = false;
    /// When a log that ends gives up; the end of time as long as it does not end.
    clock::time_point ends_at_ = clock::time_point::max();
    /// Said once on standard error.
    bool has_told_filter_ = false;
    bool has_told_form_ = false;
    std::error_code failure_;
    clock::time_point write_began_{};
    clock::time_point looked_{};
    clock::duration waited_{};
    /// The sink is at work, or about to be.
    bool has_sink_ = false;
    std::array<std::uint64_t, static_cast<std::size_t>(log_loss::count)> lost_untold_{};
    /// Those of them that lines which were lost said are missing.
    std::uint64_t missing_untold_ = 0;
    /// The same of batches that were given up, at most.
    std::uint64_t missing_given_up_ = 0;
    event work_;
    event stop_;
    log_output_counts counts_;
    shared_health health_;
};

} // namespace detail

} // namespace sapwood
