#include "tree.hpp"

#include "action_logs.hpp"
#include "complaint.hpp"
#include "number_checks.hpp"
#include "task_html.hpp"
#include "task_text.hpp"
#include "time_span.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string_view>

namespace sapwood::tools {

namespace {

constexpr int nothing_printed = 1;
constexpr int unreadable = 2;

void complain(std::string_view what) {
    complain_as("tree", what);
}

std::string counted(std::uint64_t count, std::string_view what) {
    return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

/// Which of the tasks are printed, and how many were.
struct task_filter {
    bool only_failed = false;
    bool only_incomplete = false;
    std::optional<std::int64_t> at_least_ns = std::nullopt;
    std::uint64_t printed = 0;
    std::uint64_t incomplete = 0;
    std::uint64_t contradictory = 0;

    [[nodiscard]] bool wants(const action_task& task, const task_state& state) const {
        return (!only_failed || task.has_failed()) &&
               (!only_incomplete || !state.is_complete || task.is_contradictory()) &&
               (!at_least_ns || task.has_taken(*at_least_ns));
    }

    void count(const action_task& task, const task_state& state) noexcept {
        ++printed;
        incomplete += state.is_complete ? 0 : 1;
        contradictory += task.is_contradictory() ? 1 : 0;
    }
};

void tell(const action_logs& logs, const action_forest& forest, const task_filter& filter,
          std::uint64_t memory_max) {
    if (logs.broken() > 0) {
        complain(fmt::format("{} broken and left out; the first is {}",
                             logs.broken() == 1 ? "1 line is"
                                                : fmt::format("{} lines are", logs.broken()),
                             logs.first_broken()));
    }
    if (const std::uint64_t twice = logs.repeated() + forest.repeated(); twice > 0) {
        complain(fmt::format("{} there more than once, and shown once",
                             twice == 1 ? "1 record is" : fmt::format("{} records are", twice)));
    }
    if (forest.cut() > 0) {
        complain(fmt::format("unfinished tasks were cut {} time{}, to take no more than the {} "
                             "bytes of --memory; more of it, or --task, shows them in one piece",
                             forest.cut(), forest.cut() == 1 ? "" : "s", memory_max));
    }
    if (filter.incomplete > 0) {
        complain(fmt::format("{} of {} {} incomplete; each says what is missing", filter.incomplete,
                             counted(filter.printed, "task"),
                             filter.incomplete == 1 ? "is" : "are"));
    }
    if (filter.contradictory > 0) {
        complain(fmt::format(
            "{} of {} {}; each says how", filter.contradictory, counted(filter.printed, "task"),
            filter.contradictory == 1 ? "contradicts itself" : "contradict themselves"));
    }
    if (forest.records() == 0 && logs.lines() > 0 && !logs.has_failed()) {
        complain(fmt::format("none of {} is a record of a task that was asked for: such a line has "
                             "a task_uuid",
                             counted(logs.lines(), "line")));
    }
}

/// Trees in text, or a page of them, which has a begin and an end of its own.
class tree_views {
  public:
    tree_views(const task_text_options& style, bool is_page, tool_output& output)
        : page_(is_page ? std::make_unique<task_html>(style, output) : nullptr),
          text_(is_page ? nullptr : std::make_unique<task_text>(style, output)) {}

    [[nodiscard]] task_view& chosen() const {
        return page_ != nullptr ? static_cast<task_view&>(*page_) : *text_;
    }

    void begin(const std::vector<std::string>& names) const {
        if (page_ != nullptr) {
            page_->begin_page(fmt::format("{}", fmt::join(names, " ")));
        }
    }

    void end(const task_filter& filter) const {
        if (page_ != nullptr) {
            page_->end_page(fmt::format("{}, {} of them incomplete.",
                                        counted(filter.printed, "task"), filter.incomplete));
        }
    }

  private:
    std::unique_ptr<task_html> page_;
    std::unique_ptr<task_text> text_;
};

} // namespace

tree_command::tree_command(CLI::App& program)
    : command_(program.add_subcommand("tree", "Print the trees of actions in logs")) {
    command_->add_option("LOG", logs_,
                         "The logs, which may have records of one task each; segments that were "
                         "set aside belong to them. - is standard input, and so is no log at all");
    add_conditions();
    add_style();
    command_
        ->add_option("--memory", memory_max_,
                     "What the tasks that have not ended may take, as 256M; then the one that had "
                     "no record for longest is printed as it is")
        ->transform(CLI::AsSizeValue(false))
        ->option_text("BYTES");
    command_->add_flag("--one-file", has_one_file_, "Leave out segments that were set aside");
    command_->footer("Several conditions must all hold. Times are UTC.\nExit code: 0 where a tree "
                     "was printed, 1 where none was, 2 where something could not be read.");
}

void tree_command::add_conditions() {
    command_->add_option("--task", task_, "Only tasks whose task_uuid begins so")
        ->option_text("UUID");
    command_->add_flag("--failed", only_failed_, "Only tasks in which an action failed");
    command_
        ->add_option("--slower-than", slower_than_,
                     "Only tasks in which an action took so long: 500us, 10ms, 1.5s, 2m")
        ->option_text("SPAN");
    command_->add_flag("--incomplete", only_incomplete_,
                       "Only tasks of which something is missing, or that contradict themselves");
}

void tree_command::add_style() {
    command_->add_flag("--html", html_, "Print one page of HTML, with a time line for each task");
    command_->add_flag("--ascii", ascii_, "Draw the lines of trees with ASCII");
    command_->add_option("--color,--colour", colour_, "Colour the trees: auto, always, never")
        ->check(is_no_occasion)
        ->option_text("WHEN");
    command_
        ->add_option("--field-limit", value_bytes_max_,
                     "Show so many bytes of a value at most; 0 is all of it (2000)")
        ->option_text("BYTES");
}

int tree_command::run() const {
    if (!action_reader::is_built()) {
        throw std::runtime_error(std::string(action_reader::why_not_built));
    }
    task_filter filter{.only_failed = only_failed_, .only_incomplete = only_incomplete_};
    if (!slower_than_.empty()) {
        filter.at_least_ns = parse_span(slower_than_);
    }
    tool_output output;
    const tree_views views({.colour = wants_colour(colour_),
                            .ascii = ascii_,
                            .value_bytes_max = value_bytes_max_,
                            .slow_ns = filter.at_least_ns},
                           html_, output);
    action_reader reader;
    action_forest forest(memory_max_, [&](action_task& task, const task_state& state) {
        if (filter.wants(task, state)) {
            filter.count(task, state);
            walk_task(task, state, reader, views.chosen());
        }
    });
    const auto on_pause = [&] {
        forest.pause();
        output.flush();
    };
    action_logs logs(
        {.task = task_, .has_one_file = has_one_file_, .complain = complain, .on_pause = on_pause},
        forest);
    const std::vector<std::string> names =
        logs_.empty() ? std::vector<std::string>{std::string(standard_input)} : logs_;
    std::ranges::for_each(names, [&](const std::string& each) { logs.add(each); });
    views.begin(names);
    logs.read();
    forest.finish();
    views.end(filter);
    output.flush();
    tell(logs, forest, filter, memory_max_);
    return logs.has_failed() ? unreadable : filter.printed > 0 ? 0 : nothing_printed;
}

} // namespace sapwood::tools
