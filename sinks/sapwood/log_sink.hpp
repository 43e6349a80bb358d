// Where log lines go. A sink is one output's: its functions are called by one coroutine, one at a
// time, on the consumer's loop.
#pragma once

#include <sapwood/log_record.hpp>
#include <sapwood/task.hpp>

#include <memory>
#include <span>
#include <string>

namespace sapwood {

class log_sink {
  public:
    virtual ~log_sink() = default;

    /// Before the first write. Throws what keeps the sink from working, with what to do about it.
    [[nodiscard]] virtual task<> open() = 0;

    /// Takes whole lines, each with its newline, and returns when they are with whoever keeps them
    /// when this process ends. Throws write_error where some were taken, std::system_error where
    /// none was; what was not taken comes again, later. Not to be stopped half-way: shield.
    [[nodiscard]] virtual task<> write(std::span<const char> lines) = 0;

    /// Lets go of what it holds; it may be opened again.
    [[nodiscard]] virtual task<> close() = 0;

    /// For messages to people: `file app.log`.
    [[nodiscard]] virtual std::string describe() const = 0;

    /// Instead of open(), in a process that was forked while the sink was open: what it had is a
    /// copy, made at any moment, and its loop is not there. It shares with its parent what cannot
    /// be had twice.
    [[nodiscard]] virtual task<> open_in_child() { return open(); }

    /// Writes lines from a signal handler, when the process dies. Async-signal-safe: system calls
    /// only, no lock, no allocation; it does not block for long. False where nothing was written.
    /// Lines may be those that a write(), which has not returned and will not, was given, at the
    /// same address: a sink that can tell how many of them it has leaves these out.
    virtual bool write_in_crash(std::span<const char> lines) noexcept {
        (void)lines;
        return false;
    }
};

} // namespace sapwood
