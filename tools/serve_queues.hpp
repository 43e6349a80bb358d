// serve_queues: the broker's queues that the command line of `sapwood serve` names. One thread.
#pragma once

#include <collector/queue_options.hpp>

#include <CLI/CLI.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace sapwood::tools {

class serve_queues {
  public:
    void add_options(CLI::App& to);

    /// In the order of the command line. Throws std::exception that names the option.
    [[nodiscard]] std::vector<collector::queue_options> chosen() const;

  private:
    std::string broker_;
    std::vector<std::string> queues_;
    CLI::Option* prefetch_option_ = nullptr;
    std::uint16_t prefetch_ = collector::queue_options().prefetch;
};

} // namespace sapwood::tools
