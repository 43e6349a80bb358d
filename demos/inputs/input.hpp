// input: a file, a FIFO or standard input, opened so that none holds the others up. Loop thread
// only.
#pragma once

#include <sapwood/file.hpp>
#include <sapwood/result.hpp>
#include <sapwood/task.hpp>

#include <cstddef>
#include <span>
#include <string>
#include <vector>

class input {
  public:
    /// `name` is a path, or `-` for standard input, which must be open. A FIFO is opened without
    /// waiting for its writer. Throws std::system_error, with the path and the reason.
    [[nodiscard]] static sapwood::task<input> open(std::string name);

    /// Waits until there is something to read and reads it, also where the descriptor is
    /// non-blocking; 0 at the end. For a FIFO the wait begins with the first writer. A request to
    /// stop becomes std::errc::operation_canceled.
    [[nodiscard]] sapwood::task<sapwood::result<std::size_t>> read_some(std::span<char> into);

    [[nodiscard]] const std::string& name() const { return name_; }

    /// Whether both read from one pipe or terminal: its lines would be torn between them.
    [[nodiscard]] bool shares_stream_with(const input& other) const;

    [[nodiscard]] bool is_file(const std::string& path) const;

  private:
    std::string name_;
    sapwood::file descriptor_;
    sapwood::file_status status_{};
    bool may_lack_writer_ = false;
};

/// Why `inputs` cannot be merged into `log`; empty if they can.
[[nodiscard]] std::string conflict(const std::vector<input>& inputs, const std::string& log);
