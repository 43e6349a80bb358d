// A log file as a log's sink: a file_sink, which see for what it promises.
#pragma once

#include <sapwood/file_sink.hpp>
#include <sapwood/log_sink.hpp>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <sys/types.h>

namespace sapwood {

class file_log_sink final : public log_sink {
  public:
    /// Opened, and created with `mode` less the umask, when the log begins.
    explicit file_log_sink(std::string path, mode_t mode = 0600)
        : path_(std::move(path)),
          mode_(mode) {}

    [[nodiscard]] task<> open() override;
    [[nodiscard]] task<> write(std::span<const char> lines) override;
    [[nodiscard]] task<> close() override;

    /// Goes on with the file that the parent has open. Each process appends whole batches with one
    /// system call, so no line is torn by the other one's; only a full disk can do that, where one
    /// goes on behind a write that was cut short.
    [[nodiscard]] task<> open_in_child() override;

    [[nodiscard]] std::string describe() const override { return "log file " + path_; }

    bool write_in_crash(std::span<const char> lines) noexcept override;

  private:
    void note_state() noexcept;
    [[nodiscard]] std::size_t count_written(int fd, std::size_t bytes) const noexcept;

    std::string path_;
    mode_t mode_;
    std::unique_ptr<file_sink> file_;

    // For a signal handler, and a child process. What write() was given is between the two.
    std::atomic<int> fd_{-1};
    std::atomic<std::uint64_t> end_{0};
    std::atomic<const char*> in_flight_{nullptr};
};

} // namespace sapwood
