// sapwood tail LOG: the last lines of a log, and those to come. Registers itself with the command
// line; what run() returns is the program's exit code.
#pragma once

#include "view_options.hpp"

#include <CLI/CLI.hpp>

#include <cstdint>
#include <string>

namespace sapwood::tools {

class tail_command {
  public:
    explicit tail_command(CLI::App& program);

    [[nodiscard]] bool is_chosen() const { return command_->parsed(); }

    /// 0, also where nobody reads the output any more. Throws std::exception where the log cannot
    /// be read.
    [[nodiscard]] int run() const;

  private:
    CLI::App* command_;
    std::string log_;
    bool follows_ = false;
    std::uint64_t lines_ = 10;
    view_options view_;
};

} // namespace sapwood::tools
