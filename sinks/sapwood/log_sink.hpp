// Where log lines go. A sink is one output's: its functions are called by one coroutine, one at a
// time, on the consumer's loop.
#pragma once

#include <sapwood/log_news.hpp>
#include <sapwood/log_record.hpp>
#include <sapwood/task.hpp>

#include <memory>
#include <span>
#include <string>

namespace sapwood {

/// What a program has asked all sinks of a log for.
struct log_sink_requests {
    /// logger::reopen(): what is held by a name is opened anew if it has lost it.
    bool reopen = false;
    /// logger::rotate(): a new file is begun.
    bool rotate = false;

    [[nodiscard]] explicit operator bool() const noexcept { return reopen || rotate; }
};

class log_sink {
  public:
    virtual ~log_sink() = default;

    /// Before the first write. Throws what keeps the sink from working, with what to do about it.
    [[nodiscard]] virtual task<> open() = 0;

    /// Takes whole lines, each with its newline, and returns when they are with whoever keeps them
    /// when this process ends. Throws write_error where some were taken, std::system_error where
    /// none was; what was not taken comes again, later. Not to be stopped half-way: shield.
    [[nodiscard]] virtual task<> write(std::span<const char> lines) = 0;

    /// Between two writes: before each batch, and when something is asked for. A sink looks here
    /// after what it writes to. What it returns becomes the log's next line; what it throws is told
    /// on standard error, and writing goes on. The default does nothing.
    [[nodiscard]] virtual task<log_news> tend(log_sink_requests asked);

    /// In a handler of a crash, on any thread, perhaps in the middle of a write: puts whole lines
    /// where they survive the process, by nothing but system calls that a signal handler may make.
    /// False where it cannot, which is the default.
    virtual bool write_in_crash(std::span<const char> lines) noexcept;

    /// Lets go of what it holds; it may be opened again.
    [[nodiscard]] virtual task<> close() = 0;

    /// For messages to people: `file app.log`.
    [[nodiscard]] virtual std::string describe() const = 0;
};

} // namespace sapwood
