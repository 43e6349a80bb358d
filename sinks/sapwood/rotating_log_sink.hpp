// A log file that is begun anew when it is long enough, or when it is time, as a log's sink:
//
//     sapwood::logger_options options;
//     options.outputs.push_back({.sink = std::make_unique<sapwood::rotating_log_sink>(
//         sapwood::rotating_log_sink_options{.path = "app.log", .bytes_max = 100u << 20,
//                                            .keep_files = 10, .compress = true})});
//
// To rotate is one rename: `app.log` becomes `app.log.20261126T141236.123Z`, the moment in UTC, so
// that names are in order of time; nothing else is renamed, and no file that is there is written
// over. What goes wrong is told in the log, which goes on in the file that it has. Otherwise it is
// a file_log_sink.
#pragma once

#include <sapwood/clock.hpp>
#include <sapwood/crash_file.hpp>
#include <sapwood/durability.hpp>
#include <sapwood/file_sink.hpp>
#include <sapwood/log_sink.hpp>
#include <sapwood/spawn.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace sapwood {

/// A time of day.
struct daily_time {
    int hour = 0;
    int minute = 0;
    /// Otherwise the machine's local time. Where the clocks are put back over it, the first time
    /// counts, and where they are put forward over it, the moment when that happens.
    bool utc = false;
};

struct rotating_log_sink_options {
    /// The present file. Not a symbolic link.
    std::string path;

    // When: each of them by itself, and with none of them at logger::rotate() only. A file without
    // a line is never rotated, and one that nobody writes to not before somebody does.

    /// No file is longer, unless one record is. 0: however long.
    std::uint64_t bytes_max = 0;

    /// At multiples of it, counted in UTC: an hour means at every full hour. 0: never.
    std::chrono::seconds every{0};

    /// Once a day.
    std::optional<daily_time> daily_at = {};

    /// What an earlier run has left is rotated before the first line of this one.
    bool rotate_at_open = false;

    // Which rotated files are kept, the newest ones. Each limit holds by itself; 0: no limit.

    std::size_t keep_files = 0;
    /// Since they were rotated; where a clock that was ahead has named them, since they were last
    /// written to.
    std::chrono::seconds keep_for{0};
    /// Of all of them together, compressed as they are.
    std::uint64_t keep_bytes = 0;

    /// Rotated files are compressed with zstd, on a thread of the common pool: nobody waits for it,
    /// not even the end of the log. What was not finished is taken up when the log is opened again.
    /// Owner, group, mode and access control list stay what they are; where this process may not
    /// give them, fewer can read the file than before, never more, and a line says so once.
    bool compress = false;
    /// zstd's: 1 to 22.
    int compression_level = 3;

    /// A rotated file, its name and that of the new one survive the machine before the next line
    /// is written; where a sync of it has failed, a line says that it may not. So it is in any case
    /// where the file is durable.
    bool sync = false;

    /// As in file_log_sink_options. A new file begins with its first line, and is on disk with it
    /// before it gets the log's name: a rotation that is asked for has one tell of it. Numbers go
    /// on from file to file.
    durability durable = durability::none();
    bool numbered = true;
    std::size_t unsynced_bytes_max = 4u << 20;
    std::size_t writeback_bytes = 1u << 20;

    // As in file_sink_options.
    mode_t mode = 0600;
    gid_t group = static_cast<gid_t>(-1);
    bool make_directories = false;
    mode_t directory_mode = 0700;

    /// What time it is; the system's clock if empty. Called on the log's thread; must not throw.
    std::function<std::chrono::system_clock::time_point()> now = {};
};

struct rotating_log_sink_counts {
    std::uint64_t rotated = 0;
    std::uint64_t rotations_failed = 0;
    std::uint64_t removed = 0;
    std::uint64_t compressed = 0;
};

namespace detail {

class durable_writer;
class rotation_schedule;

} // namespace detail

class rotating_log_sink final : public log_sink {
  public:
    /// Throws std::invalid_argument, naming the option; also where compression is asked for and
    /// this sapwood was built without zstd.
    explicit rotating_log_sink(rotating_log_sink_options options);
    ~rotating_log_sink() override;

    [[nodiscard]] task<> open() override;
    [[nodiscard]] task<> write(std::span<const char> lines) override;
    [[nodiscard]] task<log_news> tend(log_sink_requests asked) override;

    [[nodiscard]] bool is_durable() const noexcept override { return !options_.durable.is_none(); }

    [[nodiscard]] task<> sync() override;
    [[nodiscard]] clock::time_point sync_at() const noexcept override;

    /// Does not wait for more of a compression than what it is at just now.
    [[nodiscard]] task<> close() override;

    /// As file_log_sink's. Rotating is the parent's affair.
    [[nodiscard]] task<> open_in_child() override;

    [[nodiscard]] bool may_pass(std::error_code why) const noexcept override;

    [[nodiscard]] std::string describe() const override { return "log file " + options_.path; }

    bool write_in_crash(std::span<const char> lines) noexcept override;
    [[nodiscard]] std::size_t kept_in_crash() const noexcept override;
    [[nodiscard]] std::uint64_t lines_stranded() const noexcept override;

    /// On the log's loop.
    [[nodiscard]] const rotating_log_sink_counts& counts() const noexcept { return counts_; }

    /// Returns when rotated files have been compressed, and removed where there are too many. On
    /// the log's loop.
    [[nodiscard]] task<> housekeeping();

  private:
    struct noting;

    enum class rotation {
        /// The file stays as it is.
        none,
        done,
        /// And the lines are in the new one.
        done_with_lines,
        /// Somebody had renamed it: the log goes on in what has the name now.
        other_file,
    };

    [[nodiscard]] const file_sink& present() const noexcept;
    [[nodiscard]] file_sink& present() noexcept;
    [[nodiscard]] std::chrono::system_clock::time_point now() const;
    [[nodiscard]] bool time_is_due();
    [[nodiscard]] std::size_t fitting(std::span<const char> lines, std::uint64_t size) const;
    [[nodiscard]] std::size_t begins_with(std::span<const char> lines) const;
    [[nodiscard]] bool may_rotate() const noexcept;
    [[nodiscard]] bool is_poisoned() const noexcept;
    [[nodiscard]] task<std::size_t> write_piece(std::span<const char> lines);
    [[nodiscard]] task<> append(std::span<const char> lines);
    [[nodiscard]] task<rotation> rotate(std::span<const char> first);
    [[nodiscard]] task<> begin_file(std::string aside, std::span<const char> first);
    [[nodiscard]] task<log_news> follow(bool asked);
    [[nodiscard]] task<> find_last_name();
    void begin_period();
    void note_file();
    void tell(level importance, std::string text);
    [[nodiscard]] log_news news_of_more() const;
    void say_untold() noexcept;
    void tell_of_house(const std::exception& failure) noexcept;
    void start_housekeeping() noexcept;
    [[nodiscard]] task<> keep_house();

    const rotating_log_sink_options options_;
    const std::unique_ptr<const detail::rotation_schedule> schedule_;

    // The log's loop.
    std::unique_ptr<file_sink> file_;
    /// Null where it is not to be durable.
    std::unique_ptr<detail::durable_writer> durable_;
    /// When the file is to be rotated for the time.
    std::chrono::system_clock::time_point due_{};
    std::chrono::system_clock::time_point asked_time_{};
    std::chrono::milliseconds last_name_{0};
    clock::time_point retry_at_{};
    clock::duration retry_after_{};
    std::uint64_t reopened_seen_ = 0;
    /// And it has not been possible yet.
    bool is_asked_to_rotate_ = false;
    bool house_is_due_ = false;
    bool has_told_of_fewer_ = false;
    std::optional<join_handle<>> house_;
    std::vector<log_news> untold_;
    /// So many found no place there.
    std::uint64_t untold_more_ = 0;
    rotating_log_sink_counts counts_;

    // Any thread.
    std::atomic<bool> stop_house_{false};
    detail::crash_file crash_;
};

} // namespace sapwood
