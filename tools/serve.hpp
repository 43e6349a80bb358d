// sapwood serve: the collector, from the command line. Registers itself with the command line; what
// run() returns is the program's exit code.
#pragma once

#include <CLI/CLI.hpp>

#include <string>
#include <vector>

namespace sapwood::tools {

class serve_command {
  public:
    explicit serve_command(CLI::App& program);

    [[nodiscard]] bool is_chosen() const { return command_->parsed(); }

    /// 0: ended as it was told to, and everything taken is in the logs. 1: something was cut off or
    /// lost. Throws std::exception where it cannot begin.
    [[nodiscard]] int run() const;

  private:
    CLI::App* command_;
    std::vector<std::string> logs_;
    std::vector<std::string> http_;
    std::vector<std::string> unix_;
    std::vector<std::string> unix_datagrams_;
    std::vector<std::string> udp_;
    std::vector<std::string> tcp_;
    std::string mode_ = "600";
    std::string form_ = "text";
    std::string durability_ = "batch";
    std::string ack_;
    double drain_seconds_ = 10;
};

} // namespace sapwood::tools
