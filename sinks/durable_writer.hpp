// durable_writer: how a log's file sinks make lines durable. Numbers lines, has a file_sink write
// and sync them as the durability says, keeps what is not synced, and after a sync that failed goes
// on in a new segment with it: that file is neither written to nor synced again. What a pipeline's
// consumer does for records, for lines that come in batches of somebody else's. One coroutine at a
// time; on the log's loop, but for write_in_crash.
#pragma once

#include <sapwood/clock.hpp>
#include <sapwood/crash_file.hpp>
#include <sapwood/durability.hpp>
#include <sapwood/file_sink.hpp>
#include <sapwood/numbered_line.hpp>
#include <sapwood/task.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace sapwood::detail {

struct durable_writer_options {
    durability level = durability::none();
    bool numbered = true;
    std::size_t unsynced_bytes_max = 0;

    [[nodiscard]] bool numbers() const noexcept { return numbered && !level.is_none(); }

    /// Throws std::invalid_argument, naming the option of `whose`.
    void validate(std::string_view whose) const;
};

class durable_writer {
  public:
    /// Of `file`, which was opened for it and, as `crash`, lives longer.
    durable_writer(file_sink& file, crash_file& crash, const durable_writer_options& options);

    /// In a forked child that shares the parent's `file`: lines are written without a number of
    /// their own, which the parent's would be, and not synced: the kernel would tell of a failure
    /// only one of the two.
    [[nodiscard]] static std::unique_ptr<durable_writer>
    of_child(file_sink& file, crash_file& crash, const durable_writer_options& options);

    /// Returns when the level has been reached: with batch, on disk. Throws write_error, of which
    /// bytes_kept are bytes of `lines`. Not cancelled half-way.
    [[nodiscard]] task<> write(std::span<const char> lines);

    /// Everything that was written goes to the disk. Throws std::system_error; it can be called
    /// again. Not cancelled half-way.
    [[nodiscard]] task<> sync();

    /// `lines` begin a new file, and what was the log is called `aside`, a name that nothing has.
    /// Written when it returns, and on disk, unless sync_at() says that its name is not. Throws
    /// std::system_error, and nothing has changed.
    [[nodiscard]] task<> begin_file(std::span<const char> lines, std::string aside);

    /// file_sink::follow(), or reopen() where that is `asked` for: where the file has become
    /// another one, what was not synced comes there again.
    [[nodiscard]] task<log_news> follow(bool asked);

    /// When sync() is to be called at the latest.
    [[nodiscard]] clock::time_point sync_at() const noexcept { return sync_at_; }

    /// The file is not to be written to any more, nor followed.
    [[nodiscard]] bool is_poisoned() const noexcept { return is_poisoned_; }

    /// How many bytes of `lines`, whole lines, a file has room for.
    [[nodiscard]] std::size_t fitting(std::string_view lines, std::uint64_t room) const noexcept;

    /// For a handler of crashes: what is written until end_batch() is of the lines at `batch`,
    /// behind the first `done` bytes.
    void begin_batch(const char* batch, std::size_t done) noexcept;
    void end_batch() noexcept;

    /// See log_sink::write_in_crash.
    bool write_in_crash(std::span<const char> lines) noexcept;

  private:
    class batch_part;
    void number(std::span<const char> lines);
    task<> attempt();
    task<> write_and_sync();
    task<> begin_segment();
    task<> take_name();
    void keep(std::size_t bytes) noexcept;
    void take_crash_numbers() noexcept;
    [[nodiscard]] bool has_crash_lines() const noexcept;
    void keep_saved_text();
    task<> keep_what_crash_wrote();
    void keep_crash_lines(std::string_view text, lsn first, lsn end);
    void note_crash_begin() noexcept;
    bool put_in_crash(std::string_view line) noexcept;
    void note_durable() noexcept;

    file_sink& file_;
    crash_file& crash_;
    const durability durable_;
    const bool is_numbered_;
    const std::size_t unsynced_bytes_max_;

    line_head heads_;
    bool is_child_ = false;
    /// The lines of this write, as they will stand in the file, and how much of them it has.
    std::string text_;
    std::size_t kept_ = 0;
    /// A handler had written it, and it is in unsynced_.
    bool is_text_kept_ = false;
    /// Lines in the file that are not synced, before those.
    std::string unsynced_;
    /// They are in a file that has lost its name: they come again.
    bool rewrites_unsynced_ = false;
    bool is_poisoned_ = false;
    /// The number of the last line that is on disk.
    lsn durable_last_;
    clock::time_point sync_at_ = clock::time_point::max();

    // Any thread, in a crash.
    std::atomic<const char*> batch_{nullptr};
    std::atomic<std::size_t> batch_done_{0};
    /// How many bytes of the batch, behind those, text_ stands for.
    std::atomic<std::size_t> batch_part_{0};
    /// The number of the next line that a handler writes, and whether one has.
    std::atomic<std::uint64_t> crash_next_{0};
    std::atomic<bool> has_crashed_{false};
    /// How often a signal handler has written; and of how often it is in unsynced_, or was.
    std::atomic<std::uint32_t> crash_writes_{0};
    std::uint32_t crash_writes_kept_ = 0;
    /// Where in the file its lines begin that are not, and with which number.
    static constexpr std::uint64_t nowhere = ~std::uint64_t{0};
    std::atomic<std::uint64_t> crash_begin_{nowhere};
    std::atomic<std::uint64_t> crash_first_{0};
    /// It has written text_, all of it.
    std::atomic<bool> is_text_saved_{false};
};

} // namespace sapwood::detail
