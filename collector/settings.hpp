// settings: what a collector is to do, from the words of a command line or of a TOML file. Both
// name what is wrong, and what would be right. Any thread.
#pragma once

#include "collector.hpp"

#include <span>
#include <string>
#include <string_view>

namespace sapwood::collector {

/// `batch`, `none`, or seconds. Throws std::invalid_argument; `option` is whose it is.
[[nodiscard]] durability parse_durability(std::string_view text, std::string_view option);

/// Octal. Throws std::invalid_argument.
[[nodiscard]] mode_t parse_mode(std::string_view text, std::string_view option);

/// Where a listener is: an address and port, a path, or `fd:NAME`, a socket that is inherited.
/// What only listens at Unix sockets takes every other text for a path, an abstract name behind
/// `@`. Throws std::system_error or std::invalid_argument.
void set_place(listen_options& of, std::string_view text, bool is_unix = false);

/// Throws std::invalid_argument where it is none that files could have.
[[nodiscard]] std::chrono::seconds age_of_days(double days, std::string_view option);

/// A number, or a name that this machine knows. Throws std::invalid_argument.
[[nodiscard]] uid_t parse_user(std::string_view text, std::string_view option);

/// A limit that settings can set, by its name in them.
struct size_limit {
    std::string_view name;
    std::size_t& (*of)(collector_options& options);
    /// What can be reckoned with.
    std::size_t most;
    std::size_t least = 1;
};

/// Always more than nothing.
struct time_limit {
    std::string_view name;
    clock::duration& (*of)(collector_options& options);
};

[[nodiscard]] std::span<const size_limit> size_limits() noexcept;
[[nodiscard]] std::span<const time_limit> time_limits() noexcept;

/// `body_bytes=1000`, `idle_seconds=2.5`. Throws std::invalid_argument.
void set_limit(collector_options& options, std::string_view text, std::string_view option);

/// Seconds, with or without a point. Throws std::invalid_argument.
[[nodiscard]] clock::duration parse_seconds(std::string_view text, std::string_view option);

/// What of `after` is not so before the collector is started again, in words; empty where there is
/// nothing.
[[nodiscard]] std::string needs_restart(collector_options before, collector_options after);

/// Whether there are settings files in this build.
[[nodiscard]] bool can_read_settings() noexcept;

/// Reads a file; docs/collector.md has its members. Its tokens are read, too. Throws
/// std::exception, with the place in the file where that is known; what it does not know is wrong.
[[nodiscard]] collector_options read_settings(const std::string& path);

} // namespace sapwood::collector
