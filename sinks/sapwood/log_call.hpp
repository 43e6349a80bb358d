// log_call: a call of a function as an action: what went in, what came out, how long it took, and
// how it failed. Of a function that makes a task, the action begins when the task is awaited and
// ends when it does.
//
//     auto r = co_await log.call("save_order", save_order, order);        // arg0, result
//     auto r = co_await SAPWOOD_LOG_CALL(log, save_order, order);         // order, result
//     log.call({.name = "login", .arguments = "u, p", .redact = "p"}, login, u, p);
//
// Values are shown as fmt formats them by `{}`; those of a type that has a function
// `log_value(const T&)` beside it as what that returns; others by the type's name. Any thread.
// A lambda that has captured something and makes a task is kept, and its arguments are, as copies:
// not those that it wants by reference, or that cannot be copied, which have to live as long as for
// a call without a log.
#pragma once

#include <sapwood/logger.hpp>

#include <concepts>
#include <cstddef>
#include <exception>
#include <functional>
#include <sapwood/fmt_library.hpp>
#include <source_location>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <utility>

namespace sapwood {

struct log_call_options {
    /// The action's type.
    std::string_view name;

    /// What the arguments are called, with commas between: expressions as well as names. Where
    /// there is none, or not one for each, they are arg0, arg1 and so on: a comma in a template's
    /// `<>` counts.
    std::string_view arguments = {};

    /// Whose values are never shown, with commas between: names that stand somewhere in an
    /// argument's expression, such as `password` in `std::move(user.password)`, and `result`.
    /// Besides logger_options::redact. Where it is not known which name is whose, as without
    /// `arguments`, and another name than `result` and `arg<N>` is redacted, no argument is shown.
    std::string_view redact = {};

    /// A value that is longer is cut, and says how long it was.
    std::size_t value_bytes_max = 512;

    /// Whether what it returns is shown.
    bool shows_result = true;

    level importance = level::info;

    std::source_location where = std::source_location::current();
};

namespace detail {

/// What a call does with a logger and its action.
struct call_access {
    [[nodiscard]] static const log_backend& backend(const logger& log) noexcept {
        return *log.core_->backend;
    }

    [[nodiscard]] static action begin(const logger& log, level importance, const action_name& name,
                                      std::string_view fields) {
        return log.begin_action(importance, name, fields);
    }

    static void add_success(action& of, std::string_view fields) {
        if (of.action_ != nullptr) {
            of.action_->add_success(fields);
        }
    }
};

template <class T>
concept has_log_value = requires(const T& value) { log_value(value); };

/// A call's options, kept until its task is over, and the values that are shown of it.
class call_values {
  public:
    /// `count` arguments are going to be added.
    call_values(const log_backend& backend, const log_call_options& how,
                std::size_t count) noexcept;

    template <class T>
    void add_argument(const T& value) noexcept {
        try {
            const std::string_view name = next_name();
            if (hides_arguments_) {
                put_text_value(name, "(redacted)");
            } else {
                add(name, value);
            }
        } catch (...) { // there is no memory for its name
        }
    }

    /// A value that cannot be shown says why: the call goes on.
    template <class T>
    void add(std::string_view name, const T& value) noexcept {
        const std::size_t before = fields_.size();
        try {
            add_shown(name, value);
        } catch (...) {
            fields_.resize(before);
            put_why_not(name);
        }
    }

    [[nodiscard]] action begin(const logger& log) const noexcept;

    /// Ends it well, with what was added since it began.
    void end(action& of) noexcept;

    [[nodiscard]] bool shows_result() const noexcept { return shows_result_; }

    /// What is added from now on is not shown at the beginning.
    void begin_result() noexcept { fields_.clear(); }

    [[nodiscard]] std::string_view fields() const noexcept { return fields_; }

  private:
    template <class T>
    void add_shown(std::string_view name, const T& value) {
        if (is_redacted(name)) {
            put_text_value(name, "(redacted)");
        } else if constexpr (has_log_value<T>) {
            add_shown(name, log_value(value));
        } else if constexpr (log_number<T> || std::same_as<T, bool>) {
            append_field(fields_, field_text(kv(name, value)));
        } else if constexpr (log_string<T>) {
            put_text_value(name, shown(value));
        } else if constexpr (fmt::is_formattable<const T>::value) {
            put_formatted_value(name, fmt::make_format_args(value));
        } else {
            put_type_value(name, typeid(T));
        }
    }

    template <class T>
    [[nodiscard]] static std::string_view shown(const T& value) {
        if constexpr (std::is_pointer_v<T>) {
            return value != nullptr ? std::string_view(value) : "(null)";
        } else {
            return value;
        }
    }

    [[nodiscard]] bool redacts_by_name() const;
    [[nodiscard]] std::string_view next_name();
    [[nodiscard]] bool is_redacted(std::string_view name) const;
    void put_why_not(std::string_view name) noexcept;
    void put_text_value(std::string_view name, std::string_view value);
    void put_formatted_value(std::string_view name, fmt::format_args value);
    void put_type_value(std::string_view name, const std::type_info& type);

    const log_backend* backend_;
    std::string name_;
    std::string redact_;
    std::string fields_;
    std::string made_name_;
    /// While arguments are added.
    std::string_view arguments_;
    std::size_t value_bytes_max_;
    unsigned index_ = 0;
    bool shows_result_;
    bool hides_arguments_ = false;
    level importance_;
    std::source_location where_;
};

template <class T>
task<T> await_call(logger log, call_values values, task<T> work) {
    action here = values.begin(log);
    try {
        if constexpr (std::is_void_v<T>) {
            co_await unplaced(std::move(work).operator co_await());
            here.succeed();
        } else if constexpr (std::is_reference_v<T>) {
            T result = co_await unplaced(std::move(work).operator co_await());
            values.begin_result();
            if (values.shows_result()) {
                values.add("result", result);
            }
            values.end(here);
            co_return result;
        } else {
            T result = co_await unplaced(std::move(work).operator co_await());
            values.begin_result();
            if (values.shows_result()) {
                values.add("result", result);
            }
            values.end(here);
            co_return result;
        }
    } catch (...) {
        here.fail(std::current_exception());
        throw;
    }
}

/// Whether argument `Index` may be a copy of the call's own: not where the function wants the
/// caller's, as a `service&`, and where it cannot be copied.
template <std::size_t Index, class F, class... Args, std::size_t... Indices>
[[nodiscard]] consteval bool may_copy(std::index_sequence<Indices...>) {
    using argument = std::tuple_element_t<Index, std::tuple<Args...>>;
    if constexpr (std::is_constructible_v<std::decay_t<argument>, argument>) {
        return std::is_invocable_v<
            F&, std::conditional_t<Index == Indices, std::decay_t<Args>, Args>...>;
    } else {
        return false;
    }
}

template <std::size_t Index, class F, class... Args>
using kept_argument =
    std::conditional_t<may_copy<Index, F, Args...>(std::index_sequence_for<Args...>()),
                       std::decay_t<std::tuple_element_t<Index, std::tuple<Args...>>>,
                       std::tuple_element_t<Index, std::tuple<Args...>>>;

template <class F, class... Args, std::size_t... Indices>
auto keep_arguments(std::index_sequence<Indices...>, Args&&... args) {
    return std::tuple<kept_argument<Indices, F, Args...>...>(std::forward<Args>(args)...);
}

/// Keeps what a lambda coroutine has captured, and its arguments, until it is over.
template <class T, class F, class... Args>
task<T> await_kept_call(logger log, call_values values, F work, std::tuple<Args...> args) {
    auto made = std::apply(work, std::move(args));
    co_return co_await unplaced(
        await_call(std::move(log), std::move(values), std::move(made)).operator co_await());
}

template <class F, class... Args>
decltype(auto) make_plain_call(const logger& log, call_values values, F&& work, Args&&... args) {
    using result = std::invoke_result_t<F, Args...>;
    action here = values.begin(log);
    try {
        if constexpr (std::is_void_v<result>) {
            std::invoke(std::forward<F>(work), std::forward<Args>(args)...);
            here.succeed();
        } else {
            result made = std::invoke(std::forward<F>(work), std::forward<Args>(args)...);
            values.begin_result();
            if (values.shows_result()) {
                values.add("result", made);
            }
            values.end(here);
            if constexpr (std::is_reference_v<result>) {
                return static_cast<result>(made);
            } else {
                return made;
            }
        }
    } catch (...) {
        here.fail(std::current_exception());
        throw;
    }
}

/// Calls `work` here and now, whatever it makes.
template <class F, class... Args>
std::invoke_result_t<F, Args...> call_now(const logger& log, const log_call_options& how, F&& work,
                                          Args&&... args) {
    using result = std::invoke_result_t<F, Args...>;
    if (!log.enabled(how.importance)) {
        return std::invoke(std::forward<F>(work), std::forward<Args>(args)...);
    }
    call_values values(call_access::backend(log), how, sizeof...(args));
    (values.add_argument(std::as_const(args)), ...);
    if constexpr (is_task<result>) {
        return await_call(log, std::move(values),
                          std::invoke(std::forward<F>(work), std::forward<Args>(args)...));
    } else {
        return make_plain_call(log, std::move(values), std::forward<F>(work),
                               std::forward<Args>(args)...);
    }
}

} // namespace detail

template <class F, class... Args>
decltype(auto) logger::call(const log_call_options& how, F&& work, Args&&... args) const {
    using function = std::remove_cvref_t<F>;
    using result = std::invoke_result_t<F, Args...>;
    if constexpr (detail::is_task<result> && std::is_class_v<function> &&
                  !std::is_empty_v<function>) {
        detail::call_values values(*core_->backend, how, sizeof...(args));
        if (enabled(how.importance)) {
            (values.add_argument(std::as_const(args)), ...);
        }
        return detail::await_kept_call<typename result::value_type>(
            *this, std::move(values), function(std::forward<F>(work)),
            detail::keep_arguments<function, Args...>(std::index_sequence_for<Args...>(),
                                                      std::forward<Args>(args)...));
    } else {
        return detail::call_now(*this, how, std::forward<F>(work), std::forward<Args>(args)...);
    }
}

template <class F, class... Args>
decltype(auto) logger::call(action_name name, F&& work, Args&&... args) const {
    return call(log_call_options{.name = name.text(), .where = name.where()}, std::forward<F>(work),
                std::forward<Args>(args)...);
}

} // namespace sapwood

/// `SAPWOOD_LOG_CALL(log, db.insert, order, 3)`: log.call() with the function's and the arguments'
/// expressions as names. The function may be overloaded, or a member.
#define SAPWOOD_LOG_CALL(logger, function, ...)                                                    \
    SAPWOOD_DETAIL_LOG_CALL(logger, {}, #function, #__VA_ARGS__,                                   \
                            function __VA_OPT__(, ) __VA_ARGS__)

/// The same with names whose values are not shown: `SAPWOOD_LOG_CALL_WITH(log, "password", login,
/// user, password)`.
#define SAPWOOD_LOG_CALL_WITH(logger, redacted, function, ...)                                     \
    SAPWOOD_DETAIL_LOG_CALL(logger, redacted, #function, #__VA_ARGS__,                             \
                            function __VA_OPT__(, ) __VA_ARGS__)

// The names come as text, because arguments that are macros are expanded here.
#define SAPWOOD_DETAIL_LOG_CALL(logger, redacted, called, names, function, ...)                    \
    ::sapwood::detail::call_now(                                                                   \
        (logger),                                                                                  \
        ::sapwood::log_call_options{.name = called, .arguments = names, .redact = redacted},       \
        [&]<class... SapwoodArgs>(SapwoodArgs&&... sapwood_args) -> decltype(auto) {               \
            return function(std::forward<SapwoodArgs>(sapwood_args)...);                           \
        } __VA_OPT__(, ) __VA_ARGS__)
