// pipeline: from many producers to one file. Producers append records to a channel; one consumer
// coroutine renders them into a batch; when the batch is full, when no task of the loop has
// anything else to do, or after a linger, it goes to the sink in one write, while the next batch
// fills. Loop thread only; remote() is the door for other threads.
#pragma once

#include <sapwood/batch.hpp>
#include <sapwood/channel.hpp>
#include <sapwood/file_sink.hpp>
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

    /// How a record becomes a line.
    layout form = layout::plain;
};

// So that a pipeline can be made of `co_await file_sink::open(...)` and options in one expression
// (see file_sink_options).
static_assert(std::is_trivially_destructible_v<pipeline_options>);

struct pipeline_counts {
    /// Taken from producers, whatever became of them.
    std::uint64_t records = 0;
    /// In the file.
    std::uint64_t lines_written = 0;
    std::uint64_t bytes_written = 0;
    std::uint64_t batches_written = 0;
    /// Taken from producers and not in the file, because a write failed or memory ran out.
    std::uint64_t lines_lost = 0;
    /// Records waiting for the consumer now.
    std::size_t queued = 0;
};

class pipeline {
    class consumer;

  public:
    class append_awaiter;

    /// On the loop that runs on this thread. Throws std::invalid_argument, naming the option.
    explicit pipeline(file_sink sink, pipeline_options options = {});

    pipeline(pipeline&&) noexcept = default;
    pipeline& operator=(pipeline&&) = delete;

    /// Without a close() before, what was appended is still written before run() returns, but a
    /// failure then is only printed on standard error.
    ~pipeline();

    /// Hands `item` over, waiting while the queue is full. Throws what the sink threw, once it has
    /// failed, or std::system_error with errc::closed, or `cancelled`; `item` is untouched then.
    [[nodiscard]] append_awaiter append(record&& item) noexcept;

    /// False, and `item` untouched, where append would have to wait.
    [[nodiscard]] bool try_append(record&& item);

    /// A door for other threads, with room for `capacity` records of its own.
    [[nodiscard]] remote_sender<record> remote(std::size_t capacity = 1024);

    /// Returns when every record appended before, or accepted from another thread, is in the file
    /// (the kernel has it; see file_sink::write). Throws what the sink threw if one of them is not.
    [[nodiscard]] task<> flush();

    /// Refuses further records, writes all that were appended, closes the file. Throws what the
    /// sink threw if one of them is not in the file.
    [[nodiscard]] task<> close();

    [[nodiscard]] pipeline_counts counts() const noexcept;

    /// Has `tell` called, once, when the pipeline ends and lines were lost, or closing the file
    /// failed and nobody awaits close(): with what failed, why, and how many lines. By default it
    /// is printed on standard error. Must not throw.
    void on_loss(std::function<void(const std::string& message)> tell);

    [[nodiscard]] const std::string& path() const noexcept;

  private:
    std::shared_ptr<consumer> consumer_;
};

/// A send to the consumer's channel that tells the sink's own error.
class [[nodiscard]] pipeline::append_awaiter final : public channel<record>::send_awaiter {
  public:
    append_awaiter(consumer& to, record& what) noexcept;

    void await_resume() {
        if (end_ == detail::wait_end::closed) [[unlikely]] {
            fail();
        }
        send_awaiter::await_resume();
    }

    void refused(std::error_code reason) noexcept override;

  private:
    [[noreturn]] void fail();

    /// Null once it has been refused: the pipeline may be gone then.
    consumer* consumer_;
    std::exception_ptr failure_;
};

} // namespace sapwood
