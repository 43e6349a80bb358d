// logfmt_names: names that a line of logfmt has itself, and what is put in front of a user's that
// is one of them, so that no field forges what the log says itself. Any thread, in a crash as well.
#pragma once

#include <sapwood/log_action_view.hpp>

#include <algorithm>
#include <iterator>
#include <string_view>

namespace sapwood::detail {

inline constexpr std::string_view users_prefix = "fields.";

[[nodiscard]] inline bool is_logfmt_own(std::string_view key) noexcept {
    constexpr std::string_view names[] = {"time",     "level", "thread", "logger",  "location",
                                          "function", "task",  "cut",    "message", "own"};
    return key.starts_with(users_prefix) || is_action_name(key) ||
           std::ranges::find(names, key) != std::end(names);
}

} // namespace sapwood::detail
