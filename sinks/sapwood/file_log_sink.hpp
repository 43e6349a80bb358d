// A log file as a log's sink: a file_sink, which see for what it promises. The file is opened anew
// when somebody has renamed or removed it, at once where logger::reopen() asks for it.
#pragma once

#include <sapwood/crash_file.hpp>
#include <sapwood/durability.hpp>
#include <sapwood/file_sink.hpp>
#include <sapwood/log_sink.hpp>

#include <memory>
#include <string>
#include <sys/types.h>

namespace sapwood {

struct file_log_sink_options {
    std::string path;

    // As in file_sink_options.
    mode_t mode = 0600;
    gid_t group = static_cast<gid_t>(-1);
    bool make_directories = false;
    mode_t directory_mode = 0700;

    /// When lines are made to survive the machine; docs/durability.md says what each level does.
    /// Then the log waits for this output rather than lose a line of it, whatever its other outputs
    /// do, and logger::durable() waits until all of them are on disk.
    durability durable = durability::none();

    /// Of a file that is durable: each line stands behind its number in the log and a checksum (26
    /// bytes; numbered_line.hpp). By that a line is recognised that a failed sync has had written
    /// twice, a damaged end is found wherever it begins, and `sapwood verify` reads the file.
    /// Without it the lines are their form's alone, as JSON has to be, and as durable.
    bool numbered = true;

    /// Of durability::interval: what is written and not synced is kept in memory, in case the sync
    /// fails. With more than this the file is synced before its time. 8 MiB at most.
    std::size_t unsynced_bytes_max = 4u << 20;

    /// Of the same: each time that so much more is written, the kernel begins to write it to the
    /// disk, and the sync has that much less to wait for.
    std::size_t writeback_bytes = 1u << 20;
};

namespace detail {

class durable_writer;

} // namespace detail

class file_log_sink final : public log_sink {
  public:
    /// Opened, and created with `mode` less the umask, when the log begins.
    explicit file_log_sink(std::string path, mode_t mode = 0600)
        : file_log_sink(file_log_sink_options{.path = std::move(path), .mode = mode}) {}

    /// Throws std::invalid_argument, naming the option.
    explicit file_log_sink(file_log_sink_options options);
    ~file_log_sink() override;

    [[nodiscard]] task<> open() override;
    [[nodiscard]] task<> write(std::span<const char> lines) override;
    [[nodiscard]] task<log_news> tend(log_sink_requests asked) override;

    [[nodiscard]] bool is_durable() const noexcept override { return !options_.durable.is_none(); }

    [[nodiscard]] task<> sync() override;
    [[nodiscard]] clock::time_point sync_at() const noexcept override;

    /// What was written is on disk then, if it is to be durable. Throws where it is not.
    [[nodiscard]] task<> close() override;

    /// Goes on with the file that the parent has open. Each process appends whole batches with one
    /// system call, so no line is torn by the other one's; only a full disk can do that, where one
    /// goes on behind a write that was cut short. Durability is the parent's affair: the child's
    /// lines are written, with the number 0 where lines are numbered, and not synced.
    [[nodiscard]] task<> open_in_child() override;

    [[nodiscard]] bool may_pass(std::error_code why) const noexcept override;

    [[nodiscard]] std::string describe() const override { return "log file " + options_.path; }

    bool write_in_crash(std::span<const char> lines) noexcept override;
    [[nodiscard]] std::size_t kept_in_crash() const noexcept override;
    [[nodiscard]] std::uint64_t lines_stranded() const noexcept override;

  private:
    [[nodiscard]] file_sink& present() noexcept;

    const file_log_sink_options options_;
    std::unique_ptr<file_sink> file_;
    /// Null where it is not to be durable.
    std::unique_ptr<detail::durable_writer> durable_;
    detail::crash_file crash_;
    log_news untold_;
};

} // namespace sapwood
