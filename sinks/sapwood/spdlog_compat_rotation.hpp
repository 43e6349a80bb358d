// spdlog's rotating, daily and hourly files, by rotating_log_sink: a rotated file has the time in
// its name, `app.log.20261126T141236.123Z`, where spdlog has numbers or dates before the extension.
// Part of spdlog_compat.hpp, which see.
#pragma once

#include <sapwood/rotating_log_sink.hpp>
#include <sapwood/spdlog_compat_sinks.hpp>

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

} // namespace rotation

/// A file of at most `bytes_max`, and the newest `files_max` of those before it.
class rotating_file_sink final : public log_backed_sink {
  public:
    rotating_file_sink(const filename_t& path, std::size_t bytes_max, std::size_t files_max)
        : log_backed_sink(
              rotation::opened({.path = path, .bytes_max = bytes_max, .keep_files = files_max})) {}
};

/// A file for each day, begun at a local time; 0: however many are kept.
class daily_file_sink final : public log_backed_sink {
  public:
    daily_file_sink(const filename_t& path, int hour, int minute, bool truncate = false,
                    std::uint16_t files_max = 0)
        : log_backed_sink(rotation::opened({.path = (details::prepare_file(path, truncate), path),
                                            .daily_at = daily_time{.hour = hour, .minute = minute},
                                            .keep_files = files_max})) {}
};

class hourly_file_sink final : public log_backed_sink {
  public:
    explicit hourly_file_sink(const filename_t& path, bool truncate = false,
                              std::uint16_t files_max = 0)
        : log_backed_sink(rotation::opened({.path = (details::prepare_file(path, truncate), path),
                                            .every = std::chrono::hours(1),
                                            .keep_files = files_max})) {}
};

using rotating_file_sink_mt = rotating_file_sink;
using rotating_file_sink_st = rotating_file_sink;
using daily_file_sink_mt = daily_file_sink;
using daily_file_sink_st = daily_file_sink;
using hourly_file_sink_mt = hourly_file_sink;
using hourly_file_sink_st = hourly_file_sink;

} // namespace sapwood::spdlog_compat::sinks

namespace sapwood::spdlog_compat {

template <class Factory = synchronous_factory>
std::shared_ptr<logger> rotating_logger_mt(const std::string& name, const filename_t& file,
                                           std::size_t bytes_max, std::size_t files_max) {
    return Factory::template create<sinks::rotating_file_sink>(name, file, bytes_max, files_max);
}

template <class Factory = synchronous_factory>
std::shared_ptr<logger> daily_logger_mt(const std::string& name, const filename_t& file,
                                        int hour = 0, int minute = 0, bool truncate = false,
                                        std::uint16_t files_max = 0) {
    return Factory::template create<sinks::daily_file_sink>(name, file, hour, minute, truncate,
                                                            files_max);
}

template <class Factory = synchronous_factory>
std::shared_ptr<logger> hourly_logger_mt(const std::string& name, const filename_t& file,
                                         bool truncate = false, std::uint16_t files_max = 0) {
    return Factory::template create<sinks::hourly_file_sink>(name, file, truncate, files_max);
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
