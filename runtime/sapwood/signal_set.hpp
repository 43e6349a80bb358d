// signal_set: signals as something a task awaits. Loop thread only.
#pragma once

#include <sapwood/file.hpp>

#include <csignal>
#include <initializer_list>

namespace sapwood {

/// While it exists, its signals are blocked on this thread and come here instead of killing the
/// process. Make it before other threads are started, so that they inherit the block.
class signal_set {
  public:
    /// For example {SIGINT, SIGTERM}. Throws std::system_error.
    explicit signal_set(std::initializer_list<int> signals);
    signal_set(const signal_set&) = delete;
    signal_set& operator=(const signal_set&) = delete;

    /// Restores what was blocked before. A signal that has come and was not awaited is dropped.
    ~signal_set();

    /// Waits for the next signal and returns its number. Throws `cancelled`.
    [[nodiscard]] task<int> next();

  private:
    /// In use from a signal's poll to its read.
    class signal_file final : public file {
      public:
        using file::file;
        using file::use;
    };

    sigset_t signals_{};
    sigset_t blocked_before_{};
    signal_file descriptor_;
};

} // namespace sapwood
