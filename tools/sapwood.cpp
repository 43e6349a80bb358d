// sapwood: the program for logs and their machines. Each subcommand is a file; this one chooses.
#ifdef SAPWOOD_HAS_COLLECTOR
#include "serve.hpp"
#endif
#include "grep.hpp"
#include "line_printer.hpp"
#include "send.hpp"
#include "stats.hpp"
#include "tail.hpp"
#include "tree.hpp"
#include "verify.hpp"

#include <CLI/CLI.hpp>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <exception>
#include <fcntl.h>
#include <fmt/format.h>
#include <string>
#include <string_view>
#include <system_error>
#include <unistd.h>

namespace {

/// Runs the one that was chosen.
template <class... Commands>
int run_chosen(const Commands&... all) {
    int status = 0;
    (void)((all.is_chosen() && (status = all.run(), true)) || ...);
    return status;
}

/// The first word of the command line, where it is no option and no command; empty otherwise.
std::string unknown_command(const CLI::App& program, int argc, char** argv) {
    const std::string first = argc > 1 ? argv[1] : "";
    const auto all = program.get_subcommands(
        [&first](const CLI::App* each) { return each->get_name() == first; });
    return first.starts_with('-') || !all.empty() ? "" : first;
}

/// What is wrong, for a terminal, behind the words by which `which` is called.
void complain(const CLI::App* which, std::string_view what) {
    sapwood::log_buffer text(what.size());
    sapwood::tools::append_shown(what, text);
    const std::string words = which == nullptr ? "" : " " + which->get_name();
    // Whose standard error cannot be written to has the exit code.
    std::fputs(fmt::format("sapwood{}: {}\n", words, text.text()).c_str(), stderr);
}

/// The command that was chosen; null where there is none yet.
const CLI::App* chosen(const CLI::App& program) {
    const auto all = program.get_subcommands();
    return all.empty() ? nullptr : all.front();
}

/// CLI11 says what is wrong, and not whose words it is about.
void complain_of_usage(const CLI::App& program, const CLI::ParseError& error) {
    const CLI::App* const which = chosen(program);
    if (which == nullptr && error.get_name() == "RequiredError") {
        complain(nullptr, "say what to do: sapwood --help lists the commands");
        return;
    }
    complain(which, fmt::format("{}; sapwood {}--help says what there is", error.what(),
                                which == nullptr ? "" : which->get_name() + " "));
}

/// Who starts us may have closed these; then the first files and sockets that are opened would be
/// in their place, and what is for people would be written there.
void open_standard_streams() noexcept {
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
        if (::fcntl(fd, F_GETFD) < 0 && errno == EBADF) {
            (void)::open("/dev/null", O_RDWR); // the lowest number that is free
        }
    }
}

} // namespace

int main(int argc, char** argv) {
    open_standard_streams();
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
    const sapwood::tools::tree_command tree(program);
    const sapwood::tools::verify_command verify(program);
    if (const std::string word = unknown_command(program, argc, argv); !word.empty()) {
        complain(nullptr,
                 fmt::format("there is no command '{}'; sapwood --help lists those that there are",
                             word));
        return usage_error;
    }
    try {
        program.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        if (error.get_exit_code() == 0) { // --help, --version
            return program.exit(error);
        }
        complain_of_usage(program, error);
        return usage_error;
    }
    try {
        return run_chosen(
#ifdef SAPWOOD_HAS_COLLECTOR
            serve,
#endif
            send, tail, grep, stats, tree, verify);
    } catch (const std::system_error& error) {
        const bool only_prints = tail.is_chosen() || grep.is_chosen() || stats.is_chosen() ||
                                 tree.is_chosen() || verify.is_chosen();
        if (only_prints && error.code() == std::errc::broken_pipe) {
            return 0; // nobody reads the output any more
        }
        complain(chosen(program), error.what());
        return usage_error;
    } catch (const std::exception& error) {
        complain(chosen(program), error.what());
        return usage_error;
    }
}
