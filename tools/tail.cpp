#include "tail.hpp"

#include "last_lines.hpp"
#include "log_follower.hpp"
#include "number_checks.hpp"

#include <sapwood/run.hpp>

#include <cerrno>
#include <fmt/format.h>
#include <limits>
#include <stdexcept>
#include <system_error>

namespace sapwood::tools {

tail_command::tail_command(CLI::App& program)
    : command_(program.add_subcommand("tail", "Print the last lines of a log, and follow it")) {
    command_->add_option("LOG", log_, "The log; it need not be there yet with -f")->required();
    command_->add_flag("-f,--follow", follows_,
                       "Go on with the lines to come, also when the log is rotated, renamed, cut "
                       "or made anew");
    command_->add_option("-n,--lines", lines_, "So many lines; with --since all, by default")
        ->check(is_no_whole_number)
        ->capture_default_str()
        ->option_text("N");
    view_.add_filter(*command_);
    view_.add_style(*command_);
    command_->footer(
        "Lines come from segments that were set aside, too, where the log has too few. "
        "Exit code: 0, or 2 where\nthe log cannot be read.");
}

int tail_command::run() const {
    if (log_ == standard_input) {
        throw std::invalid_argument("say a file, not -: for a pipe there is 'sapwood grep'");
    }
    const line_filter filter(view_.filter, now_ns());
    const bool has_all = filter.since() && command_->count("--lines") == 0;
    tool_output output;
    line_view view(filter, view_.style(), wants_colour(view_.colour), output);
    try {
        const follow_point from = print_last_lines(
            log_, has_all ? std::numeric_limits<std::uint64_t>::max() : lines_, follows_, view);
        output.flush();
        if (view.parser().has_met_unreadable()) {
            fmt::print(stderr, "sapwood tail: {}\n", line_parser::why_unreadable);
        }
        if (follows_) {
            sapwood::run(follow(log_, from, view));
        }
    } catch (const std::system_error& error) {
        if (error.code() != std::errc::broken_pipe) {
            throw;
        }
    }
    return 0;
}

} // namespace sapwood::tools
