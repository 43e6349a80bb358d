// sapwood stats LOG: what is in a log, counted. Registers itself with the command line; what run()
// returns is the program's exit code.
#pragma once

#include <CLI/CLI.hpp>

#include <string>
#include <vector>

namespace sapwood::tools {

class stats_command {
  public:
    explicit stats_command(CLI::App& program);

    [[nodiscard]] bool is_chosen() const { return command_->parsed(); }

    /// 0, or 2 where a log cannot be read. Throws std::exception where it is none at all.
    [[nodiscard]] int run() const;

  private:
    CLI::App* command_;
    std::vector<std::string> logs_;
    bool json_ = false;
    bool lists_all_ = false;
    bool has_one_file_ = false;
};

} // namespace sapwood::tools
