// durable_writer: how a log's file sinks make lines durable. Numbers lines, has a file_sink write
// and sync them as the durability says, keeps what is not synced, and after a sync that failed goes
// on in a new segment with it: that file is neither written to nor synced again. What a pipeline's
// consumer does for records, for lines that come in batches of somebody else's. One coroutine at a
// time; on the log's loop, but for write_in_crash. A signal's handler that writes takes the log
// over: from the moment at which it announces itself in the crash_file nothing is acknowledged,
// and no memory that it reads is changed, until it is gone and the file has been looked after as an
// open would.
#pragma once

#include "parts_kept.hpp"

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
#include <vector>

namespace sapwood::detail {

struct durable_writer_options {
    durability level = durability::none();
    bool numbered = true;
    std::size_t unsynced_bytes_max = 0;
    std::size_t writeback_bytes = 0;

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
    [[nodiscard]] clock::time_point sync_at() const noexcept {
        return is_taken_over() ? clock::time_point::min() : sync_at_;
    }

    /// Lines of a handler's that no sync will reach, as far as they are known: where they have no
    /// numbers, one for all.
    [[nodiscard]] std::uint64_t stranded() const noexcept { return stranded_; }

    /// The file is not to be written to any more, nor followed.
    [[nodiscard]] bool is_poisoned() const noexcept { return is_poisoned_; }

    /// How many bytes of `lines`, whole lines, a file has room for.
    [[nodiscard]] std::size_t fitting(std::string_view lines, std::uint64_t room) const noexcept;

    /// For a handler of crashes: what is written until end_batch() is of the lines at `batch`,
    /// behind the first `done` bytes.
    void begin_batch(const char* batch, std::size_t done) noexcept;
    void end_batch() noexcept;

    /// See log_sink. A batch that is being written comes first, so that numbers stand in their
    /// order, whatever the lines are.
    bool write_in_crash(std::span<const char> lines) noexcept;

    [[nodiscard]] std::size_t kept_in_crash() const noexcept {
        return kept_in_crash_.load(std::memory_order_relaxed);
    }

  private:
    class batch_part;
    class batch_in_parts;
    [[nodiscard]] std::size_t fitting_in_text(std::string_view lines) const noexcept;
    task<> write_part(std::span<const char> lines);
    void rethrow_kept(std::span<const char> lines);
    void number(std::span<const char> lines);
    task<> attempt();
    task<> write_and_sync();
    task<file_end> settle_end();
    task<> find_in_cut_file();
    task<> rewrite_unsynced();
    task<> sync_others();
    task<> leave_removed_file();
    void note_reopened() noexcept;
    task<bool> write_text(file_end end);
    task<> begin_segment();
    task<> name_segment();
    task<> take_name();
    void keep(std::size_t bytes) noexcept;
    void mark_text();
    void note_durable() noexcept;
    void keep_saved_text() noexcept;
    [[nodiscard]] bool is_taken_over() const noexcept;
    [[noreturn]] void throw_taken_over() const;
    void require_alone() const;
    void require_alone_with_text();
    task<> settle();
    task<> look_after_file();
    void gather_missing(const std::vector<lsn>& present);
    [[nodiscard]] bool finish_text_in_crash() noexcept;
    bool put_in_crash(std::string_view line) noexcept;

    file_sink& file_;
    crash_file& crash_;
    const durability durable_;
    const bool is_numbered_;
    const std::size_t unsynced_bytes_max_;
    const std::size_t writeback_bytes_;

    line_head heads_;
    bool is_child_ = false;
    /// What a write throws that there is no memory to tell of.
    const parts_kept untold_;
    /// The lines of this write, as they will stand in the file, and how much of them it has.
    std::string text_;
    std::size_t kept_ = 0;
    /// Somebody has cut it off behind so much of text_, which is on disk.
    std::size_t text_there_ = 0;
    /// The file has all of text_, whose numbers are not taken yet.
    bool is_text_written_ = false;
    /// Lines in the file that are not synced, before those.
    std::string unsynced_;
    /// The same of unsynced_, where it is written once more.
    std::size_t unsynced_there_ = 0;
    /// They are in a file that has lost its name: they come again.
    bool rewrites_unsynced_ = false;
    bool is_poisoned_ = false;
    /// The number of the last line that is on disk.
    lsn durable_last_;
    clock::time_point sync_at_ = clock::time_point::max();
    /// Another file was begun, and a handler wrote meanwhile, perhaps into the one that was; which
    /// has become a rotated one.
    bool is_changed_in_crash_ = false;
    bool is_rotated_in_crash_ = false;
    std::uint64_t stranded_ = 0;
    /// Numbers before this one are counted in it, if they are of those.
    std::uint64_t told_ = 0;
    /// For the next follow().
    log_news news_;

    // Any thread, in a crash. Before each of these is changed so that a handler could use it
    // wrongly the loop withdraws it and asks is_taken_over(): either it sees the handler, and
    // leaves all as it is, or the handler sees that there is nothing.

    std::atomic<const char*> batch_{nullptr};
    std::atomic<std::size_t> batch_done_{0};
    /// How many bytes of the batch, behind those, text_ stands for; 0: it is not to be had.
    std::atomic<std::size_t> batch_part_{0};
    std::atomic<const char*> flight_text_{nullptr};
    std::atomic<std::size_t> flight_bytes_{0};
    /// The number behind its last line.
    std::atomic<std::uint64_t> flight_next_{0};
    /// How much of it a handler knows in the file, whole lines.
    std::atomic<std::size_t> flight_saved_{0};
    /// The number of the next line that a handler writes: behind all that are in the file.
    std::atomic<std::uint64_t> next_{0};
    std::atomic<std::size_t> kept_in_crash_{0};
};

} // namespace sapwood::detail
