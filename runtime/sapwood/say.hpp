// say: a line for standard error, which is not waited for.
#pragma once

#include <string_view>

namespace sapwood::detail {

/// Writes "sapwood: `what`" and a newline to standard error, no longer than PIPE_BUF (4096 bytes):
/// so much a pipe that takes anything takes at once. Where nobody takes it, as of a full pipe or a
/// stopped terminal, the line is left out, and the next that is taken has one before it that says
/// how many were. Any thread.
void say(std::string_view what) noexcept;

} // namespace sapwood::detail
