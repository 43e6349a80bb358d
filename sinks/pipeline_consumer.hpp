// What a pipeline and its two coroutines share. `collect` moves records from the channel into the
// batch that fills; `write_out` takes that batch when it is time, gives it to the sink, has it
// synced as the durability says, and acknowledges. Both are shielded: told to stop, they close the
// channel, and run until it is drained and all of it is written, or given up. Neither may fail:
// what goes wrong is tried again, or kept in failure_, and lines are counted. Loop thread only.
#pragma once

#include "retry_delay.hpp"

#include <sapwood/event.hpp>
#include <sapwood/pipeline.hpp>
#include <sapwood/sleep.hpp>

#include <functional>
#include <string>

namespace sapwood {

class pipeline::consumer final : public stop_listener {
  public:
    consumer(file_sink sink, const pipeline_options& options);

    static void start(const std::shared_ptr<consumer>& self);

    /// No more records; what there is is written, or, where the disk refuses it, given up in time.
    void end() noexcept;

    void stop_requested() noexcept override { end(); }

    // Both keep the consumer: the pipeline may be destroyed while they wait.
    static task<> flush(std::shared_ptr<consumer> self);
    static task<> close(std::shared_ptr<consumer> self);
    static task<> room_now(std::shared_ptr<consumer> self);

    [[nodiscard]] pipeline_counts counts() const noexcept;

    [[nodiscard]] const file_sink& sink() const noexcept { return sink_; }

    [[nodiscard]] const std::exception_ptr& failure() const noexcept { return failure_; }

    void rethrow_failure() const {
        if (failure_) {
            std::rethrow_exception(failure_);
        }
    }

    void on_loss(std::function<void(const std::string&)> tell) { on_loss_ = std::move(tell); }

    void count_refused() noexcept { ++counts_.records_refused; }

    void look_soon() noexcept { sink_.look_soon(); }

    void on_health(std::function<void(const log_health&)> tell) { on_health_ = std::move(tell); }

    [[nodiscard]] const log_health& health() const noexcept { return health_; }

    /// Of the record that was accepted last. Those in the queue get the numbers that come next.
    [[nodiscard]] lsn accepted() const noexcept {
        return static_cast<lsn>(to_number(numbers_.next()) + queue.size() - 1);
    }

    /// Why a record for which there is no room now is refused, if it is.
    [[nodiscard]] std::error_code refusal() const noexcept {
        return refused_ == when_refused::refuse ? health_.reason : std::error_code();
    }

    // What collect receives goes into the batch that fills at that moment: while collect waits for
    // a record, write_out may have taken the batch that was there when the wait began.

    [[nodiscard]] bool full() const noexcept { return filling_->full() && !may_drop_; }

    void push_back(record&& item) noexcept {
        ++counts_.records;
        if ((may_drop_ && filling_->full()) || (gap_count_ != 0 && !tell_gap())) [[unlikely]] {
            lose(item);
            return;
        }
        try {
            filling_->push_back(std::move(item));
        } catch (...) {
            lose(item); // no memory to render it
        }
    }

    /// See pipeline::append_now.
    [[nodiscard]] lsn append_now(const record_view& item) noexcept;

  private:
    /// Calls a member of the consumer at a time.
    class alarm final : public timer {
      public:
        using call = void (consumer::*)() noexcept;

        alarm(consumer& of, call what) noexcept : consumer_(of), what_(what) {}

        void fire() noexcept override { (consumer_.*what_)(); }

      private:
        consumer& consumer_;
        call what_;
    };

    static task<> collect(std::shared_ptr<consumer> self);
    static task<> write_out(std::shared_ptr<consumer> self);

    task<> gather();
    void take_batch() noexcept;
    task<> deliver();
    task<> attempt();
    task<> begin_writeback();
    task<> write_and_sync();
    [[nodiscard]] file_end look_at_end();
    task<> mark_behind_cut();
    task<> leave_removed_file();
    task<> sync_above(file_end end);
    task<> write_rest(file_end end, bool synced);
    task<> find_in_cut_file();
    task<> rewrite_unsynced();
    task<> begin_segment();
    task<bool> begin_next_segment();
    task<> rotate();
    task<> follow_file();
    void note_reopened() noexcept;
    task<> tell(const log_news& news);
    task<> close_sink();
    [[nodiscard]] lsn next_in_file() const noexcept;
    [[nodiscard]] bool wants_segment() const noexcept;
    [[nodiscard]] bool wants_sync_above(file_end end) const noexcept;
    [[nodiscard]] bool is_small_group(file_end end) const noexcept;
    [[nodiscard]] bool is_sync_due() const noexcept;
    [[nodiscard]] bool has_unsynced() const noexcept;
    void keep_unsynced();
    void note_written() noexcept;
    void note_durable() noexcept;
    void note_kept() noexcept;
    void lose_unsynced() noexcept;
    [[nodiscard]] std::uint64_t records_within(std::size_t kept) const noexcept;

    void gather_no_longer() noexcept;
    void account(std::size_t kept) noexcept;
    void done(std::size_t records) noexcept;

    void lose(const record& item) noexcept;
    bool tell_gap() noexcept;
    task<> write_own_line(level importance, std::string text);
    void fail(std::exception_ptr failure, std::error_code code) noexcept;
    void report_loss() const noexcept;

    [[nodiscard]] bool tries_again(std::error_code why) const noexcept;
    [[nodiscard]] clock::duration next_delay() noexcept;
    void watch_disk() noexcept;
    void stalled() noexcept;
    void sync_is_due() noexcept;
    void set_alarm(alarm& which, clock::duration after) noexcept;
    void unset(alarm& which) noexcept;
    void degrade(std::error_code why, const char* text) noexcept;
    void succeeded() noexcept;
    void tell_health() noexcept;

    /// Before the next attempt at what there was no memory for.
    static constexpr clock::duration without_memory = std::chrono::milliseconds(10);

    // Constant after construction.
    event_loop& loop_;
    const clock::duration linger_;
    const layout form_;
    const durability durable_;
    const when_refused refused_;
    const clock::duration give_up_after_;
    const std::size_t unsynced_bytes_max_;
    const std::size_t writeback_bytes_;
    const std::uint64_t segment_bytes_max_;

  public:
    channel<record> queue;
    detail::receipt_board written;
    detail::receipt_board durable;

  private:
    file_sink sink_;
    /// Counts records as they are received.
    line_head numbers_;
    batch one_;
    batch other_;
    batch* filling_ = &one_;
    batch* writing_ = &other_;
    /// There is something in the batch that fills, or there never will be again.
    event has_work_;
    event batch_taken_;
    event batch_done_;
    event finished_;
    detail::idle_awaiter* gathering_ = nullptr;
    bool no_more_ = false;
    bool is_close_awaited_ = false;
    std::exception_ptr failure_;
    std::uint64_t records_done_ = 0;
    /// Of this run: in the file, not counting the batch that is written, and with it.
    std::uint64_t records_in_file_before_ = 0;
    std::uint64_t records_in_file_ = 0;
    /// The number before the first of this run.
    const lsn opened_at_;
    /// Losses up to here have been told by a flush.
    lsn losses_told_;
    /// Received, not in a batch, and not done yet.
    std::size_t records_unrendered_ = 0;
    /// Lines in the batches that are no producer's record.
    std::size_t own_filling_ = 0;
    std::size_t own_writing_ = 0;
    /// Records in the batches that were not in the channel.
    std::size_t direct_filling_ = 0;
    std::size_t direct_writing_ = 0;
    pipeline_counts counts_;
    std::function<void(const std::string&)> on_loss_;

    // Of the batch that is written.
    lsn writing_last_ = lsn::none;
    /// How many of its bytes the file has.
    std::size_t kept_ = 0;

    // How it stands with the disk.
    /// Lines in the file that are not synced; not those of the batch that is written.
    std::string unsynced_;
    /// unsynced_ is in a file that has lost its name: it comes again.
    bool rewrites_unsynced_ = false;
    /// Of what comes again so much is there, and on disk: somebody has cut the file behind it.
    std::size_t unsynced_there_ = 0;
    /// The same of lines of the log's own, which nobody waits for.
    bool has_own_unsynced_ = false;
    bool sync_is_due_ = false;
    /// What was seen of the file in an attempt that failed: for its next line.
    log_news untold_;
    /// A sync has failed: what the file has of what was not synced is not to be trusted.
    bool is_poisoned_ = false;
    /// Where no segment could be begun, though the file may be written to: not before then.
    clock::time_point segment_at_{};
    clock::duration segment_retry_after_{};
    clock::duration sync_takes_{};
    alarm sync_alarm_{*this, &consumer::sync_is_due};
    alarm stall_alarm_{*this, &consumer::stalled};
    /// It has rung for the operation that is under way.
    bool has_rung_ = false;
    detail::retry_delay delay_;
    bool is_ending_ = false;
    clock::time_point ends_at_{};
    log_health health_;
    std::function<void(const log_health&)> on_health_;

    // Records that were lost and are not told of yet: gap_count_ of them, up to gap_last_.
    bool may_drop_ = false;
    std::uint64_t gap_count_ = 0;
    lsn gap_last_ = lsn::none;
    std::error_code gap_reason_;
};

} // namespace sapwood
