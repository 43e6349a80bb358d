// when_any: several at once, and the result of the first to end. Loop thread only.
#pragma once

#include <sapwood/branches.hpp>
#include <sapwood/result.hpp>

#include <functional>

namespace sapwood {

/// Which of the tasks ended first, and its result.
template <class T>
struct first_of {
    // A constructor, so that gcc 12 does not take it for an aggregate, which it would destroy twice
    // where it is a temporary in a co_await expression.
    first_of(std::size_t which, T what) : index(which), value(std::move(what)) {}

    /// The task's place in the call, from 0.
    std::size_t index;
    /// For tasks of different types, a std::variant whose alternative has the same index.
    T value;
};

namespace detail {

template <class T>
using any_value =
    std::conditional_t<std::is_reference_v<T>, std::reference_wrapper<std::remove_reference_t<T>>,
                       branch_value<T>>;

/// The first to end cancels the others.
class when_any_join : public branch_join {
  protected:
    static constexpr std::string_view expression = "when_any";

    ~when_any_join() = default;

    /// Throws where no branch has a result.
    const branch& winner() const {
        if (winner_ == nullptr) {
            throw_cancelled();
        }
        if (error_) {
            rethrow(error_);
        }
        return *winner_;
    }

  private:
    /// A branch that only does as it was told has not won: another one may still have a result.
    bool ends_all(const branch& which, const std::exception_ptr& error) noexcept final {
        const bool obeys = asked_to_stop() && is_cancelled(error);
        if (winner_ == nullptr && !obeys) {
            winner_ = &which;
            error_ = error;
            return true;
        }
        if (error && !obeys) {
            event_loop::report_unhandled(context->loop, error);
        }
        return false;
    }

    const branch* winner_ = nullptr;
    std::exception_ptr error_;
};

template <class... Ts>
class [[nodiscard]] when_any_tuple final : public branch_tuple<when_any_join, Ts...> {
  public:
    using variant = std::variant<any_value<Ts>...>;

    explicit when_any_tuple(task<Ts>... tasks) noexcept
        : branch_tuple<when_any_join, Ts...>(std::move(tasks)...) {}

    [[nodiscard]] bool await_ready() const noexcept { return false; }

    first_of<variant> await_resume() {
        return take(this->index_of(this->winner()), std::index_sequence_for<Ts...>());
    }

  private:
    template <std::size_t... Indices>
    first_of<variant> take(std::size_t index, std::index_sequence<Indices...>) {
        using take_one = first_of<variant> (*)(when_any_tuple&);
        static constexpr take_one take_each[] = {[](when_any_tuple& self) {
            return first_of<variant>(Indices,
                                     variant(std::in_place_index<Indices>,
                                             take_value(std::get<Indices>(self.tasks_).coroutine)));
        }...};
        return take_each[index](*this);
    }
};

template <class T>
class [[nodiscard]] when_any_vector final : public branch_vector<when_any_join, T> {
  public:
    explicit when_any_vector(std::vector<task<T>> tasks)
        : branch_vector<when_any_join, T>(std::move(tasks)) {
        SAPWOOD_ASSERT(!this->tasks_.empty(),
                       "when_any was given no tasks: it would wait for ever");
    }

    [[nodiscard]] bool await_ready() const noexcept { return false; }

    first_of<any_value<T>> await_resume() {
        const std::size_t index = this->index_of(this->winner());
        return {index, take_value(this->tasks_[index].coroutine)};
    }
};

/// A branch that waits for something without a coroutine of its own: how it ended, not thrown,
/// so that being cancelled costs no exception.
template <fallible_awaiter A>
auto outcome_of(A& awaiter) -> task<decltype(awaiter.outcome())> {
    co_return co_await unplaced(result_awaiter<A>(awaiter));
}

/// What may stand beside operations in a when_any.
template <class F>
concept any_work = is_task<F> || task_function<std::remove_cvref_t<F>>;

template <class F>
concept any_operation = any_awaiter<F> && !std::is_lvalue_reference_v<F>;

template <class F>
[[nodiscard]] auto as_any_branch(F&& work) {
    if constexpr (any_awaiter<F>) {
        return outcome_of(work);
    } else {
        return as_task(std::forward<F>(work));
    }
}

template <class... Ts>
[[nodiscard]] when_any_tuple<Ts...> any_of_tasks(task<Ts>... tasks) {
    return when_any_tuple<Ts...>(std::move(tasks)...);
}

} // namespace detail

/// Runs the tasks side by side until one ends, by a result or by an exception; cancels the others,
/// awaits their ends, and only then gives the first one's index and result (std::monostate for
/// void, std::reference_wrapper for references), or throws its exception. At least one task.
///
/// A loser that ends with a value all the same: the value is destroyed, so let none be a receive
/// whose item must not be lost (receive_for and timeout lose none). One that ends with an exception
/// other than `cancelled`: it goes to loop_options::on_unhandled_exception.
///
/// Cancelling the awaiting task cancels all. If one of them has a result for all that, or an
/// exception, it is given, and the request stays pending; else `cancelled` is thrown.
template <class... Ts>
    requires(sizeof...(Ts) > 0)
[[nodiscard]] detail::when_any_tuple<Ts...> when_any(task<Ts>... tasks) {
    return detail::any_of_tasks(std::move(tasks)...);
}

/// The same where some are given as what makes the task when it is called: each is kept until its
/// task is over, so a lambda coroutine may use what it has captured.
template <class... Fs>
    requires((detail::is_task<Fs> || detail::task_function<Fs>) && ...) &&
            (detail::task_function<Fs> || ...)
[[nodiscard]] auto when_any(Fs... works) {
    return detail::any_of_tasks(detail::as_task(std::move(works))...);
}

/// The same for any number of tasks of one type.
template <class T>
[[nodiscard]] detail::when_any_vector<T> when_any(std::vector<task<T>> tasks) {
    return detail::when_any_vector<T>(std::move(tasks));
}

/// The same for operations, sleeps, events, sends and receives by themselves. Each alternative is a
/// result<T>, as as_result gives it: the first to end may have failed. No exception is thrown to
/// stop the losers, which makes it the cheapest form. Borrows them: write them into the co_await
/// expression itself.
template <detail::any_awaiter... As>
    requires(sizeof...(As) > 0) && (!std::is_lvalue_reference_v<As> && ...)
[[nodiscard]] auto when_any(As&&... awaiters) {
    return detail::any_of_tasks(detail::outcome_of(awaiters)...);
}

/// The same for both: `when_any(serve(listener, handler), stop.wait())`. What an operation gives is
/// a result<T> here, too.
template <class... Fs>
    requires(detail::any_operation<Fs> || ...) && (detail::any_work<Fs> || ...) &&
            ((detail::any_operation<Fs> || detail::any_work<Fs>) && ...)
[[nodiscard]] auto when_any(Fs&&... works) {
    return detail::any_of_tasks(detail::as_any_branch(std::forward<Fs>(works))...);
}

} // namespace sapwood
