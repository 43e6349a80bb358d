// The files that a log_verifier reads: all of them are open before the first is read, so that none
// is removed, or takes another name, while it waits for its turn. Plain system calls; one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace sapwood::detail {

class input_file {
  public:
    /// Throws std::system_error, also where it is no regular file. `-` is standard input.
    explicit input_file(std::string path);

    input_file(input_file&& other) noexcept;
    input_file& operator=(input_file&&) = delete;
    ~input_file();

    [[nodiscard]] const std::string& path() const noexcept { return path_; }

    [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }

    /// By who writes it.
    [[nodiscard]] bool is_locked() const noexcept;

    /// 0 at the end. Throws std::system_error.
    [[nodiscard]] std::size_t read(char* to, std::size_t size) const;

  private:
    std::string path_;
    int fd_;
    std::uint64_t bytes_ = 0;
    /// To be closed.
    bool is_ours_ = false;
};

class input_files {
  public:
    /// So many are held open, and the last, which is the log: a process may often have 1024, and
    /// wants some for itself. Those behind them are newer, and no retention removes them first.
    static constexpr std::size_t held_max = 512;

    /// Throws std::system_error.
    explicit input_files(std::vector<std::string> paths);

    [[nodiscard]] const std::vector<std::string>& paths() const noexcept { return paths_; }

    /// Of all that are held.
    [[nodiscard]] std::uint64_t bytes() const noexcept;

    /// The caller's; one that was not held is opened, and may be gone. Throws std::system_error.
    [[nodiscard]] input_file take(std::size_t which);

  private:
    std::vector<std::string> paths_;
    std::vector<std::optional<input_file>> held_;
};

} // namespace sapwood::detail
