// What a demonstration has to say, a line at a time.
#pragma once

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fmt/format.h>
#include <string>
#include <utility>

/// Prints one line at once, also into a pipe: the point is to see who runs when. Any thread. Where
/// nobody takes the line (a closed pipe, a full disk), going on makes no sense: ends the process
/// with status 1 and the reason.
template <class... Args>
void print_line(fmt::format_string<Args...> format, Args&&... args) {
    const std::string line = fmt::format(format, std::forward<Args>(args)...) + '\n';
    if (std::fwrite(line.data(), 1, line.size(), stdout) != line.size() ||
        std::fflush(stdout) != 0) {
        std::fprintf(stderr, "cannot write to standard output: %s\n", std::strerror(errno));
        std::_Exit(1);
    }
}
