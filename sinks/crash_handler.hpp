// Writes what was logged before a signal that ends the process: SIGSEGV, SIGBUS, SIGILL, SIGFPE,
// SIGABRT. The handler asks each log's consumer to write everything, and waits; where that one has
// crashed itself, or does not answer, the handler empties the rings by system calls of its own.
// Then the handler that was there before it gets the signal, or the process ends as it would have.
#pragma once

#include <sapwood/log_backend.hpp>

namespace sapwood::detail {

class log_consumer;

/// Whoever waits for another thread while the process crashes looks again after so long.
inline constexpr std::int64_t crash_pause_ns = 200'000;

/// Waits for that. Async-signal-safe.
void pause_in_crash() noexcept;

class crash_handler {
  public:
    /// Gives the signals back, whatever is watched: the handler's code goes.
    static void uninstall() noexcept;

    /// In a child process: what is watched is the parent's.
    static void become_childs() noexcept;

    /// What a person is told: `SIGSEGV (bad address 0x10)`, in at most text_bytes_max bytes.
    static std::size_t describe(const signal_note& note, char* to) noexcept;

    static constexpr std::size_t text_bytes_max = 128;

    /// From now on the consumer's log is written when the process crashes. The first one has the
    /// signals taken, unless from who has taken them from this handler before: that one may pass
    /// them on to it. Throws std::bad_alloc.
    static void watch(log_consumer& of);

    /// No more. Waits for a handler that has begun with it. With the last one the signals are given
    /// back.
    static void unwatch(log_consumer& of) noexcept;
};

} // namespace sapwood::detail
