// dump_tasks: what every task of a loop is doing, for people who look for the one that hangs.
//
//     2 tasks, 0 ready to run
//     #1 "main" 3.0 s: join of a task, for 3.0 s
//         run() at server.cpp:41
//       #2 "reader" 3.0 s: receive of up to 4096 bytes on socket 7, for 2.9 s
//           read_one() at server.cpp:12
//           serve() at server.cpp:27
//
// Loop thread only, at any moment; what is printed is a tree: below a task stand those whose ends
// it waits for. Nothing is kept for it that costs more than a store where a task waits anyway.
#pragma once

#include <csignal>
#include <cstddef>
#include <source_location>
#include <string>

namespace sapwood {

class event_loop;

struct dump_options {
    /// Tasks that are printed; of the others their number. Of a thousand, each in a deep call, a
    /// terminal still shows what is going on.
    std::size_t tasks_max = 1000;

    /// co_awaits inside each other that are printed of a task, the innermost ones.
    std::size_t calls_max = 32;
};

/// For each task of the loop that runs on this thread:
///
/// - its number, in the order in which tasks were started; its name; how long ago it was started;
/// - what it waits for and for how long, or that it is ready, or runs; whether it was asked to stop
///   and has not been told yet, and who holds the mutex that it waits for;
/// - the co_awaits in which it is, the outermost first.
///
/// The task that runs is told of by the place of this call alone: what called it is on the stack,
/// where a debugger sees it. Times are in steps of 17 ms. Ends with a newline. Allocates.
[[nodiscard]] std::string
dump_tasks(dump_options options = {},
           const std::source_location& where = std::source_location::current());

/// The same of `loop`, on its thread, also where it does not run.
[[nodiscard]] std::string
dump_tasks(const event_loop& loop, dump_options options = {},
           const std::source_location& where = std::source_location::current());

/// The same, written to a descriptor, in blocking calls: the loop waits for whoever reads it. What
/// cannot be written is dropped.
void dump_tasks(int fd, dump_options options = {},
                const std::source_location& where = std::source_location::current());

/// From now on, until the loop that runs on this thread ends, `signal` has its tasks written to
/// standard error, by a task of the name dump_tasks_on. `kill -USR1` then shows why a program does
/// nothing. A loop that does not come to it, because a task holds it, cannot answer: that is what
/// event_loop::on_slow_task and a debugger are for.
///
/// The signal is blocked from this call on, on this thread and on those that are started
/// afterwards; call it before others are started, which the signal would kill. Throws
/// std::system_error.
void dump_tasks_on(int signal = SIGUSR1);

} // namespace sapwood
