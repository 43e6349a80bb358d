// The task that runs: its name, whether it is to stop, and values that belong to it and to whatever
// it starts (Python's contextvars). Loop thread only; every function here is to be called by a
// task, but not necessarily by a coroutine: a plain function that a task calls can ask as well.
#pragma once

#include <sapwood/event_loop.hpp>
#include <sapwood/inherited_value.hpp>
#include <sapwood/task_name.hpp>

#include <string_view>
#include <utility>

namespace sapwood {

namespace detail {

[[nodiscard]] inline task_context& running_task() noexcept {
    task_context* const task = running_loop != nullptr ? running_loop->running_task() : nullptr;
    SAPWOOD_ASSERT(task != nullptr, "this_task and task_local are for the code of a task, and no "
                                    "task runs here");
    return *task;
}

} // namespace detail

namespace this_task {

/// The name the task was given, or the one of the task that started it had at that time; empty
/// where there is none. Valid until the task ends or is given another.
[[nodiscard]] inline std::string_view name() noexcept {
    return detail::name_of(detail::running_task());
}

/// Names the task, and the tasks that it starts from now on. A literal takes no memory. A task that
/// is to have its name from the beginning gets it from spawn, or from named.
inline void set_name(task_name name) {
    detail::set_name(detail::running_task(), name);
}

/// Whether somebody asked the task, or a timeout around it, to stop and it has not been told yet:
/// it will be at the next wait, or when its shields are down. For long stretches of work without a
/// wait.
[[nodiscard]] inline bool cancel_requested() noexcept {
    return detail::running_task().cancel_requested;
}

} // namespace this_task

/// A key, to be a global or otherwise outlive its bindings: each task has its own value for it.
///
///     sapwood::task_local<std::string> user("nobody");
///
///     const auto bound = user.bind("ann"); // to the end of the block
///     co_await handle_request();           // user.get() == "ann" here, and in what it starts
///
/// What a task starts (spawn, a group's member, a branch of when_all or when_any) has the values
/// that were bound when it was started, and keeps them for as long as it lives. A bound value is
/// never changed, so those who share it need not be afraid of each other. Binding takes a pooled
/// block, handing down takes none. Not for lookups in inner loops: get() walks the task's bindings.
template <class T>
class task_local {
  public:
    class binding;

    task_local() = default;

    /// What get() gives where nothing is bound.
    explicit task_local(T otherwise) : otherwise_(std::move(otherwise)) {}

    task_local(const task_local&) = delete;
    task_local& operator=(const task_local&) = delete;

    /// The value bound last in the task that runs. Valid while it is bound in this task.
    [[nodiscard]] const T& get() const noexcept {
        const detail::inherited_value* each = detail::running_task().locals;
        for (; each != nullptr; each = each->next()) {
            if (each->key() == this) {
                return static_cast<const detail::inherited<T>*>(each)->value;
            }
        }
        return otherwise_;
    }

    /// Binds `value` in the task that runs, until the result is destroyed: in that task, and
    /// before the bindings that were made earlier, as local variables do.
    [[nodiscard]] binding bind(T value) const { return binding(*this, std::move(value)); }

  private:
    T otherwise_{};
};

template <class T>
class [[nodiscard]] task_local<T>::binding {
  public:
    binding(const task_local& key, T value)
        : task_(detail::running_task()),
          node_(new detail::inherited<T>(&key, task_.locals, std::move(value))) {
        task_.locals = node_; // with the task's share of what was first until now
    }

    binding(const binding&) = delete;
    binding& operator=(const binding&) = delete;

    ~binding() {
        SAPWOOD_ASSERT(task_.locals == node_, "a task_local's binding ended in another task, or "
                                              "before one that was made later");
        task_.locals = detail::share_inherited(node_->next());
        detail::release_inherited(node_);
    }

  private:
    task_context& task_;
    detail::inherited_value* const node_;
};

} // namespace sapwood
