// A log file as a log's sink: a file_sink, which see for what it promises. The file is opened anew
// when somebody has renamed or removed it, at once where logger::reopen() asks for it.
#pragma once

#include <sapwood/file_sink.hpp>
#include <sapwood/log_sink.hpp>

#include <atomic>
#include <optional>
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
};

class file_log_sink final : public log_sink {
  public:
    /// Opened, and created with `mode` less the umask, when the log begins.
    explicit file_log_sink(std::string path, mode_t mode = 0600)
        : file_log_sink(file_log_sink_options{.path = std::move(path), .mode = mode}) {}

    explicit file_log_sink(file_log_sink_options options) : options_(std::move(options)) {}

    [[nodiscard]] task<> open() override;
    [[nodiscard]] task<> write(std::span<const char> lines) override;
    [[nodiscard]] task<log_news> tend(log_sink_requests asked) override;
    bool write_in_crash(std::span<const char> lines) noexcept override;
    [[nodiscard]] task<> close() override;

    [[nodiscard]] std::string describe() const override { return "log file " + options_.path; }

  private:
    [[nodiscard]] file_sink& present() noexcept;

    const file_log_sink_options options_;
    std::optional<file_sink> file_;
    /// The present file, for a crash on any thread; -1 where none is open.
    std::atomic<int> crash_fd_{-1};
};

namespace detail {

/// write(2) until all of it is there. For handlers of crashes.
bool write_fully(int fd, std::span<const char> lines) noexcept;

} // namespace detail

} // namespace sapwood
