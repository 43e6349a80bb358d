// settings: what a collector is to do, from the words of a command line or of a TOML file. Both
// name what is wrong, and what would be right. Any thread.
#pragma once

#include "collector.hpp"

#include <string>
#include <string_view>

namespace sapwood::collector {

/// `batch`, `none`, or seconds. Throws std::invalid_argument; `option` is whose it is.
[[nodiscard]] durability parse_durability(std::string_view text, std::string_view option);

/// Octal. Throws std::invalid_argument.
[[nodiscard]] mode_t parse_mode(std::string_view text, std::string_view option);

/// An address and port, or a path. Throws std::system_error.
[[nodiscard]] endpoint parse_place(std::string_view text);

/// Whether there are settings files in this build.
[[nodiscard]] bool can_read_settings() noexcept;

/// Reads a file; docs/collector.md has its members. Its tokens are read, too. Throws
/// std::exception, with the place in the file where that is known; what it does not know is wrong.
[[nodiscard]] collector_options read_settings(const std::string& path);

} // namespace sapwood::collector
