// The consumer of a log: drains the rings of all threads, in order of time, into the outputs'
// batches, and has these written. A coroutine on the log's own thread, or on a loop of the
// program's. When it has nothing to do it naps for a moment, and, where nothing comes, sleeps until
// it is woken. On its loop only.
#pragma once

#include <sapwood/log_backend.hpp>
#include <sapwood/log_names.hpp>
#include <sapwood/log_output.hpp>
#include <sapwood/log_visits.hpp>
#include <sapwood/task.hpp>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string_view>
#include <vector>

namespace sapwood::detail {

/// Counted on the consumer's loop, read anywhere. What is given to the outputs is counted before
/// they count it.
struct log_consumer_counts {
    log_counter records;
    log_counter notes;
    log_counter ring_bytes_high;
    log_counter visits;
};

class log_consumer final : public stop_listener {
  public:
    log_consumer(std::shared_ptr<log_backend> backend, std::shared_ptr<log_names> names,
                 std::vector<std::unique_ptr<log_output>> outputs, clock::duration linger);

    /// In a forked child: goes on with what is constant of the one that consumed for its parent.
    log_consumer(std::shared_ptr<log_backend> backend, std::shared_ptr<log_names> names,
                 log_consumer& parents);

    log_consumer(const log_consumer&) = delete;
    log_consumer& operator=(const log_consumer&) = delete;
    ~log_consumer();

    /// Opens the outputs. Throws what the first one threw that cannot be opened.
    [[nodiscard]] task<> open();

    /// Consumes until the backend is closed and all is written.
    [[nodiscard]] static task<> run(std::shared_ptr<log_consumer> self);

    /// Any thread.
    [[nodiscard]] log_stats stats() const;

    /// The loop ends: so does the log.
    void stop_requested() noexcept override;

    /// From now on it is written when the process crashes, as long as it consumes.
    void watch_for_crash() noexcept { wants_watch_ = true; }

    /// Whether it is this thread's loop that it runs on.
    [[nodiscard]] bool is_of_this_thread() const noexcept {
        return running_loop != nullptr && running_loop == backend_->consumer_loop();
    }

    /// exit() was called on its thread, which so never gets back to it: writes what there is, as
    /// far as sinks can (log_sink::write_in_crash).
    void write_rest_at_exit() noexcept;

    // --- fork: nothing is half changed while it is locked ---

    void lock_for_fork();
    void unlock_after_fork();

    // --- crash: async-signal-safe, in this order; any thread ---

    /// The thread that calls this has crashed: if it is the consumer's, nothing is expected of it.
    void note_crash_of_its_thread() noexcept;

    /// Asks it to write everything.
    void begin_crash(const signal_note& note) noexcept;

    /// It may still do it.
    [[nodiscard]] bool may_answer() const noexcept;

    /// Grows as long as it lives and has something to do.
    [[nodiscard]] std::uint64_t visits() const noexcept { return visits_.count(); }

    /// Does what it has not done.
    void end_crash(const signal_note& note) noexcept;

  private:
    class nap;
    struct goal;

    /// A ring in the merge: the ticks of its first record.
    struct source {
        std::uint64_t ticks;
        log_producer* producer;
        const log_frame* frame;
    };

    /// So many records at most are taken from the rings before they are rendered.
    static constexpr std::size_t group_records_max = 64;

    enum class step : std::uint8_t { again, give_way, wait, rest, end };

    [[nodiscard]] task<> consume();
    [[nodiscard]] step look(goal& towards) noexcept;
    [[nodiscard]] std::size_t visit(std::uint64_t until, bool closing) noexcept;
    [[nodiscard]] step settle(goal& towards) noexcept;
    [[nodiscard]] static task<> hear_requests(log_consumer& me);
    void hand_on_requests() noexcept;
    [[nodiscard]] task<> rest();
    [[nodiscard]] task<> wait_for_progress();
    [[nodiscard]] std::size_t drain(std::uint64_t until) noexcept;
    void end_lost_visit() noexcept;
    [[nodiscard]] bool has_memory_to_gather() noexcept;
    void gather(std::uint64_t until) noexcept;
    void tell_room_of_crash() noexcept;
    void merge(std::uint64_t until) noexcept;
    void merge_two(source (&two)[2], std::uint64_t until) noexcept;
    bool take(log_producer& from, const log_frame& frame) noexcept;
    void tell_gap(log_producer& from, std::uint64_t through) noexcept;
    void tell_records_without_ring() noexcept;
    void append_group() noexcept;
    void forget_group() noexcept;
    void append_own(const log_record& record) noexcept;
    void append_note(const log_thread& thread, std::uint64_t sequence, std::uint64_t missing,
                     std::string_view text) noexcept;
    bool append_from(log_producer& from, const log_origin& origin) noexcept;
    void release_ended();
    void push_all() noexcept;
    void tell_held_back(bool at_end) noexcept;
    [[nodiscard]] clock::time_point next_telling() const;
    [[nodiscard]] clock::duration next_look() const;
    [[nodiscard]] bool all_settled() const;
    [[nodiscard]] bool any_failing() const;
    [[nodiscard]] bool holding_output_fails() const;
    [[nodiscard]] bool all_are_durable() const;
    void ask_to_sync() noexcept;
    void finish_flushes(const goal& of) noexcept;
    void give_up_failing();
    void end_watch() noexcept;
    void write_half_done_at_exit() noexcept;
    void tell_signal(std::uint64_t flush) noexcept;
    void write_rings_in_crash() noexcept;
    void end_in_crash(log_producer& of) noexcept;
    void put_in_crash(log_producer& from, const log_frame& frame) noexcept;
    void put_gap_in_crash(log_producer& from, std::uint64_t through) noexcept;
    void put_own_in_crash(const log_record& record) noexcept;
    void put_record_in_crash(const log_record& record) noexcept;
    void put_record_in_crash(const log_record& record, std::size_t output) noexcept;
    void write_group_in_crash() noexcept;
    void put_line_in_crash(const log_record& record, std::size_t output) noexcept;
    void put_recent_in_crash(std::size_t output) noexcept;
    void put_signal_in_crash(const signal_note& note) noexcept;
    [[nodiscard]] std::string_view name_in_crash(std::uint16_t id) const noexcept;
    [[nodiscard]] bool batch_is_full() const;

    [[nodiscard]] std::string_view name_of(std::uint16_t id) noexcept {
        return id < known_names_.size() ? known_names_[id] : learn_name(id);
    }

    std::string_view learn_name(std::uint16_t id) noexcept;

    /// Only the log itself has own_id: in a ring it is written over memory.
    [[nodiscard]] static std::uint16_t id_in_ring(std::uint16_t id) noexcept {
        return id == log_record::own_id ? std::uint16_t{0xfffe} : id;
    }

    const std::shared_ptr<log_backend> backend_;
    const std::shared_ptr<log_names> names_;
    const clock::duration linger_;
    const std::vector<std::unique_ptr<log_output>> outputs_;
    bool wants_watch_ = false;
    bool is_watched_ = false;
    bool is_in_child_ = false;

    tick_clock clock_;
    std::shared_ptr<loop_bell> bell_;
    event progress_;
    std::vector<std::shared_ptr<log_producer>> producers_;
    std::vector<log_producer*> begun_;
    std::vector<source> heap_;
    /// Records that have been taken from the rings and not yet been appended to the outputs.
    std::vector<log_record> group_;
    std::size_t group_bytes_ = 0;
    /// The output that it is being given to.
    std::size_t group_output_ = 0;
    bool group_is_counted_ = false;
    const std::size_t group_bytes_max_;
    /// Something that was committed is still in a ring: a batch was full, or it is too new.
    bool left_some_ = false;
    /// There was no memory to look, or the visit was lost.
    bool has_missed_some_ = false;
    unsigned idle_naps_ = 0;
    std::size_t pass_bytes_ = 0;
    /// An output that must be waited for is full.
    bool is_full_ = false;
    std::vector<std::string_view> known_names_;
    std::uint64_t told_without_ring_ = 0;
    std::uint64_t dumps_done_ = 0;
    log_consumer_counts counts_;

    // Any thread.
    /// While rings are read and batches are filled, not while it waits.
    log_visits visits_;
    std::atomic<bool> has_crashed_{false};
    /// A producer's has_untold_room is set.
    std::atomic<bool> was_emptied_in_crash_{false};
    std::atomic<std::uint64_t> crash_flush_{0};
};

} // namespace sapwood::detail
