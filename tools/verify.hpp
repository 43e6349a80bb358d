// sapwood verify LOG: whether a log and its segments are whole. Registers itself with the command
// line; what run() returns is the program's exit code.
#pragma once

#include <CLI/CLI.hpp>

#include <string>
#include <vector>

namespace sapwood::tools {

class verify_command {
  public:
    explicit verify_command(CLI::App& program);

    [[nodiscard]] bool is_chosen() const { return command_->parsed(); }

    /// 0: whole. 1: records are missing or something is damaged. Throws std::exception where a file
    /// cannot be read.
    [[nodiscard]] int run() const;

  private:
    CLI::App* command_;
    std::vector<std::string> logs_;
    bool lists_producers_ = false;
    bool is_quiet_ = false;
};

} // namespace sapwood::tools
