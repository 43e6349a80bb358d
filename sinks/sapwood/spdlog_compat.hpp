// spdlog's interface with sapwood behind it: a program written against spdlog is moved by including
// this instead of <spdlog/...>, all of them. What is the same, what differs and what is missing:
// docs/from-spdlog.md.
//
// The names are in sapwood::spdlog_compat, and `spdlog` is an alias for that, so that a program may
// hold libraries that use the real one: not in the same source file. Define
// SAPWOOD_SPDLOG_COMPAT_NO_ALIAS before the include for a file that must not have the alias. Any
// thread, as spdlog's `_mt`; so are the `_st` here.
#pragma once

#if defined(SPDLOG_VERSION) || defined(SPDLOG_H)
#error "<sapwood/spdlog_compat.hpp> stands for <spdlog/...>: do not include both in one source file"
#endif

#include <sapwood/spdlog_compat_hex.hpp>
#include <sapwood/spdlog_compat_logger.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <fmt/ostream.h> // spdlog/fmt/ostr.h
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

// Of spdlog, as programs ask for it; see its change log for what came when.
#define SPDLOG_VER_MAJOR 1
#define SPDLOG_VER_MINOR 14
#define SPDLOG_VER_PATCH 1
#define SPDLOG_TO_VERSION(major, minor, patch) ((major)*10000 + (minor)*100 + (patch))
#define SPDLOG_VERSION SPDLOG_TO_VERSION(SPDLOG_VER_MAJOR, SPDLOG_VER_MINOR, SPDLOG_VER_PATCH)

#define SPDLOG_FUNCTION static_cast<const char*>(__FUNCTION__)
#define SPDLOG_FMT_RUNTIME(format) fmt::runtime(format)
#define SPDLOG_FMT_STRING(format) FMT_STRING(format)
#define SPDLOG_FILENAME_T(path) path

#define SPDLOG_LEVEL_TRACE 0
#define SPDLOG_LEVEL_DEBUG 1
#define SPDLOG_LEVEL_INFO 2
#define SPDLOG_LEVEL_WARN 3
#define SPDLOG_LEVEL_ERROR 4
#define SPDLOG_LEVEL_CRITICAL 5
#define SPDLOG_LEVEL_OFF 6

#if !defined(SPDLOG_ACTIVE_LEVEL)
#define SPDLOG_ACTIVE_LEVEL SPDLOG_LEVEL_INFO
#endif

namespace sapwood::spdlog_compat {

// --- the registry: loggers by name ---

/// Null where there is none.
[[nodiscard]] std::shared_ptr<logger> get(std::string_view name);

/// Throws spdlog_ex where there is one of that name.
void register_logger(const std::shared_ptr<logger>& one);

/// Takes the place of one that has its name.
void register_or_replace(const std::shared_ptr<logger>& one);

/// Gives it what was set for all loggers, and registers it unless that was turned off.
void initialize_logger(const std::shared_ptr<logger>& one);

void drop(const std::string& name);
void drop_all();

/// Writes what the registered loggers have, and forgets them. On a thread that runs a loop it is
/// written when the last of their owners is gone.
void shutdown();
void apply_all(const std::function<void(std::shared_ptr<logger>)>& call);
void set_automatic_registration(bool automatic);

/// Unless it is set: one without a name on standard output, in colours on a terminal.
[[nodiscard]] std::shared_ptr<logger> default_logger();

/// Good until another one is set.
[[nodiscard]] logger* default_logger_raw();
void set_default_logger(std::shared_ptr<logger> one);

// --- for all loggers, those to come as well ---

void set_level(level::level_enum least);
[[nodiscard]] level::level_enum get_level();
[[nodiscard]] bool should_log(level::level_enum importance);
void set_pattern(const std::string& pattern, pattern_time_type zone = pattern_time_type::local);
void set_formatter(std::unique_ptr<formatter> form);
void flush_on(level::level_enum least);
void set_error_handler(const err_handler& handler);
void enable_backtrace(std::size_t messages_max);
void disable_backtrace();
void dump_backtrace();

/// Nothing needs to be done: while its sink keeps up, a message waits for a millisecond at most.
template <class Rep, class Period>
void flush_every(std::chrono::duration<Rep, Period>) noexcept {}

namespace cfg {

/// Levels from SPDLOG_LEVEL: `info,network=debug`; loggers to come are given them, too.
void load_env_levels(const char* variable = "SPDLOG_LEVEL");

/// From an argument `SPDLOG_LEVEL=...`.
void load_argv_levels(int argc, const char* const* argv);
void load_levels(const std::string& levels);

namespace helpers {

using cfg::load_levels;

} // namespace helpers

} // namespace cfg

/// What the environment says for its name.
void apply_logger_env_levels(const std::shared_ptr<logger>& one);

// --- making loggers ---

/// How a full ring is met: by waiting, which is spdlog's `block`.
struct synchronous_factory {
    template <class Sink, class... Args>
    static std::shared_ptr<logger> create(std::string name, Args&&... args) {
        auto made = std::make_shared<logger>(std::move(name),
                                             std::make_shared<Sink>(std::forward<Args>(args)...));
        initialize_logger(made);
        return made;
    }
};

/// All sinks that write somewhere have a thread for it.
using async_factory = synchronous_factory;
using default_factory = synchronous_factory;

/// By giving up the oldest messages of the thread, which the log tells.
struct async_factory_nonblock {
    template <class Sink, class... Args>
    static std::shared_ptr<logger> create(std::string name, Args&&... args) {
        const details::full_policy_scope scope(log_full_policy::drop_oldest);
        return synchronous_factory::create<Sink>(std::move(name), std::forward<Args>(args)...);
    }
};

enum class async_overflow_policy : std::uint8_t { block, overrun_oldest, discard_new };

namespace details {

/// There is none, and no queue to size.
class thread_pool {
  public:
    thread_pool() = default;

    thread_pool(std::size_t, std::size_t) noexcept {}
};

} // namespace details

inline void init_thread_pool(std::size_t, std::size_t, const std::function<void()>& = {},
                             const std::function<void()>& = {}) noexcept {}

[[nodiscard]] std::shared_ptr<details::thread_pool> thread_pool();

/// A logger. What a full ring means has been said when its sinks were made: they wait, unless
/// create_async_nb made them.
class async_logger final : public logger {
  public:
    async_logger(std::string name, sinks_init_list to, const std::weak_ptr<details::thread_pool>&,
                 async_overflow_policy = async_overflow_policy::block)
        : logger(std::move(name), to) {}

    async_logger(std::string name, sink_ptr to, const std::weak_ptr<details::thread_pool>&,
                 async_overflow_policy = async_overflow_policy::block)
        : logger(std::move(name), std::move(to)) {}

    template <class Iterator>
    async_logger(std::string name, Iterator begin, Iterator end,
                 const std::weak_ptr<details::thread_pool>&,
                 async_overflow_policy = async_overflow_policy::block)
        : logger(std::move(name), begin, end) {}
};

template <class Sink, class... Args>
std::shared_ptr<logger> create(std::string name, Args&&... args) {
    return synchronous_factory::create<Sink>(std::move(name), std::forward<Args>(args)...);
}

template <class Sink, class... Args>
std::shared_ptr<logger> create_async(std::string name, Args&&... args) {
    return async_factory::create<Sink>(std::move(name), std::forward<Args>(args)...);
}

template <class Sink, class... Args>
std::shared_ptr<logger> create_async_nb(std::string name, Args&&... args) {
    return async_factory_nonblock::create<Sink>(std::move(name), std::forward<Args>(args)...);
}

template <class Factory = synchronous_factory>
std::shared_ptr<logger> basic_logger_mt(const std::string& name, const filename_t& file,
                                        bool truncate = false,
                                        const file_event_handlers& handlers = {}) {
    return Factory::template create<sinks::basic_file_sink_mt>(name, file, truncate, handlers);
}

template <class Factory = synchronous_factory>
std::shared_ptr<logger> stdout_logger_mt(const std::string& name) {
    return Factory::template create<sinks::stdout_sink_mt>(name);
}

template <class Factory = synchronous_factory>
std::shared_ptr<logger> stderr_logger_mt(const std::string& name) {
    return Factory::template create<sinks::stderr_sink_mt>(name);
}

template <class Factory = synchronous_factory>
std::shared_ptr<logger> stdout_color_mt(const std::string& name,
                                        color_mode mode = color_mode::automatic) {
    return Factory::template create<sinks::stdout_color_sink_mt>(name, mode);
}

template <class Factory = synchronous_factory>
std::shared_ptr<logger> stderr_color_mt(const std::string& name,
                                        color_mode mode = color_mode::automatic) {
    return Factory::template create<sinks::stderr_color_sink_mt>(name, mode);
}

template <class Factory = synchronous_factory>
std::shared_ptr<logger> callback_logger_mt(const std::string& name,
                                           const sinks::custom_log_callback& call) {
    return Factory::template create<sinks::callback_sink_mt>(name, call);
}

template <class Factory = synchronous_factory>
std::shared_ptr<logger> callback_logger_st(const std::string& name,
                                           const sinks::custom_log_callback& call) {
    return Factory::template create<sinks::callback_sink_st>(name, call);
}

template <class Factory = synchronous_factory>
std::shared_ptr<logger> null_logger_mt(const std::string& name) {
    return Factory::template create<sinks::null_sink_mt>(name);
}

template <class Factory = synchronous_factory, class... Args>
std::shared_ptr<logger> basic_logger_st(Args&&... args) {
    return basic_logger_mt<Factory>(std::forward<Args>(args)...);
}

template <class Factory = synchronous_factory>
std::shared_ptr<logger> stdout_logger_st(const std::string& name) {
    return stdout_logger_mt<Factory>(name);
}

template <class Factory = synchronous_factory>
std::shared_ptr<logger> stderr_logger_st(const std::string& name) {
    return stderr_logger_mt<Factory>(name);
}

template <class Factory = synchronous_factory>
std::shared_ptr<logger> stdout_color_st(const std::string& name,
                                        color_mode mode = color_mode::automatic) {
    return stdout_color_mt<Factory>(name, mode);
}

template <class Factory = synchronous_factory>
std::shared_ptr<logger> stderr_color_st(const std::string& name,
                                        color_mode mode = color_mode::automatic) {
    return stderr_color_mt<Factory>(name, mode);
}

template <class Factory = synchronous_factory>
std::shared_ptr<logger> null_logger_st(const std::string& name) {
    return null_logger_mt<Factory>(name);
}

} // namespace sapwood::spdlog_compat

#include <sapwood/spdlog_compat_network.hpp>
#include <sapwood/spdlog_compat_rotation.hpp>

namespace sapwood::spdlog_compat {

// --- the default logger's calls ---

template <class... Args>
void log(source_loc where, level::level_enum importance, format_string_t<Args...> format,
         const Args&... args) {
    default_logger_raw()->log<Args...>(where, importance, format, args...);
}

template <class... Args>
void log(level::level_enum importance, format_string_t<Args...> format, const Args&... args) {
    default_logger_raw()->log<Args...>(source_loc{}, importance, format, args...);
}

template <class T>
void log(source_loc where, level::level_enum importance, const T& value) {
    default_logger_raw()->log(where, importance, value);
}

template <class T>
void log(level::level_enum importance, const T& value) {
    default_logger_raw()->log(importance, value);
}

SAPWOOD_SPDLOG_LEVEL_CALLS
#undef SAPWOOD_SPDLOG_LEVEL_CALLS
#undef SAPWOOD_SPDLOG_LEVEL_CALL

/// Formats as the seconds since it was made.
class stopwatch {
  public:
    stopwatch() : began_(std::chrono::steady_clock::now()) {}

    [[nodiscard]] std::chrono::duration<double> elapsed() const {
        return std::chrono::steady_clock::now() - began_;
    }

    [[nodiscard]] std::chrono::milliseconds elapsed_ms() const {
        return std::chrono::duration_cast<std::chrono::milliseconds>(elapsed());
    }

    void reset() { began_ = std::chrono::steady_clock::now(); }

  private:
    std::chrono::steady_clock::time_point began_;
};

} // namespace sapwood::spdlog_compat

template <>
struct fmt::formatter<sapwood::spdlog_compat::stopwatch> : fmt::formatter<double> {
    template <class Context>
    auto format(const sapwood::spdlog_compat::stopwatch& watch, Context& context) const {
        return fmt::formatter<double>::format(watch.elapsed().count(), context);
    }
};

#if !defined(SAPWOOD_SPDLOG_COMPAT_NO_ALIAS)
namespace spdlog = sapwood::spdlog_compat;
#endif

// --- macros: the place in the source goes with the message; below SPDLOG_ACTIVE_LEVEL nothing is
// compiled in ---

#define SPDLOG_LOGGER_CALL(logger, importance, ...)                                                \
    (logger)->log(::sapwood::spdlog_compat::source_loc{__FILE__, __LINE__,                         \
                                                       static_cast<const char*>(__func__)},        \
                  importance, __VA_ARGS__)

#if SPDLOG_ACTIVE_LEVEL <= SPDLOG_LEVEL_TRACE
#define SPDLOG_LOGGER_TRACE(logger, ...)                                                           \
    SPDLOG_LOGGER_CALL(logger, ::sapwood::spdlog_compat::level::trace, __VA_ARGS__)
#else
#define SPDLOG_LOGGER_TRACE(logger, ...) (void)0
#endif

#if SPDLOG_ACTIVE_LEVEL <= SPDLOG_LEVEL_DEBUG
#define SPDLOG_LOGGER_DEBUG(logger, ...)                                                           \
    SPDLOG_LOGGER_CALL(logger, ::sapwood::spdlog_compat::level::debug, __VA_ARGS__)
#else
#define SPDLOG_LOGGER_DEBUG(logger, ...) (void)0
#endif

#if SPDLOG_ACTIVE_LEVEL <= SPDLOG_LEVEL_INFO
#define SPDLOG_LOGGER_INFO(logger, ...)                                                            \
    SPDLOG_LOGGER_CALL(logger, ::sapwood::spdlog_compat::level::info, __VA_ARGS__)
#else
#define SPDLOG_LOGGER_INFO(logger, ...) (void)0
#endif

#if SPDLOG_ACTIVE_LEVEL <= SPDLOG_LEVEL_WARN
#define SPDLOG_LOGGER_WARN(logger, ...)                                                            \
    SPDLOG_LOGGER_CALL(logger, ::sapwood::spdlog_compat::level::warn, __VA_ARGS__)
#else
#define SPDLOG_LOGGER_WARN(logger, ...) (void)0
#endif

#if SPDLOG_ACTIVE_LEVEL <= SPDLOG_LEVEL_ERROR
#define SPDLOG_LOGGER_ERROR(logger, ...)                                                           \
    SPDLOG_LOGGER_CALL(logger, ::sapwood::spdlog_compat::level::err, __VA_ARGS__)
#else
#define SPDLOG_LOGGER_ERROR(logger, ...) (void)0
#endif

#if SPDLOG_ACTIVE_LEVEL <= SPDLOG_LEVEL_CRITICAL
#define SPDLOG_LOGGER_CRITICAL(logger, ...)                                                        \
    SPDLOG_LOGGER_CALL(logger, ::sapwood::spdlog_compat::level::critical, __VA_ARGS__)
#else
#define SPDLOG_LOGGER_CRITICAL(logger, ...) (void)0
#endif

#define SAPWOOD_SPDLOG_DEFAULT ::sapwood::spdlog_compat::default_logger_raw()
#define SPDLOG_TRACE(...) SPDLOG_LOGGER_TRACE(SAPWOOD_SPDLOG_DEFAULT, __VA_ARGS__)
#define SPDLOG_DEBUG(...) SPDLOG_LOGGER_DEBUG(SAPWOOD_SPDLOG_DEFAULT, __VA_ARGS__)
#define SPDLOG_INFO(...) SPDLOG_LOGGER_INFO(SAPWOOD_SPDLOG_DEFAULT, __VA_ARGS__)
#define SPDLOG_WARN(...) SPDLOG_LOGGER_WARN(SAPWOOD_SPDLOG_DEFAULT, __VA_ARGS__)
#define SPDLOG_ERROR(...) SPDLOG_LOGGER_ERROR(SAPWOOD_SPDLOG_DEFAULT, __VA_ARGS__)
#define SPDLOG_CRITICAL(...) SPDLOG_LOGGER_CRITICAL(SAPWOOD_SPDLOG_DEFAULT, __VA_ARGS__)
