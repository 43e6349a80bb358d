// exit_status: how a process ended. A plain value: any thread.
#pragma once

#include <cstdint>
#include <string>

namespace sapwood {

class exit_status {
  public:
    [[nodiscard]] static exit_status exited(int code) noexcept {
        return exit_status(code, 0, false);
    }

    [[nodiscard]] static exit_status killed(int signal, bool dumped_core) noexcept {
        return exit_status(0, signal, dumped_core);
    }

    /// It exited, with code 0.
    [[nodiscard]] bool success() const noexcept { return signal_ == 0 && code_ == 0; }

    /// It ended by itself; otherwise a signal ended it.
    [[nodiscard]] bool has_exited() const noexcept { return signal_ == 0; }

    /// What it exited with, 0 to 255; 0 where a signal ended it.
    [[nodiscard]] int code() const noexcept { return code_; }

    /// The signal that ended it; 0 where it exited.
    [[nodiscard]] int signal() const noexcept { return signal_; }

    [[nodiscard]] bool dumped_core() const noexcept { return dumped_core_; }

    /// "exited with code 1", "killed by signal 9 (Killed)", the latter with ", core dumped".
    [[nodiscard]] std::string to_string() const;

    friend bool operator==(const exit_status&, const exit_status&) noexcept = default;

  private:
    exit_status(int code, int signal, bool dumped_core) noexcept
        : code_(code),
          signal_(signal),
          dumped_core_(dumped_core) {}

    int code_;
    int signal_;
    bool dumped_core_;
};

} // namespace sapwood
