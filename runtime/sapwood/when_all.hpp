// when_all: several tasks at once, and all their results. Loop thread only.
#pragma once

#include <sapwood/branches.hpp>

namespace sapwood {

namespace detail {

/// The first that fails cancels the others.
class when_all_join : public branch_join {
  protected:
    static constexpr std::string_view expression = "when_all";

    ~when_all_join() = default;

    /// Rethrows the failure that came first.
    void rethrow_first() const {
        if (first_error_) {
            rethrow(first_error_);
        }
    }

  private:
    bool ends_all(const branch&, const std::exception_ptr& error) noexcept final {
        if (!error || first_error_) {
            return false;
        }
        first_error_ = error;
        return true;
    }

    std::exception_ptr first_error_;
};

template <class... Ts>
class [[nodiscard]] when_all_tuple final : public branch_tuple<when_all_join, Ts...> {
  public:
    explicit when_all_tuple(task<Ts>... tasks) noexcept
        : branch_tuple<when_all_join, Ts...>(std::move(tasks)...) {}

    [[nodiscard]] bool await_ready() const noexcept { return sizeof...(Ts) == 0; }

    std::tuple<branch_value<Ts>...> await_resume() {
        this->rethrow_first();
        return std::apply(
            [](auto&... task) {
                return std::tuple<branch_value<Ts>...>(take_value(task.coroutine)...);
            },
            this->tasks_);
    }
};

template <class T>
class [[nodiscard]] when_all_vector final : public branch_vector<when_all_join, T> {
  public:
    explicit when_all_vector(std::vector<task<T>> tasks)
        : branch_vector<when_all_join, T>(std::move(tasks)) {}

    [[nodiscard]] bool await_ready() const noexcept { return this->tasks_.empty(); }

    auto await_resume() {
        this->rethrow_first();
        if constexpr (!std::is_void_v<T>) {
            std::vector<T> values;
            values.reserve(this->tasks_.size());
            for (auto& task : this->tasks_) {
                values.push_back(task.coroutine.promise().take());
            }
            return values;
        }
    }
};

template <any_awaiter A>
class borrowed_awaiter {
  public:
    explicit borrowed_awaiter(A& awaiter) noexcept : awaiter_(awaiter) {}

    bool await_ready() { return awaiter_.await_ready(); }

    template <class Promise>
    auto await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location where = std::source_location::current()) {
        return suspend_in(awaiter_, awaiting, where);
    }

    decltype(auto) await_resume() { return awaiter_.await_resume(); }

  private:
    A& awaiter_;
};

/// Awaits what lives to the end of the co_await expression.
template <any_awaiter A>
auto task_of_borrowed(A& awaiter) -> task<decltype(awaiter.await_resume())> {
    co_return co_await unplaced(borrowed_awaiter<A>(awaiter));
}

template <class F>
[[nodiscard]] auto as_branch(F&& work) {
    if constexpr (any_awaiter<F>) {
        return task_of_borrowed(work);
    } else {
        return as_task(std::forward<F>(work));
    }
}

template <class F>
concept branch_source =
    !std::is_lvalue_reference_v<F> && (is_task<F> || task_function<F> || any_awaiter<F>);

template <class... Ts>
[[nodiscard]] when_all_tuple<Ts...> all_of_tasks(task<Ts>... tasks) {
    return when_all_tuple<Ts...>(std::move(tasks)...);
}

} // namespace detail

/// Runs the tasks side by side and gives a tuple of their results, std::monostate for void. The
/// first failure cancels the other tasks; when all have ended it is rethrown. Cancelling the
/// awaiting task cancels them all and awaits them.
template <class... Ts>
[[nodiscard]] detail::when_all_tuple<Ts...> when_all(task<Ts>... tasks) {
    return detail::all_of_tasks(std::move(tasks)...);
}

/// The same where some are given as what makes the task when it is called: each is kept until its
/// task is over, so a lambda coroutine may use what it has captured.
template <class... Fs>
    requires((detail::is_task<Fs> || detail::task_function<Fs>) && ...) &&
            (detail::task_function<Fs> || ...)
[[nodiscard]] auto when_all(Fs... works) {
    return detail::all_of_tasks(detail::as_task(std::move(works))...);
}

/// The same where some are operations, sleeps, sends and receives by themselves. Borrows these:
/// write them into the co_await expression itself.
template <detail::branch_source... Fs>
    requires(detail::any_awaiter<Fs> || ...)
[[nodiscard]] auto when_all(Fs&&... works) {
    return detail::all_of_tasks(detail::as_branch(std::forward<Fs>(works))...);
}

/// The same for any number of tasks of one type: a vector of their results in the tasks' order,
/// nothing for void.
template <class T>
[[nodiscard]] detail::when_all_vector<T> when_all(std::vector<task<T>> tasks) {
    return detail::when_all_vector<T>(std::move(tasks));
}

} // namespace sapwood
