// spdlog's logger, with sapwood behind it. Where its one sink is a log of sapwood's, a message is
// formatted straight into the ring of the thread that logs, as sapwood's own logger does; otherwise
// it is formatted once and handed to each sink. Any thread, but set_error_handler. Part of
// spdlog_compat.hpp, which see.
#pragma once

#include <sapwood/log_format.hpp>
#include <sapwood/spdlog_compat_sinks.hpp>

#include <atomic>
#include <concepts>
#include <deque>
#include <memory>
#include <mutex>
#include <source_location>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace sapwood::spdlog_compat {

/// A format that the compiler has checked, or one of fmt::runtime().
template <class... Args>
class checked_format {
    using runtime_format = decltype(fmt::runtime(std::string_view()));

  public:
    template <class Text>
        requires std::convertible_to<const Text&, std::string_view>
    consteval checked_format(const Text& text) // NOLINT: implicit by design, as fmt's
        : format_(text) {}

    checked_format(runtime_format text) // NOLINT
        : format_(nothing),
          runtime_(text.str.data(), text.str.size()),
          is_runtime_(true) {}

    [[nodiscard]] constexpr bool is_runtime() const noexcept { return is_runtime_; }

    [[nodiscard]] constexpr const detail::log_format<Args...>& checked() const noexcept {
        return format_;
    }

    [[nodiscard]] constexpr std::string_view text() const noexcept {
        return is_runtime_ ? runtime_ : format_.text();
    }

  private:
    static constexpr detail::log_format<Args...> nothing{""};

    detail::log_format<Args...> format_;
    std::string_view runtime_;
    bool is_runtime_ = false;
};

template <class... Args>
using format_string_t = checked_format<std::type_identity_t<Args>...>;

/// What a logger has, and the namespace for its default logger; by their log().
#define SAPWOOD_SPDLOG_LEVEL_CALL(name, importance)                                                \
    template <class... Args>                                                                       \
    [[gnu::always_inline]] inline void name(format_string_t<Args...> format,                       \
                                            const Args&... args) {                                 \
        log<Args...>(importance, format, args...);                                                 \
    }                                                                                              \
    template <class T>                                                                             \
    void name(const T& value) {                                                                    \
        log(importance, value);                                                                    \
    }
#define SAPWOOD_SPDLOG_LEVEL_CALLS                                                                 \
    SAPWOOD_SPDLOG_LEVEL_CALL(trace, level::trace)                                                 \
    SAPWOOD_SPDLOG_LEVEL_CALL(debug, level::debug)                                                 \
    SAPWOOD_SPDLOG_LEVEL_CALL(info, level::info)                                                   \
    SAPWOOD_SPDLOG_LEVEL_CALL(warn, level::warn)                                                   \
    SAPWOOD_SPDLOG_LEVEL_CALL(error, level::err)                                                   \
    SAPWOOD_SPDLOG_LEVEL_CALL(critical, level::critical)

class logger : public std::enable_shared_from_this<logger> {
  public:
    explicit logger(std::string name) : logger(std::move(name), std::vector<sink_ptr>()) {}

    logger(std::string name, sink_ptr only)
        : logger(std::move(name), std::vector<sink_ptr>{std::move(only)}) {}

    logger(std::string name, sinks_init_list sinks)
        : logger(std::move(name), std::vector<sink_ptr>(sinks)) {}

    template <class Iterator>
    logger(std::string name, Iterator begin, Iterator end)
        : logger(std::move(name), std::vector<sink_ptr>(begin, end)) {}

    logger(const logger&) = delete;
    logger& operator=(const logger&) = delete;
    virtual ~logger() = default;

    // --- logging: throws nothing, the error handler is told ---

    template <class... Args>
    [[gnu::always_inline]] void log(source_loc where, level::level_enum importance,
                                    format_string_t<Args...> format, const Args&... args) {
        if (!should_log(importance) && !should_backtrace()) {
            return;
        }
        const detail::log_core* const core = straight_to();
        if (core != nullptr && where.empty() && !format.is_runtime() && !should_backtrace() &&
            !details::may_have_context() && sinks_.front()->should_log(importance)) [[likely]] {
            try {
                detail::put_call(*core, details::to_level(importance), format.checked(), args...);
            } catch (...) {
                handle_exception(where);
            }
            flush_if_due(importance);
            return;
        }
        log_formatted(where, importance, format.text(), fmt::make_format_args(args...));
    }

    template <class... Args>
    [[gnu::always_inline]] void log(level::level_enum importance, format_string_t<Args...> format,
                                    const Args&... args) {
        log<Args...>(source_loc{}, importance, format, args...);
    }

    /// A text that is no format, or a value alone.
    template <class T>
    void log(source_loc where, level::level_enum importance, const T& value) {
        if constexpr (std::is_pointer_v<std::decay_t<T>> &&
                      std::convertible_to<const T&, std::string_view>) {
            const char* const text = value;
            log_text(log_clock::time_point(), where, importance, text != nullptr ? text : "(null)");
        } else if constexpr (std::convertible_to<const T&, std::string_view>) {
            log_text(log_clock::time_point(), where, importance, std::string_view(value));
        } else if constexpr (std::convertible_to<const T&, string_view_t>) {
            const string_view_t text(value);
            log_text(log_clock::time_point(), where, importance, {text.data(), text.size()});
        } else {
            log<T>(where, importance, "{}", value);
        }
    }

    template <class T>
    void log(level::level_enum importance, const T& value) {
        log(source_loc{}, importance, value);
    }

    void log(log_clock::time_point when, source_loc where, level::level_enum importance,
             string_view_t text) {
        log_text(when, where, importance, {text.data(), text.size()});
    }

    SAPWOOD_SPDLOG_LEVEL_CALLS

    // --- what it is ---

    [[nodiscard]] const std::string& name() const noexcept { return name_; }

    [[nodiscard]] bool should_log(level::level_enum importance) const noexcept {
        return importance >= level_.load(std::memory_order_relaxed);
    }

    [[nodiscard]] bool should_backtrace() const noexcept {
        return backtrace_max_.load(std::memory_order_relaxed) > 0;
    }

    void set_level(level::level_enum least) noexcept { level_.store(least); }

    [[nodiscard]] level::level_enum level() const noexcept { return level_.load(); }

    void set_pattern(const std::string& pattern, pattern_time_type zone = pattern_time_type::local);
    void set_formatter(std::unique_ptr<formatter> form);

    /// To be changed before the first message only.
    [[nodiscard]] std::vector<sink_ptr>& sinks() noexcept { return sinks_; }

    [[nodiscard]] const std::vector<sink_ptr>& sinks() const noexcept { return sinks_; }

    /// One of another name, with the same sinks and levels.
    [[nodiscard]] std::shared_ptr<logger> clone(std::string name) const;

    /// Gets what a formatter throws, and what a sink does. By default it goes to standard error,
    /// once a second at most.
    void set_error_handler(err_handler handler) { error_handler_ = std::move(handler); }

    // --- flushing ---

    /// Waits until everything logged before is with the sinks; not on a loop that writes it.
    void flush();

    /// Has a message of that level, or above, followed by a flush, but on threads that run a loop:
    /// they are not held up, and the log is written soon all the same.
    void flush_on(level::level_enum least) noexcept { flush_level_.store(least); }

    [[nodiscard]] level::level_enum flush_level() const noexcept { return flush_level_.load(); }

    // --- the newest messages, of all levels, for when something goes wrong ---

    void enable_backtrace(std::size_t messages_max) noexcept { backtrace_max_ = messages_max; }

    void disable_backtrace() noexcept { backtrace_max_ = 0; }

    /// Logs them, and forgets them.
    void dump_backtrace();

  private:
    struct kept_message {
        log_clock::time_point when;
        source_loc where;
        level::level_enum importance;
        std::size_t thread;
        std::string text;
    };

    logger(std::string name, std::vector<sink_ptr> sinks);

    [[nodiscard]] const detail::log_core* straight_to() const noexcept {
        return sinks_.size() == 1 && sinks_.front().get() == straight_sink_ ? straight_core_
                                                                            : nullptr;
    }

    void flush_if_due(level::level_enum importance) {
        if (importance >= flush_level_.load(std::memory_order_relaxed) && importance != level::off)
            [[unlikely]] {
            flush_now();
        }
    }

    void log_formatted(source_loc where, level::level_enum importance, std::string_view format,
                       fmt::format_args arguments);
    void log_text(log_clock::time_point when, source_loc where, level::level_enum importance,
                  std::string_view text);
    void give_to_sinks(const details::log_msg& message);
    void keep(const details::log_msg& message, std::size_t messages_max);
    void flush_now();
    void handle_exception(source_loc where);

    const std::string name_;
    std::vector<sink_ptr> sinks_;
    const sinks::sink* straight_sink_ = nullptr;
    const detail::log_core* straight_core_ = nullptr;
    err_handler error_handler_;

    // Any thread.
    std::atomic<level::level_enum> level_{level::info};
    std::atomic<level::level_enum> flush_level_{level::off};
    std::atomic<std::size_t> backtrace_max_{0};
    std::mutex mutex_; // of the backtrace
    std::deque<kept_message> backtrace_;
};

} // namespace sapwood::spdlog_compat
