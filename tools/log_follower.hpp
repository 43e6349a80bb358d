// Following a log: its lines as they come, each once, across renames, rotations, truncations and
// segments. Loop thread only.
#pragma once

#include "last_lines.hpp"
#include "line_view.hpp"

#include <sapwood/task.hpp>

#include <string>

namespace sapwood::tools {

/// Shows what comes behind `from`, for ever. Throws std::system_error, EPIPE where nobody reads the
/// output any more. Standard error says where a log is cut, missing, or there again.
[[nodiscard]] task<> follow(std::string log, follow_point from, line_view& view);

} // namespace sapwood::tools
