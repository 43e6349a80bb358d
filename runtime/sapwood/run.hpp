// run: where a program enters sapwood.
#pragma once

#include <sapwood/spawn.hpp>

namespace sapwood {

template <class T>
T event_loop::run(task<T> main) {
    note_time(now()); // it may have been long since the last run
    join_handle<T> handle = spawn(std::move(main));
    run_until_done(*handle.task_);
    return handle.task_->template take<T>();
}

/// Runs `main` on a new loop on this thread and returns its result or throws its exception.
/// Before it returns, every task still alive has been cancelled and awaited. Throws
/// std::system_error, with the reason and the remedy, where no ring can be made. SIGPIPE and
/// SIGXFSZ are ignored from then on, unless the program handles them: a write to a closed pipe is
/// an error, not the end of the process.
template <class T>
T run(task<T> main, loop_options options = {}) {
    event_loop loop(std::move(options));
    return loop.run(std::move(main));
}

/// The same for what makes the task when it is called, a function or a lambda coroutine.
template <detail::task_function F>
auto run(F main, loop_options options = {}) {
    return run(detail::call(std::move(main)), std::move(options));
}

} // namespace sapwood
