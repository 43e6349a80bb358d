// A log file as a log's sink: a file_sink, which see for what it promises. The file is opened anew
// when somebody has renamed or removed it, at once where logger::reopen() asks for it.
#pragma once

#include <sapwood/crash_file.hpp>
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
    [[nodiscard]] task<> close() override;

    /// Goes on with the file that the parent has open. Each process appends whole batches with one
    /// system call, so no line is torn by the other one's; only a full disk can do that, where one
    /// goes on behind a write that was cut short.
    [[nodiscard]] task<> open_in_child() override;

    [[nodiscard]] std::string describe() const override { return "log file " + options_.path; }

    bool write_in_crash(std::span<const char> lines) noexcept override;

  private:
    [[nodiscard]] file_sink& present() noexcept;

    const file_log_sink_options options_;
    std::unique_ptr<file_sink> file_;
    detail::crash_file crash_;
};

} // namespace sapwood
