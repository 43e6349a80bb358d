// result<T>: a value or the std::error_code that stands in its place. What `co_await
// as_result(x)` gives instead of throwing. A plain value type: no thread, no loop.
#pragma once

#include <sapwood/assert.hpp>
#include <sapwood/waiter.hpp>

#include <coroutine>
#include <system_error>
#include <type_traits>
#include <utility>
#include <variant>

namespace sapwood {

template <class T>
class [[nodiscard]] result {
  public:
    using value_type = T;

    result(T value) : state_(std::in_place_index<0>, std::move(value)) {}

    /// `error` must be one: a result without a value says why.
    result(std::error_code error) : state_(std::in_place_index<1>, error) {
        SAPWOOD_ASSERT(error, "a result was made from an error code that means success");
    }

    [[nodiscard]] bool has_value() const noexcept { return state_.index() == 0; }

    explicit operator bool() const noexcept { return has_value(); }

    /// The value. Throws std::system_error with the error where there is none.
    T& value() & {
        require();
        return *std::get_if<0>(&state_);
    }

    T&& value() && {
        require();
        return std::move(*std::get_if<0>(&state_));
    }

    const T& value() const& {
        require();
        return *std::get_if<0>(&state_);
    }

    /// The value; asking for it where there is none is a programming error.
    T& operator*() & noexcept { return unchecked(); }

    T&& operator*() && noexcept { return std::move(unchecked()); }

    const T& operator*() const& noexcept { return const_cast<result*>(this)->unchecked(); }

    T* operator->() noexcept { return &unchecked(); }

    /// The error; an empty code where there is a value.
    [[nodiscard]] std::error_code error() const noexcept {
        const auto* error = std::get_if<1>(&state_);
        return error != nullptr ? *error : std::error_code{};
    }

  private:
    void require() const {
        if (!has_value()) {
            throw std::system_error(error());
        }
    }

    T& unchecked() noexcept {
        SAPWOOD_ASSERT(has_value(), "the value of a result that holds an error was used");
        return *std::get_if<0>(&state_);
    }

    std::variant<T, std::error_code> state_;
};

template <>
class [[nodiscard]] result<void> {
  public:
    using value_type = void;

    result() = default;

    /// An empty code means success.
    result(std::error_code error) noexcept : error_(error) {}

    [[nodiscard]] bool has_value() const noexcept { return !error_; }

    explicit operator bool() const noexcept { return has_value(); }

    void value() const {
        if (error_) {
            throw std::system_error(error_);
        }
    }

    [[nodiscard]] std::error_code error() const noexcept { return error_; }

  private:
    std::error_code error_;
};

/// An awaiter that can tell its outcome without throwing: operations on files, pipes and signals;
/// a channel's send, receive and join; sleeps and events. Not a task and not a join_handle, which
/// throw whatever their coroutine threw.
template <class A>
concept fallible_awaiter = requires(A& awaiter) {
    awaiter.await_ready();
    awaiter.outcome();
};

namespace detail {

/// Borrows the awaiter it was made from, which lives to the end of the co_await expression.
template <fallible_awaiter A>
class result_awaiter {
  public:
    explicit result_awaiter(A& awaiter) noexcept : awaiter_(awaiter) {}

    bool await_ready() { return awaiter_.await_ready(); }

    template <class Promise>
    auto await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location where = std::source_location::current()) {
        return suspend_in(awaiter_, awaiting, where);
    }

    auto await_resume() { return awaiter_.outcome(); }

  private:
    A& awaiter_;
};

} // namespace detail

/// `co_await as_result(operation)` gives a result<T> where `co_await operation` gives a T or
/// throws: nothing is thrown. A cancellation becomes std::errc::operation_canceled. Write it
/// around the operation in the co_await expression itself: it borrows the operation.
template <fallible_awaiter A>
[[nodiscard]] detail::result_awaiter<A> as_result(A&& awaiter) noexcept
    requires(!std::is_lvalue_reference_v<A>)
{
    return detail::result_awaiter<A>(awaiter);
}

} // namespace sapwood
