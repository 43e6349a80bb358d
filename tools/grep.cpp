#include "grep.hpp"

#include "complaint.hpp"
#include "line_search.hpp"

#include <fmt/format.h>
#include <stdexcept>
#include <system_error>
#include <unistd.h>

namespace sapwood::tools {

namespace {

constexpr int nothing_found = 1;
constexpr int log_unreadable = 2;

void complain_of_log(std::string_view what) {
    complain_as("grep", what);
}

} // namespace

grep_command::grep_command(CLI::App& program)
    : command_(program.add_subcommand("grep", "Print the lines of logs that match")) {
    command_->add_option(
        "WORDS", words_,
        "The pattern (unless -e gives it, or --level and the like say what is wanted "
        "and there is one log), and the logs; segments that were set aside belong "
        "to them. - is standard input, and so is no log at all");
    command_->add_option("-e,--regexp", pattern_, "The pattern: a regular expression of PCRE2")
        ->option_text("PATTERN");
    command_->add_flag("-F,--fixed-strings", is_fixed_, "The pattern is a text");
    command_->add_flag("-i,--ignore-case", in_any_case_, "In whatever case letters are");
    command_->add_flag("-v,--invert-match", inverts_, "Lines that do not match");
    command_->add_flag("-c,--count", counts_, "Print how many lines there are, for each log");
    command_->add_flag("-q,--quiet", is_quiet_, "Print nothing; the exit code tells");
    command_->add_flag("--one-file", has_one_file_, "Leave out segments that were set aside");
    view_.add_filter(*command_);
    view_.add_until(*command_);
    view_.add_style(*command_);
    command_->footer("The pattern is looked for in the line without its number and checksum. An "
                     "empty one is in each.\nExit code: 0 where a line was found, 1 where none "
                     "was, 2 where something could not be read.");
}

int grep_command::run() const {
    std::vector<std::string> logs = words_;
    std::string text = pattern_;
    const line_filter filter(view_.filter, now_ns());
    const bool has_only_log =
        logs.size() == 1 && !filter.is_empty() && ::access(logs.front().c_str(), F_OK) == 0;
    if (command_->count("--regexp") == 0 && !has_only_log) {
        if (logs.empty()) {
            throw std::invalid_argument("say a pattern: sapwood grep PATTERN LOG");
        }
        text = logs.front();
        logs.erase(logs.begin());
    }
    if (logs.empty()) {
        logs.emplace_back(standard_input);
    }
    const pattern wanted(text, {.is_fixed = is_fixed_, .in_any_case = in_any_case_});
    tool_output output;
    line_printer printer(view_.style(), wants_colour(view_.colour), output.buffer());
    std::uint64_t found = 0;
    bool has_failed = false;
    for (const std::string& log : logs) {
        const std::string prefix = logs.size() > 1 ? log + ":" : "";
        line_search search(wanted, filter,
                           {.inverts = inverts_, .only_counts = counts_, .only_asks = is_quiet_},
                           printer, output, prefix);
        try {
            std::vector<std::string> left_out;
            const bool is_alone = log == standard_input || has_one_file_;
            for (const log_file& each :
                 is_alone ? std::vector<log_file>{{.path = log}} : files_of(log, &left_out)) {
                try {
                    search.search(each);
                } catch (const std::system_error& error) {
                    if (error.code() == std::errc::broken_pipe) {
                        throw;
                    }
                    complain_of_log(error.what());
                    has_failed = true;
                }
            }
            for (const std::string& each : left_out) {
                complain_of_log(
                    fmt::format("{} is left out: sapwood decompresses .zst only; zcat {} | "
                                "sapwood grep ... -",
                                each, each));
            }
            if (search.given_up() > 0) {
                complain_of_log(fmt::format("{}{} ({} lines in all; they are left out)", prefix,
                                            search.why_given_up(), search.given_up()));
                has_failed = true;
            }
            if (search.has_met_unreadable()) {
                complain_of_log(line_parser::why_unreadable);
            }
            if (counts_ && !is_quiet_) {
                append_shown(prefix, output.buffer());
                fmt::format_to(std::back_inserter(output.buffer()), "{}\n", search.found());
            }
            output.flush();
        } catch (const std::system_error& error) {
            if (error.code() == std::errc::broken_pipe) {
                return 0;
            }
            complain_of_log(error.what());
            has_failed = true;
        }
        found += search.found();
        if (is_quiet_ && found > 0) {
            return 0;
        }
    }
    return has_failed ? log_unreadable : found > 0 ? 0 : nothing_found;
}

} // namespace sapwood::tools
