// A program under test, in a process of its own.
#pragma once

#include "support/temporary_directory.hpp"

#include <functional>
#include <string>
#include <sys/types.h>
#include <vector>

namespace sapwood::test {

class program {
  public:
    struct outcome {
        /// As a shell has it: the exit code, or 128 and the signal that killed it.
        int status = 0;
        std::string out;
        std::string err;
    };

    struct streams {
        /// Borrowed until the program has been started; -1 is a file at its end.
        int in = -1;
        /// -1 is collected for the outcome.
        int err = -1;
        /// Runs in the new process before the program does.
        std::function<void()> prepare = {};
    };

    /// Starts demos/<name> or tools/<name> of this build.
    program(const std::string& name, std::vector<std::string> arguments)
        : program(name, std::move(arguments), streams{}) {}

    program(const std::string& name, std::vector<std::string> arguments, const streams& with);
    program(const program&) = delete;
    program& operator=(const program&) = delete;

    /// Kills it if it still runs.
    ~program();

    void signal(int number) const;

    /// What it has written to standard output until now.
    [[nodiscard]] std::string out_so_far() const { return contents_of(directory_ / "out"); }

    /// And to standard error.
    [[nodiscard]] std::string err_so_far() const { return contents_of(directory_ / "err"); }

    [[nodiscard]] pid_t pid() const noexcept { return pid_; }

    /// Waits for its end. A program that does not end within a minute is killed.
    outcome wait();

  private:
    temporary_directory directory_;
    pid_t pid_ = -1;
};

/// Runs it to its end.
[[nodiscard]] program::outcome run_program(const std::string& name,
                                           std::vector<std::string> arguments);

[[nodiscard]] program::outcome run_program(const std::string& name,
                                           std::vector<std::string> arguments,
                                           const program::streams& with);

/// Waits until `holds`, for what another process does. Fails the test after half a minute.
void eventually(const std::function<bool()>& holds);

} // namespace sapwood::test
