// Where log lines go. A sink is one output's: its functions are called by one coroutine, one at a
// time, on the consumer's loop. Who writes one of their own implements the four pure functions;
// docs/log-outputs.md shows one.
#pragma once

#include <sapwood/clock.hpp>
#include <sapwood/file_sink.hpp> // write_error
#include <sapwood/log_news.hpp>
#include <sapwood/log_record.hpp>
#include <sapwood/task.hpp>

#include <memory>
#include <span>
#include <string>
#include <system_error>

namespace sapwood {

/// A sink that fails and will never work again: a pipe without a reader. Nobody is held up for it
/// any more, as for one that may come back; what comes for it is lost, counted and told.
class sink_gone : public std::system_error {
  public:
    using std::system_error::system_error;
};

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
    /// when this process ends. Throws write_error where some were taken (bytes_kept says how many:
    /// whole lines only), std::system_error where none was, sink_gone where none ever will be. What
    /// was not taken comes again, later, in front. Not to be stopped half-way: shield. It ends,
    /// somehow, in a time that is bounded: the log waits for it when it is closed.
    [[nodiscard]] virtual task<> write(std::span<const char> lines) = 0;

    /// Between two writes: before each batch, and when something is asked for. A sink looks here
    /// after what it writes to. What it returns becomes the log's next line; what it throws is told
    /// on standard error, and writing goes on. The default does nothing.
    [[nodiscard]] virtual task<log_news> tend(log_sink_requests asked);

    /// Whether lines that it has taken are to survive the machine. The log waits for such a sink,
    /// as its threads' full policy says, rather than lose a line; and calls sync().
    [[nodiscard]] virtual bool is_durable() const noexcept { return false; }

    /// Between two writes: returns when all lines that were taken survive the machine. Throws
    /// std::system_error, and is called again then. The default has nothing to do.
    [[nodiscard]] virtual task<> sync();

    /// When that is to be called at the latest; the end of time: when somebody asks.
    [[nodiscard]] virtual clock::time_point sync_at() const noexcept {
        return clock::time_point::max();
    }

    /// How many lines a durable sink has taken so far that no sync will ever reach, and says so in
    /// the log: what a signal's handler wrote into a file that cannot be trusted any more.
    [[nodiscard]] virtual std::uint64_t lines_stranded() const noexcept { return 0; }

    /// Whether what has failed for this reason may succeed within seconds: when the log ends it is
    /// tried again for some five then, before what is left is lost. So is what there is no memory
    /// for, whatever this says. The default: no.
    [[nodiscard]] virtual bool may_pass(std::error_code why) const noexcept;

    /// Lets go of what it holds; it may be opened again.
    [[nodiscard]] virtual task<> close() = 0;

    /// For messages to people: `file app.log`.
    [[nodiscard]] virtual std::string describe() const = 0;

    /// Instead of open(), in a process that was forked while the sink was open: what it had is a
    /// copy, made at any moment, and its loop is not there. It shares with its parent what cannot
    /// be had twice.
    [[nodiscard]] virtual task<> open_in_child() { return open(); }

    /// The form of its lines where the output names none. Null: the default text. A sink that sends
    /// records and not text, as the journal's, takes lines of a form of its own, and asks for it
    /// here. Whatever the form, a record is one line, and a newline ends it.
    [[nodiscard]] virtual std::unique_ptr<log_layout> default_form() const { return nullptr; }

    /// Writes lines from a signal handler, when the process dies. Async-signal-safe: system calls
    /// only, no lock, no allocation; it does not block for long. False where not all were written.
    /// Lines may be those that a write(), which has not returned and will not, was given, at the
    /// same address: a sink that can tell how many of them it has leaves these out.
    virtual bool write_in_crash(std::span<const char> lines) noexcept;

    /// Of the lines that the last write_in_crash() was given, and that it has not written all, how
    /// many bytes in front have been, by it or before: whole lines only. The default: none.
    [[nodiscard]] virtual std::size_t kept_in_crash() const noexcept { return 0; }
};

} // namespace sapwood
