#include "command_line.hpp"

#include <CLI/CLI.hpp>
#include <list>
#include <utility>

struct command_line::state {
    struct number {
        std::uint64_t value;
        std::function<void(std::uint64_t)> set;
    };

    /// Of a whole command line; a subcommand's is its parent's.
    std::optional<CLI::App> own;
    CLI::App* app = nullptr;
    std::list<number> numbers; // which stay where they are
    std::vector<std::unique_ptr<command_line>> subcommands;
};

command_line::command_line(const std::string& about, const std::string& footer)
    : command_line(std::make_unique<state>()) {
    state_->app = &state_->own.emplace(about);
    state_->app->footer(footer);
    state_->app->set_version_flag("--version", SAPWOOD_VERSION);
}

command_line::command_line(std::unique_ptr<state> of) : state_(std::move(of)) {}

command_line::~command_line() = default;

void command_line::text(const argument& of, std::string& into) {
    state_->app->add_option(of.name, into, of.text)->type_name(of.type)->capture_default_str();
}

void command_line::required_text(const argument& of, std::string& into,
                                 std::string (*objection)(const std::string&)) {
    state_->app->add_option(of.name, into, of.text)
        ->type_name(of.type)
        ->check(objection)
        ->required();
}

void command_line::one_of(const argument& of, std::string& into,
                          const std::vector<std::string>& choices) {
    state_->app->add_option(of.name, into, of.text)
        ->type_name(of.type)
        ->capture_default_str()
        ->check(CLI::IsMember(choices));
}

void command_line::list(const argument& of, std::vector<std::string>& into,
                        const std::vector<std::string>& choices) {
    auto* const option = state_->app->add_option(of.name, into, of.text)->type_name(of.type);
    if (!choices.empty()) {
        option->check(CLI::IsMember(choices));
    }
}

void command_line::flag(const argument& of, bool& into) {
    state_->app->add_flag(of.name, into, of.text);
}

void command_line::add_number(const argument& of, std::uint64_t usual, range within,
                              std::function<void(std::uint64_t)> set) {
    auto& held = state_->numbers.emplace_back(state::number{usual, std::move(set)});
    CLI::Validator allowed = CLI::Range(within.least, within.greatest);
    if (!within.is_shown) {
        allowed.description("");
    }
    state_->app->add_option(of.name, held.value, of.text)
        ->type_name(of.type)
        ->capture_default_str()
        ->check(allowed);
}

command_line& command_line::subcommand(const char* name, const char* text) {
    auto made = std::make_unique<state>();
    made->app = state_->app->add_subcommand(name, text)->fallthrough();
    state_->app->require_subcommand(1);
    return *state_->subcommands.emplace_back(new command_line(std::move(made)));
}

bool command_line::was_given() const {
    return state_->app->parsed();
}

void command_line::set_numbers() const {
    for (const state::number& each : state_->numbers) {
        each.set(each.value);
    }
    for (const auto& each : state_->subcommands) {
        each->set_numbers();
    }
}

std::optional<int> command_line::parse(int argc, char** argv) {
    try {
        state_->app->parse(argc, argv);
    } catch (const CLI::ParseError& problem) {
        return state_->app->exit(problem) == 0 ? 0 : 2;
    }
    set_numbers();
    return std::nullopt;
}
