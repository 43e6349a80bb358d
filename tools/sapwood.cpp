// sapwood: the program for logs and their machines. Each subcommand is a file; this one chooses.
#ifdef SAPWOOD_HAS_COLLECTOR
#include "serve.hpp"
#endif
#include "grep.hpp"
#include "send.hpp"
#include "stats.hpp"
#include "tail.hpp"
#include "verify.hpp"

#include <CLI/CLI.hpp>

#include <csignal>
#include <exception>
#include <fmt/format.h>
#include <system_error>

namespace {

/// Runs the one that was chosen.
template <class... Commands>
int run_chosen(const Commands&... all) {
    int status = 0;
    (void)((all.is_chosen() && (status = all.run(), true)) || ...);
    return status;
}

} // namespace

int main(int argc, char** argv) {
    constexpr int usage_error = 2;
    // Who reads no more of the output is met as EPIPE.
    (void)std::signal(SIGPIPE, SIG_IGN);
    CLI::App program{"Collects logs, and works on them."};
    program.set_version_flag("--version", SAPWOOD_VERSION);
    program.require_subcommand(1);
#ifdef SAPWOOD_HAS_COLLECTOR
    const sapwood::tools::serve_command serve(program);
#else
    program.footer("Built without 'serve', which needs Boost 1.81 and simdjson.");
#endif
    const sapwood::tools::send_command send(program);
    const sapwood::tools::tail_command tail(program);
    const sapwood::tools::grep_command grep(program);
    const sapwood::tools::stats_command stats(program);
    const sapwood::tools::verify_command verify(program);
    try {
        program.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return program.exit(error) == 0 ? 0 : usage_error;
    }
    try {
        return run_chosen(
#ifdef SAPWOOD_HAS_COLLECTOR
            serve,
#endif
            send, tail, grep, stats, verify);
    } catch (const std::system_error& error) {
        const bool only_prints =
            tail.is_chosen() || grep.is_chosen() || stats.is_chosen() || verify.is_chosen();
        if (only_prints && error.code() == std::errc::broken_pipe) {
            return 0; // nobody reads the output any more
        }
        fmt::print(stderr, "sapwood: {}\n", error.what());
        return usage_error;
    } catch (const std::exception& error) {
        fmt::print(stderr, "sapwood: {}\n", error.what());
        return usage_error;
    }
}
