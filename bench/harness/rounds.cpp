#include "harness/rounds.hpp"

#include <cstdio>

#include <unistd.h>

#include <fmt/format.h>

namespace bench {

void run_interleaved(unsigned rounds, const std::vector<std::string>& names,
                     const std::function<void(std::size_t)>& measure) {
    const bool shows_progress = isatty(STDERR_FILENO) == 1;
    constexpr const char* erase_line = "\r\x1b[K";
    for (unsigned round = 0; round < rounds; ++round) {
        for (std::size_t step = 0; step < names.size(); ++step) {
            const std::size_t i = round % 2 == 0 ? step : names.size() - 1 - step;
            if (shows_progress) {
                fmt::print(stderr, "{}round {} of {}, {} of {}: {}", erase_line, round + 1, rounds,
                           step + 1, names.size(), names[i]);
                std::fflush(stderr);
            }
            measure(i);
        }
    }
    if (shows_progress) {
        fmt::print(stderr, "{}", erase_line);
    }
}

} // namespace bench
