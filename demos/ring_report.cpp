// Which ring a loop gets on this machine, what the kernel granted it, what is missing and what that
// costs. Try it with SAPWOOD_RING=poll, and in the container where the server is to run.
#include <sapwood/event_loop.hpp>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <fmt/format.h>

int main(int argc, char** argv) {
    CLI::App app("Tells which ring a loop gets here, and what is missing.");
    app.set_version_flag("--version", SAPWOOD_VERSION);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& problem) {
        return app.exit(problem) == 0 ? 0 : 2;
    }

    try {
        const sapwood::event_loop loop;
        fmt::print("{}", loop.ring_report().text());
    } catch (const std::exception& failure) {
        fmt::print(stderr, "ring_report: {}\n", failure.what());
        return 1;
    }
}
