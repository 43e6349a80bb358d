// Several tasks side by side below one that waits for all their ends: what when_all and when_any
// are made of. Loop thread only. The waiting coroutine's expression owns the coroutines and a
// context for each; a Join says which end makes the others superfluous, and those are cancelled and
// awaited.
#pragma once

#include <sapwood/event_loop.hpp>
#include <sapwood/task.hpp>

#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

namespace sapwood::detail {

class branch_join;

/// One of the tasks; a context of its own below the awaiting task's.
class branch final : public root_context {
  public:
    inline void start(branch_join& join, std::coroutine_handle<> coroutine,
                      promise_base& promise) noexcept;

    inline void finished() noexcept override;

    [[nodiscard]] bool is_running() const noexcept { return promise_ != nullptr; }

  private:
    ready_node start_;
    branch_join* join_ = nullptr;
    promise_base* promise_ = nullptr;
};

/// Waits for all branches. A cancelled wait cancels them all and awaits them.
class branch_join : public waiter {
  public:
    /// Asking twice would break off the cleanup of those that are ending already.
    void cancel() noexcept final {
        if (!std::exchange(asked_to_stop_, true)) {
            cancel_branches();
        }
    }

    void branch_finished(branch& which, const std::exception_ptr& error) noexcept {
        if (ends_all(which, error)) {
            cancel();
        }
        if (--running_ == 0) {
            context->loop->make_ready(*this);
        }
    }

  protected:
    branch_join() = default;
    ~branch_join() = default;

    /// `count` branches, about to be started.
    void expect(std::size_t count) noexcept { running_ = count; }

    [[nodiscard]] bool asked_to_stop() const noexcept { return asked_to_stop_; }

    /// `name` is the expression's.
    [[nodiscard]] std::string describe_join(std::string_view name, std::size_t count) const {
        return std::string(name) + ", " + std::to_string(running_) + " of " +
               std::to_string(count) + " still running";
    }

    template <class Branches>
    static void visit_running(const Branches& branches, task_visitor& visitor) {
        for (std::size_t i = branches.size(); i-- > 0;) {
            if (branches[i].is_running()) {
                visitor.visit(branches[i]);
            }
        }
    }

    /// Throws `cancelled`, which delivers a request that the awaiting task may have.
    [[noreturn]] void throw_cancelled() const {
        (void)context->take_cancel_request();
        throw cancelled{};
    }

    /// Throws a branch's failure in the awaiting task.
    [[noreturn]] void rethrow(const std::exception_ptr& error) const {
        if (is_cancelled(error)) {
            throw_cancelled();
        }
        std::rethrow_exception(error);
    }

    /// `which` has ended, with `error` if that is not null. Whether the others are to be cancelled.
    virtual bool ends_all(const branch& which, const std::exception_ptr& error) noexcept = 0;

    virtual void cancel_branches() noexcept = 0;

  private:
    std::size_t running_ = 0;
    bool asked_to_stop_ = false;
};

inline void branch::start(branch_join& join, std::coroutine_handle<> coroutine,
                          promise_base& promise) noexcept {
    join_ = &join;
    promise_ = &promise;
    begin_on(*join.context->loop);
    inherit_from(*join.context);
    take_name(promise);
    promise.context = this;
    promise.note = nullptr;
    start_.handle = coroutine;
    start_.context = this;
    loop->make_ready(start_);
}

inline void branch::finished() noexcept {
    auto& promise = *std::exchange(promise_, nullptr);
    join_->branch_finished(*this, promise.error);
}

/// What stands for a branch's result where results of several types stand together.
template <class T>
using branch_value = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

template <class T>
branch_value<T> take_value(std::coroutine_handle<promise<T>> coroutine) {
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

/// The tasks of one expression, each of its own type.
template <class Join, class... Ts>
class branch_tuple : public Join {
  public:
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location where = std::source_location::current()) noexcept {
        this->wait_in(awaiting, where);
        this->expect(sizeof...(Ts));
        std::apply(
            [this](auto&... task) {
                std::size_t index = 0;
                (branches_[index++].start(*this, task.coroutine, task.coroutine.promise()), ...);
            },
            tasks_);
        if (this->context->must_stop()) {
            this->cancel();
        }
    }

  protected:
    explicit branch_tuple(task<Ts>... tasks) noexcept
        : tasks_(started_task<Ts>(std::move(tasks))...) {}

    ~branch_tuple() = default;

    [[nodiscard]] std::size_t index_of(const branch& which) const noexcept {
        return static_cast<std::size_t>(&which - branches_.data());
    }

    std::tuple<started_task<Ts>...> tasks_;

  public:
    [[nodiscard]] std::string describe() const final {
        return this->describe_join(Join::expression, sizeof...(Ts));
    }

    void visit_awaited(task_visitor& visitor) const final {
        this->visit_running(branches_, visitor);
    }

  private:
    void cancel_branches() noexcept final {
        for (auto& branch : branches_) {
            if (branch.is_running()) {
                branch.cancel();
            }
        }
    }

    std::array<branch, sizeof...(Ts)> branches_;
};

/// Any number of tasks of one type.
template <class Join, class T>
class branch_vector : public Join {
  public:
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location where = std::source_location::current()) noexcept {
        this->wait_in(awaiting, where);
        this->expect(tasks_.size());
        for (std::size_t i = 0; i < tasks_.size(); ++i) {
            branches_[i].start(*this, tasks_[i].coroutine, tasks_[i].coroutine.promise());
        }
        if (this->context->must_stop()) {
            this->cancel();
        }
    }

  protected:
    explicit branch_vector(std::vector<task<T>> tasks) : branches_(tasks.size()) {
        tasks_.reserve(tasks.size());
        for (auto& task : tasks) {
            tasks_.emplace_back(std::move(task));
        }
    }

    ~branch_vector() = default;

    [[nodiscard]] std::size_t index_of(const branch& which) const noexcept {
        return static_cast<std::size_t>(&which - branches_.data());
    }

    std::vector<started_task<T>> tasks_;

  public:
    [[nodiscard]] std::string describe() const final {
        return this->describe_join(Join::expression, branches_.size());
    }

    void visit_awaited(task_visitor& visitor) const final {
        this->visit_running(branches_, visitor);
    }

  private:
    void cancel_branches() noexcept final {
        for (auto& branch : branches_) {
            if (branch.is_running()) {
                branch.cancel();
            }
        }
    }

    std::vector<branch> branches_;
};

/// An operation, a sleep and the like: what is awaited and needs no coroutine.
template <class A>
concept any_awaiter = fallible_awaiter<A> && !is_task<A> && !task_function<A>;

template <class T>
[[nodiscard]] task<T> as_task(task<T> one) noexcept {
    return one;
}

template <task_function F>
[[nodiscard]] auto as_task(F work) {
    return call(std::move(work));
}

} // namespace sapwood::detail
