// How important a record is. Values for any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace sapwood {

/// `off` is for thresholds only: no record has it.
enum class level : std::uint8_t { trace, debug, info, warning, error, critical, off };

/// Lower case, as it stands in a log line.
[[nodiscard]] constexpr std::string_view to_string(level value) noexcept {
    switch (value) {
    case level::trace:
        return "trace";
    case level::debug:
        return "debug";
    case level::info:
        return "info";
    case level::warning:
        return "warning";
    case level::error:
        return "error";
    case level::critical:
        return "critical";
    case level::off:
        return "off";
    }
    return "unknown";
}

/// The level that `name` names, in any case; `warn`, `err` and `fatal` are understood, too.
[[nodiscard]] std::optional<level> parse_level(std::string_view name) noexcept;

} // namespace sapwood
