// sapwood serve: the collector, from the command line. Registers itself with the command line; what
// run() returns is the program's exit code.
#pragma once

#include "serve_logs.hpp"
#include "serve_queues.hpp"

#include <collector/collector.hpp>

#include <CLI/CLI.hpp>

#include <cstdint>
#include <optional>
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
    /// Throws std::exception that names the option, or the place in the settings.
    [[nodiscard]] collector::collector_options options() const;
    void add_listeners(collector::collector_options& to) const;
    void add_access(collector::collector_options& to) const;

    CLI::App* command_;
    serve_logs logs_;
    serve_queues queues_;
    std::vector<std::string> http_;
    std::vector<std::string> unix_;
    std::vector<std::string> unix_datagrams_;
    std::vector<std::string> udp_;
    std::vector<std::string> tcp_;
    std::vector<std::string> tcp_lines_;
    std::vector<std::string> users_;
    std::vector<std::string> modes_;
    std::optional<std::string> drain_seconds_;
    std::vector<std::string> limits_;
    collector::tls_options tls_;
    std::string tls_client_ = "required";
    std::string tokens_;
    std::vector<std::string> hosts_;
    bool takes_from_anybody_ = false;
    std::string settings_;
    bool only_checks_ = false;
};

} // namespace sapwood::tools
