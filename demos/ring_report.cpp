// Which ring a loop gets on this machine, what the kernel granted it, what is missing and what that
// costs. Try it with SAPWOOD_RING=poll, and in the container where the server is to run.
#include "command_line.hpp"

#include <sapwood/event_loop.hpp>

#include <cstdio>
#include <exception>
#include <fmt/format.h>

int main(int argc, char** argv) {
    command_line line("Tells which ring a loop gets here, and what is missing.");
    if (const auto ends = line.parse(argc, argv)) {
        return *ends;
    }

    try {
        const sapwood::event_loop loop;
        fmt::print("{}", loop.ring_report().text());
    } catch (const std::exception& failure) {
        fmt::print(stderr, "ring_report: {}\n", failure.what());
        return 1;
    }
}
