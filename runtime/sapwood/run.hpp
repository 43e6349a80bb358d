// run: where a program enters sapwood.
#pragma once

#include <sapwood/spawn.hpp>

namespace sapwood {

template <class T>
T event_loop::run(task<T> main) {
    join_handle<T> handle = spawn(std::move(main));
    run_until_done(*handle.task_);
    return handle.task_->template take<T>();
}

/// Runs `main` on a new loop on this thread and returns its result or throws its exception.
/// Before it returns, every task still alive has been cancelled and awaited. Throws
/// std::system_error, with the reason and the remedy, where no ring can be made.
template <class T>
T run(task<T> main, loop_options options = {}) {
    event_loop loop(std::move(options));
    return loop.run(std::move(main));
}

} // namespace sapwood
