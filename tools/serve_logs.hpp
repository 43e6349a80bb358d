// serve_logs: the logs that the command line of `sapwood serve` names, and what each is to be like:
// what an option says is meant for all of them, or, as NAME=VALUE, for one. One thread.
#pragma once

#include <collector/named_log.hpp>

#include <CLI/CLI.hpp>

#include <array>
#include <string>
#include <vector>

namespace sapwood::tools {

class serve_logs {
  public:
    static constexpr std::size_t option_count = 10;

    void add_options(CLI::App& to);

    /// In the order of the command line. Throws std::invalid_argument that names the option.
    [[nodiscard]] std::vector<collector::named_log_options> chosen() const;

  private:
    std::vector<std::string> paths_;
    std::array<std::vector<std::string>, option_count> values_;
};

} // namespace sapwood::tools
