// pipeline: from many producers to one file. Producers append records to a channel; one consumer
// coroutine renders them into a batch; when the batch is full, when no task of the loop has
// anything else to do, or after a linger, it goes to the sink in one write, while the next batch
// fills. Where the log is to be durable, one sync acknowledges everybody whose record the batch
// has. Loop thread only; remote() and door() are for other threads.
#pragma once

#include <sapwood/batch.hpp>
#include <sapwood/channel.hpp>
#include <sapwood/durability.hpp>
#include <sapwood/file_sink.hpp>
#include <sapwood/log_door.hpp>
#include <sapwood/log_health.hpp>
#include <sapwood/lsn.hpp>
#include <sapwood/receipts.hpp>
#include <sapwood/remote_sender.hpp>
#include <sapwood/task.hpp>

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>

namespace sapwood {

struct pipeline_options {
    /// Records that wait for the consumer; past it, append waits. A record has 128 bytes and, where
    /// its message is longer than record::inline_bytes_max, the message.
    std::size_t queue_records = 1024;

    /// A batch goes to the file when it has this many bytes. From 64 KiB up a write through the
    /// ring costs no more than write(2); 256 KiB leaves room to spare. There are two batches.
    std::size_t batch_bytes = 256u << 10;

    /// The longest that a record waits for a batch to fill while the loop is busy otherwise. Where
    /// it has nothing else to do the batch goes at once.
    clock::duration linger = std::chrono::milliseconds(1);

    /// How a record becomes a line. What a durable log repeats after a failure can only be
    /// recognised, and its numbers only go on after a restart, where its lines are numbered.
    layout form = layout::automatic;

    /// When records are made to survive the machine.
    durability durable = durability::none();

    /// What becomes of records while the disk refuses them.
    when_refused refused = when_refused::automatic;

    /// How long a log that is told to end goes on trying where the disk refuses its records; then
    /// they are lost, counted, and told.
    clock::duration give_up_after = std::chrono::seconds(5);

    /// Of durability::interval: what is written and not synced is kept in memory, in case the sync
    /// fails. With more than this the log is synced before its time.
    std::size_t unsynced_bytes_max = 4u << 20;

    /// Of the same, and of a log that is never synced: each time that so much more is written, the
    /// kernel begins to write it to the disk, so that a sync has that much less to wait for, and
    /// drops from its memory what is before file_sink_options::cached_bytes_max.
    std::size_t writeback_bytes = 1u << 20;

    /// A segment that is as long as this is set aside, as `<log>.<lsn>`, and a new one begun; not
    /// where lines are numbered and durability is none, since a new one would not know where
    /// numbers go on. Of a durable log it is on disk then. Where none can be begun the log goes on
    /// in the one that it has, says so, and tries it again after a second, and at last once a
    /// minute. 0: never.
    std::uint64_t segment_bytes_max = 0;
};

// So that a pipeline can be made of `co_await file_sink::open(...)` and options in one expression
// (see file_sink_options).
static_assert(std::is_trivially_destructible_v<pipeline_options>);

struct pipeline_counts {
    /// Taken from producers, whatever became of them.
    std::uint64_t records = 0;
    /// In the file; also those of the log's own that stand among records.
    std::uint64_t lines_written = 0;
    std::uint64_t bytes_written = 0;
    std::uint64_t batches_written = 0;
    /// Taken from producers and not in the file, because a write failed or memory ran out; and
    /// lines of the log's own about these, where it has failed.
    std::uint64_t lines_lost = 0;
    std::uint64_t syncs = 0;
    /// Begun, because a sync failed or the segment before was long enough.
    std::uint64_t segments_begun = 0;
    /// Attempts to write or to sync that failed, and were made again.
    std::uint64_t retries = 0;
    lsn accepted = lsn::none;
    lsn written = lsn::none;
    lsn durable = lsn::none;
    /// Records waiting for the consumer now.
    std::size_t queued = 0;

    // What became of the records that were appended in this run, at any moment:
    // accepted = durable + written only + lost + in flight. None of the log's own lines counts.
    std::uint64_t records_accepted = 0;
    /// Survive the machine.
    std::uint64_t records_durable = 0;
    /// In the file, and no more than that yet.
    std::uint64_t records_written_only = 0;
    /// Given up: dropped, without memory, or behind the last write of a log that has failed. Where
    /// it was a sync that failed they may be in the file all the same.
    std::uint64_t records_lost = 0;
    std::uint64_t records_in_flight = 0;
    /// Not accepted: append threw, because of when_refused::refuse or the log's end. Cancelled
    /// ones do not count.
    std::uint64_t records_refused = 0;

    /// Of the file's end, moved aside when it was opened or another one has taken its name.
    std::uint64_t torn_bytes = 0;
};

class pipeline {
    class consumer;
    friend class log_door;

  public:
    class append_awaiter;

    /// On the loop that runs on this thread. Throws std::invalid_argument, naming the option.
    /// Numbered lines need a sink that was opened with file_sink_options::numbered.
    explicit pipeline(file_sink sink, pipeline_options options = {});

    /// Opens the file, too, as the options want it.
    [[nodiscard]] static task<pipeline> open(const file_sink_options& file,
                                             const pipeline_options& options);

    pipeline(pipeline&&) noexcept = default;
    pipeline& operator=(pipeline&&) = delete;

    /// Without a close() before, what was appended is still written before run() returns, but a
    /// failure then is only printed on standard error.
    ~pipeline();

    /// Hands `item` over, waiting while the queue is full, and gives its place in the log. Throws
    /// what the sink threw, once it has failed, or std::system_error with errc::closed or what
    /// when_refused::refuse says, or `cancelled`; `item` is untouched then.
    [[nodiscard]] append_awaiter append(record&& item) noexcept;

    /// Waits until the kernel has every line up to `place`: they survive this process. Throws
    /// std::system_error, errc::lost or what the disk said, where that will never be; `cancelled`.
    /// Costs no memory, as long as the pipeline lives.
    [[nodiscard]] receipt written(lsn place) noexcept;

    /// The same until they survive the machine. With durability::none nothing does.
    [[nodiscard]] receipt durable(lsn place) noexcept;

    [[nodiscard]] const log_health& health() const noexcept;

    /// Has `tell` called whenever the health changes. Must not throw, nor destroy the pipeline.
    void on_health(std::function<void(const log_health&)> tell);

    /// False, and `item` untouched, where append would have to wait.
    [[nodiscard]] bool try_append(record&& item);

    /// Appends a record that is copied once, into the batch that fills, and gives its place.
    /// lsn::none, and nothing is done, where it has to stand behind others, or is refused: append
    /// does, or tells. At most record::message_bytes_max long.
    [[nodiscard]] lsn append_now(const record_view& item) noexcept;

    /// Waits while the batch that fills is full, for which append_now refuses what append would
    /// keep in the channel; at once where it refuses for another reason. Somebody else may have
    /// filled it again before the waiter runs. Cancelled, nothing has happened.
    [[nodiscard]] task<> room_now();

    /// A door for other threads, with room for `capacity` records of its own.
    [[nodiscard]] remote_sender<record> remote(std::size_t capacity = 1024);

    /// A door through which other threads and other loops append and wait for receipts.
    [[nodiscard]] log_door door();

    /// Returns when every record appended before, or accepted from another thread, is in the file
    /// (the kernel has it; with durability::batch, the disk). Throws what the sink threw if one of
    /// them is not; errc::lost, when all others are there, if one of them was dropped or there was
    /// no memory for it, once for each loss and all who wait at that time.
    [[nodiscard]] task<> flush();

    /// Refuses further records, writes all that were appended, closes the file. Throws what the
    /// sink threw if one of them is not in the file because of it; what was dropped, or there was
    /// no memory for, on_loss tells, and counts().records_lost.
    [[nodiscard]] task<> close();

    /// What is written from now on goes into the file that has the log's name by then, and does not
    /// wait for the next look at it, of which there is one every half second: for who has renamed
    /// the file and sends a signal (logrotate).
    void look_soon() noexcept;

    [[nodiscard]] pipeline_counts counts() const noexcept;

    /// What has become of the file.
    [[nodiscard]] const file_sink_counts& file() const noexcept;

    /// Has `tell` called, once, when the pipeline ends and lines were lost, or closing the file
    /// failed and nobody awaits close(): with what failed, why, and how many lines. By default it
    /// is printed on standard error. Must not throw.
    void on_loss(std::function<void(const std::string& message)> tell);

    [[nodiscard]] const std::string& path() const noexcept;

  private:
    pipeline(const pipeline_options& validated, file_sink&& sink);

    std::shared_ptr<consumer> consumer_;
};

/// A send to the consumer's channel that tells the record's place, or the sink's own error.
class [[nodiscard]] pipeline::append_awaiter final : public channel<record>::send_awaiter {
  public:
    append_awaiter(consumer& to, record& what) noexcept;

    [[nodiscard]] bool await_ready() noexcept {
        if (send_awaiter::await_ready()) [[likely]] {
            note_place();
            return true;
        }
        return is_refused();
    }

    lsn await_resume() {
        if (end_ == detail::wait_end::closed) [[unlikely]] {
            fail();
        }
        send_awaiter::await_resume();
        return place_;
    }

    /// Without throwing; see as_result.
    result<lsn> outcome() noexcept {
        const auto sent = send_awaiter::outcome();
        if (end_ == detail::wait_end::closed) [[unlikely]] {
            count_refused();
        }
        return sent ? result<lsn>(place_) : result<lsn>(sent.error());
    }

    void taken() noexcept override {
        note_place();
        send_awaiter::taken();
    }

    void refused(std::error_code reason) noexcept override;

  private:
    [[noreturn]] void fail();
    void count_refused() noexcept;
    void note_place() noexcept;
    [[nodiscard]] bool is_refused() noexcept;

    /// Null once it has been refused: the pipeline may be gone then.
    consumer* consumer_;
    lsn place_ = lsn::none;
    std::exception_ptr failure_;
};

} // namespace sapwood
