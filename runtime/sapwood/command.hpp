// command: what a process is to be started with. A plain value: any thread, but that a descriptor
// it names must be open until the process has been started.
#pragma once

#include <sapwood/clock.hpp>

#include <chrono>
#include <concepts>
#include <csignal>
#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace sapwood {

/// What one of a new process's three standard streams is.
class stdio {
  public:
    enum class kind : std::uint8_t { inherited, null, pipe, descriptor, with_output };

    /// This process's own.
    [[nodiscard]] static stdio inherit() noexcept { return stdio(kind::inherited); }

    /// /dev/null: nothing to read, and what is written is gone.
    [[nodiscard]] static stdio null() noexcept { return stdio(kind::null); }

    /// A new pipe, whose other end is in `process`.
    [[nodiscard]] static stdio pipe() noexcept { return stdio(kind::pipe); }

    /// A copy of an open descriptor, which stays the caller's: a file, a socket, an end of a pipe.
    [[nodiscard]] static stdio descriptor(int fd) noexcept { return stdio(kind::descriptor, fd); }

    /// Standard error only: wherever standard output goes, in the order in which it is written.
    [[nodiscard]] static stdio with_output() noexcept { return stdio(kind::with_output); }

    [[nodiscard]] kind what() const noexcept { return what_; }

    /// -1 but for a descriptor.
    [[nodiscard]] int fd() const noexcept { return fd_; }

  private:
    explicit stdio(kind what, int fd = -1) noexcept : what_(what), fd_(fd) {}

    kind what_;
    int fd_;
};

/// How a process is ended that nobody wants any more.
struct stop_options {
    /// What it is asked with. A process that has been stopped (SIGSTOP) is continued for it.
    int signal = SIGTERM;
    /// How long it may take to end by itself; then it is killed (SIGKILL). Zero: killed at once.
    clock::duration grace = std::chrono::seconds(5);
    /// Do nothing: it lives on when the task that waits for it is cancelled, or its `process` is
    /// destroyed. It is reaped all the same while the loop runs.
    bool leave_running = false;
};

/// Not an aggregate, so that it may stand in a co_await expression (with its arguments one by one:
/// gcc 12 takes no list in braces there); its fields are for the caller to set. The new process has
/// no signal blocked, every signal at its default, and no descriptor but its three standard
/// streams; before Linux 5.11 it also has what this process has opened without O_CLOEXEC, which is
/// nothing of sapwood's.
struct command {
    /// `program_to_run` with a slash is a path, from `directory`. Without one it is looked for in
    /// PATH, that of `environment` where it is given.
    template <std::convertible_to<std::string>... Arguments>
    explicit command(std::string program_to_run, Arguments&&... its_arguments)
        : program(std::move(program_to_run)) {
        arguments.reserve(sizeof...(its_arguments));
        (arguments.emplace_back(std::forward<Arguments>(its_arguments)), ...);
    }

    command(std::string program_to_run, std::vector<std::string> its_arguments)
        : program(std::move(program_to_run)),
          arguments(std::move(its_arguments)) {}

    std::string program;
    /// Without the program's name, which is put before them. No shell looks at them.
    std::vector<std::string> arguments;
    /// All of it, each "NAME=value"; by default it is this process's.
    std::optional<std::vector<std::string>> environment;
    /// Where it begins; empty for where this process is.
    std::string directory;
    stdio in = stdio::inherit();
    stdio out = stdio::inherit();
    stdio err = stdio::inherit();
    /// It leads a process group of its own, and what is sent to it goes to all of the group: to
    /// what a shell has started, too. It then does not get the terminal's Ctrl-C.
    bool own_group = false;
    stop_options stop = {};
};

static_assert(std::is_trivially_destructible_v<stdio> &&
                  std::is_trivially_destructible_v<stop_options>,
              "gcc 12 destroys options in a co_await expression twice");

} // namespace sapwood
