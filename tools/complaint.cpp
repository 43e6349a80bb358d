#include "complaint.hpp"

#include "line_printer.hpp"

#include <cstdio>
#include <fmt/format.h>

namespace sapwood::tools {

void complain_as(std::string_view command, std::string_view what) {
    log_buffer shown(what.size());
    append_shown(what, shown);
    std::fputs(fmt::format("sapwood {}: {}\n", command, shown.text()).c_str(), stderr);
}

} // namespace sapwood::tools
