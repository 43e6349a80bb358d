// spdlog's rotating, daily and hourly files, by rotating_log_sink: a rotated file has the time in
// its name, `app.log.20261126T141236.123Z`, where spdlog has numbers or dates before the extension.
// Part of spdlog_compat.hpp, which see.
#pragma once

#include <sapwood/rotating_log_sink.hpp>
#include <sapwood/spdlog_compat_logger.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>

namespace sapwood::spdlog_compat::sinks {

namespace rotation {

/// Files as fopen() makes them, less the umask, and their directory where it is missing.
[[nodiscard]] inline std::unique_ptr<log_sink> opened(rotating_log_sink_options options) {
    options.mode = 0666;
    options.make_directories = true;
    options.directory_mode = 0777;
    try {
        return std::make_unique<rotating_log_sink>(std::move(options));
    } catch (const std::invalid_argument& error) {
        throw spdlog_ex(error.what());
    }
}

[[nodiscard]] inline std::size_t at_least_one(std::size_t bytes_max) {
    if (bytes_max == 0) {
        throw spdlog_ex("rotating sink constructor: max_size arg cannot be zero");
    }
    return bytes_max;
}

} // namespace rotation

/// What the three have in common.
class rotating_sink : public log_backed_sink {
  public:
    /// The file that is written to now.
    [[nodiscard]] const filename_t& filename() const noexcept { return calls_.path(); }

    ~rotating_sink() override {
        close();
        calls_.end();
    }

  protected:
    rotating_sink(const rotating_log_sink_options& options, bool truncate,
                  const file_event_handlers& handlers)
        : rotating_sink(details::handler_calls(options.path, truncate, handlers), options) {}

  private:
    rotating_sink(details::handler_calls calls, const rotating_log_sink_options& options)
        : log_backed_sink(rotation::opened(options)),
          calls_(std::move(calls)) {}

    details::handler_calls calls_;
};

/// A file of at most `bytes_max`, and the newest `files_max` of those before it.
class rotating_file final : public rotating_sink {
  public:
    rotating_file(const filename_t& path, std::size_t bytes_max, std::size_t files_max,
                  bool rotate_on_open = false, const file_event_handlers& handlers = {})
        : rotating_sink({.path = path,
                         .bytes_max = rotation::at_least_one(bytes_max),
                         .rotate_at_open = rotate_on_open,
                         .keep_files = files_max},
                        false, handlers) {}

    /// Now.
    void rotate_now() { log_of_sink().rotate(); }
};

/// A file for each day, begun at a local time; 0: however many are kept.
class daily_file final : public rotating_sink {
  public:
    daily_file(const filename_t& path, int hour, int minute, bool truncate = false,
               std::uint16_t files_max = 0, const file_event_handlers& handlers = {})
        : rotating_sink({.path = path,
                         .daily_at = daily_time{.hour = hour, .minute = minute},
                         .keep_files = files_max},
                        truncate, handlers) {}
};

class hourly_file final : public rotating_sink {
  public:
    explicit hourly_file(const filename_t& path, bool truncate = false, std::uint16_t files_max = 0,
                         const file_event_handlers& handlers = {})
        : rotating_sink({.path = path, .every = std::chrono::hours(1), .keep_files = files_max},
                        truncate, handlers) {}
};

template <class Mutex>
using rotating_file_sink = rotating_file;
template <class Mutex>
using daily_file_sink = daily_file;
template <class Mutex>
using hourly_file_sink = hourly_file;

using rotating_file_sink_mt = rotating_file;
using rotating_file_sink_st = rotating_file;
using daily_file_sink_mt = daily_file;
using daily_file_sink_st = daily_file;
using hourly_file_sink_mt = hourly_file;
using hourly_file_sink_st = hourly_file;

} // namespace sapwood::spdlog_compat::sinks

namespace sapwood::spdlog_compat {

template <class Factory = synchronous_factory>
std::shared_ptr<logger> rotating_logger_mt(const std::string& name, const filename_t& file,
                                           std::size_t bytes_max, std::size_t files_max,
                                           bool rotate_on_open = false,
                                           const file_event_handlers& handlers = {}) {
    return Factory::template create<sinks::rotating_file>(name, file, bytes_max, files_max,
                                                          rotate_on_open, handlers);
}

template <class Factory = synchronous_factory>
std::shared_ptr<logger> daily_logger_mt(const std::string& name, const filename_t& file,
                                        int hour = 0, int minute = 0, bool truncate = false,
                                        std::uint16_t files_max = 0,
                                        const file_event_handlers& handlers = {}) {
    return Factory::template create<sinks::daily_file>(name, file, hour, minute, truncate,
                                                       files_max, handlers);
}

template <class Factory = synchronous_factory>
std::shared_ptr<logger> hourly_logger_mt(const std::string& name, const filename_t& file,
                                         bool truncate = false, std::uint16_t files_max = 0,
                                         const file_event_handlers& handlers = {}) {
    return Factory::template create<sinks::hourly_file>(name, file, truncate, files_max, handlers);
}

template <class Factory = synchronous_factory, class... Args>
std::shared_ptr<logger> rotating_logger_st(Args&&... args) {
    return rotating_logger_mt<Factory>(std::forward<Args>(args)...);
}

template <class Factory = synchronous_factory, class... Args>
std::shared_ptr<logger> daily_logger_st(Args&&... args) {
    return daily_logger_mt<Factory>(std::forward<Args>(args)...);
}

template <class Factory = synchronous_factory, class... Args>
std::shared_ptr<logger> hourly_logger_st(Args&&... args) {
    return hourly_logger_mt<Factory>(std::forward<Args>(args)...);
}

} // namespace sapwood::spdlog_compat
