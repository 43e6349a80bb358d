// A log file as a log's sink: a file_sink, which see for what it promises.
#pragma once

#include <sapwood/file_sink.hpp>
#include <sapwood/log_sink.hpp>

#include <optional>
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

    [[nodiscard]] std::string describe() const override { return "log file " + path_; }

  private:
    std::string path_;
    mode_t mode_;
    std::optional<file_sink> file_;
};

} // namespace sapwood
