// sapwood: the program for logs and their machines. Each subcommand is a file; this one chooses.
#include "verify.hpp"

#include <CLI/CLI.hpp>

#include <exception>
#include <fmt/format.h>

int main(int argc, char** argv) {
    constexpr int usage_error = 2;
    CLI::App program{"Works on logs that sapwood has written."};
    program.set_version_flag("--version", SAPWOOD_VERSION);
    program.require_subcommand(1);
    const sapwood::tools::verify_command verify(program);
    try {
        program.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return program.exit(error) == 0 ? 0 : usage_error;
    }
    try {
        return verify.run();
    } catch (const std::exception& error) {
        fmt::print(stderr, "sapwood: {}\n", error.what());
        return usage_error;
    }
}
