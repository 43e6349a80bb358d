// What a command has to say on standard error, a line: names of files, and what others have
// answered, stand in it, and could do something to a terminal.
#pragma once

#include <string_view>

namespace sapwood::tools {

/// Prints `sapwood COMMAND: WHAT`, what is not safe to be shown escaped.
void complain_as(std::string_view command, std::string_view what);

} // namespace sapwood::tools
