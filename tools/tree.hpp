// sapwood tree LOG: the trees of actions that stand in logs. Registers itself with the command
// line; what run() returns is the program's exit code.
#pragma once

#include <CLI/CLI.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace sapwood::tools {

class tree_command {
  public:
    explicit tree_command(CLI::App& program);

    [[nodiscard]] bool is_chosen() const { return command_->parsed(); }

    /// As grep: 0 where a tree was printed, 1 where none was, 2 where something could not be read.
    /// Throws std::exception where the command line is wrong, or nobody reads the output.
    [[nodiscard]] int run() const;

  private:
    void add_conditions();
    void add_style();

    CLI::App* command_;
    std::vector<std::string> logs_;
    std::string task_;
    std::string slower_than_;
    std::string colour_ = "auto";
    std::uint64_t memory_max_ = std::uint64_t{256} << 20;
    std::uint64_t value_bytes_max_ = 2000;
    bool only_failed_ = false;
    bool only_incomplete_ = false;
    bool html_ = false;
    bool ascii_ = false;
    bool has_one_file_ = false;
};

} // namespace sapwood::tools
