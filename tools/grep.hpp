// sapwood grep PATTERN LOG: the lines of a log and its segments that match. Registers itself with
// the command line; what run() returns is the program's exit code.
#pragma once

#include "view_options.hpp"

#include <CLI/CLI.hpp>

#include <string>
#include <vector>

namespace sapwood::tools {

class grep_command {
  public:
    explicit grep_command(CLI::App& program);

    [[nodiscard]] bool is_chosen() const { return command_->parsed(); }

    /// As grep: 0 where a line was found, 1 where none was, 2 where something could not be read.
    /// Throws std::exception where the command line is wrong.
    [[nodiscard]] int run() const;

  private:
    CLI::App* command_;
    std::vector<std::string> words_;
    std::string pattern_;
    bool counts_ = false;
    bool inverts_ = false;
    bool in_any_case_ = false;
    bool is_fixed_ = false;
    bool is_quiet_ = false;
    bool has_one_file_ = false;
    view_options view_;
};

} // namespace sapwood::tools
