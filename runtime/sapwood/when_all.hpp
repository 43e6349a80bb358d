// when_all: several tasks at once, and all their results. Loop thread only.
#pragma once

#include <sapwood/event_loop.hpp>
#include <sapwood/task.hpp>

#include <array>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

namespace sapwood {

namespace detail {

class when_all_join;

/// One of the tasks; a context of its own below the awaiting task's.
class when_all_branch final : public root_context {
  public:
    void start(when_all_join& join, event_loop& on, std::coroutine_handle<> coroutine,
               promise_base& promise) noexcept {
        join_ = &join;
        promise_ = &promise;
        loop = &on;
        promise.context = this;
        start_.handle = coroutine;
        start_.context = this;
        on.make_ready(start_);
    }

    inline void finished() noexcept override;

    [[nodiscard]] bool is_running() const noexcept { return promise_ != nullptr; }

  private:
    ready_node start_;
    when_all_join* join_ = nullptr;
    promise_base* promise_ = nullptr;
};

/// Waits for all branches. The first that fails cancels the others; a cancelled wait cancels them
/// all; either way all are awaited.
class when_all_join : public waiter {
  public:
    /// Asking twice would break off the cleanup of those that are ending already.
    void cancel() noexcept final {
        if (!std::exchange(asked_to_stop_, true)) {
            cancel_branches();
        }
    }

    void branch_finished(std::exception_ptr error) noexcept {
        if (error && !first_error_) {
            first_error_ = std::move(error);
            cancel();
        }
        if (--running_ == 0) {
            context->loop->make_ready(*this);
        }
    }

  protected:
    when_all_join() = default;
    ~when_all_join() = default;

    /// `count` branches, about to be started.
    void expect(std::size_t count) noexcept { running_ = count; }

    /// Rethrows the failure that came first.
    void rethrow() {
        if (first_error_) {
            try {
                std::rethrow_exception(first_error_);
            } catch (const cancelled&) {
                (void)context->take_cancel_request();
                throw;
            }
        }
    }

    virtual void cancel_branches() noexcept = 0;

  private:
    std::size_t running_ = 0;
    bool asked_to_stop_ = false;
    std::exception_ptr first_error_;
};

inline void when_all_branch::finished() noexcept {
    auto& promise = *std::exchange(promise_, nullptr);
    join_->branch_finished(promise.error);
}

template <class T>
using when_all_value = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

template <class T>
when_all_value<T> take_value(std::coroutine_handle<promise<T>> coroutine) {
    if constexpr (std::is_void_v<T>) {
        coroutine.promise().take();
        return {};
    } else {
        return coroutine.promise().take();
    }
}

/// Owns the coroutines of tasks that have been started.
template <class T>
class started_task {
  public:
    explicit started_task(task<T> from) noexcept : coroutine(std::move(from).release()) {}

    started_task(started_task&& other) noexcept
        : coroutine(std::exchange(other.coroutine, nullptr)) {}

    started_task& operator=(started_task&&) = delete;

    ~started_task() {
        if (coroutine != nullptr) {
            coroutine.destroy();
        }
    }

    std::coroutine_handle<promise<T>> coroutine;
};

template <class... Ts>
class [[nodiscard]] when_all_tuple final : public when_all_join {
  public:
    explicit when_all_tuple(task<Ts>... tasks) noexcept
        : tasks_(started_task<Ts>(std::move(tasks))...) {}

    [[nodiscard]] bool await_ready() const noexcept { return sizeof...(Ts) == 0; }

    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> awaiting) noexcept {
        wait_in(awaiting);
        expect(sizeof...(Ts));
        std::apply(
            [this](auto&... task) {
                std::size_t index = 0;
                (branches_[index++].start(*this, *context->loop, task.coroutine,
                                          task.coroutine.promise()),
                 ...);
            },
            tasks_);
        if (context->must_stop()) {
            cancel();
        }
    }

    std::tuple<when_all_value<Ts>...> await_resume() {
        rethrow();
        return std::apply(
            [](auto&... task) {
                return std::tuple<when_all_value<Ts>...>(take_value(task.coroutine)...);
            },
            tasks_);
    }

  private:
    void cancel_branches() noexcept override {
        for (auto& branch : branches_) {
            if (branch.is_running()) {
                branch.cancel();
            }
        }
    }

    std::tuple<started_task<Ts>...> tasks_;
    std::array<when_all_branch, sizeof...(Ts)> branches_;
};

template <class T>
class [[nodiscard]] when_all_vector final : public when_all_join {
  public:
    explicit when_all_vector(std::vector<task<T>> tasks) : branches_(tasks.size()) {
        tasks_.reserve(tasks.size());
        for (auto& task : tasks) {
            tasks_.emplace_back(std::move(task));
        }
    }

    [[nodiscard]] bool await_ready() const noexcept { return tasks_.empty(); }

    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> awaiting) noexcept {
        wait_in(awaiting);
        expect(tasks_.size());
        for (std::size_t i = 0; i < tasks_.size(); ++i) {
            branches_[i].start(*this, *context->loop, tasks_[i].coroutine,
                               tasks_[i].coroutine.promise());
        }
        if (context->must_stop()) {
            cancel();
        }
    }

    auto await_resume() {
        rethrow();
        if constexpr (!std::is_void_v<T>) {
            std::vector<T> values;
            values.reserve(tasks_.size());
            for (auto& task : tasks_) {
                values.push_back(task.coroutine.promise().take());
            }
            return values;
        }
    }

  private:
    void cancel_branches() noexcept override {
        for (auto& branch : branches_) {
            if (branch.is_running()) {
                branch.cancel();
            }
        }
    }

    std::vector<started_task<T>> tasks_;
    std::vector<when_all_branch> branches_;
};

template <class T>
[[nodiscard]] task<T> as_task(task<T> one) noexcept {
    return one;
}

template <task_function F>
[[nodiscard]] auto as_task(F work) {
    return call(std::move(work));
}

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

/// The same for any number of tasks of one type: a vector of their results in the tasks' order,
/// nothing for void.
template <class T>
[[nodiscard]] detail::when_all_vector<T> when_all(std::vector<task<T>> tasks) {
    return detail::when_all_vector<T>(std::move(tasks));
}

} // namespace sapwood
