// named: a task that has its name from the beginning, wherever it is started. Loop thread only.
#pragma once

#include <sapwood/task.hpp>
#include <sapwood/task_name.hpp>

#include <string>
#include <utility>

namespace sapwood {

namespace detail {

template <class T>
task<T> name_and_await(std::string name, task<T> one) {
    set_string_name(*event_loop::current().running_task(), std::move(name));
    co_return co_await unplaced(std::move(one).operator co_await());
}

} // namespace detail

/// `co_await when_all(named("reader", read(socket)), named("writer", write(socket)))`. Also for
/// when_any, run, and tasks that go through other hands before they are started. A literal costs
/// nothing; another text a pooled frame around the task, which sets the name when it starts. A task
/// that is awaited directly is a part of the one that awaits it: a literal is then ignored, another
/// text renames that task.
template <class T>
[[nodiscard]] task<T> named(task_name name, task<T> one) {
    if (name.empty()) {
        return one;
    }
    if (!name.is_literal()) {
        return detail::name_and_await(std::string(name.text()), std::move(one));
    }
    return std::move(one).with_literal_name(name.text().data());
}

/// The same for what makes the task when it is called: it is kept until the task is over.
template <detail::task_function F>
[[nodiscard]] auto named(task_name name, F work) {
    return named(name, detail::call(std::move(work)));
}

} // namespace sapwood
