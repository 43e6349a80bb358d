// A collector as a service: it tells the service manager how it is, and obeys signals from before
// it is open until its very end. What `sapwood serve` runs. Loop thread only.
#pragma once

#include <collector/collector.hpp>

#include <sapwood/task.hpp>

#include <functional>

namespace sapwood::tools {

/// The settings of the moment. Throws std::exception where something is wrong with them.
using read_options = std::function<collector::collector_options()>;

/// Until a signal ends it; the exit code. Throws std::exception where it cannot begin.
[[nodiscard]] task<int> serve(collector::collector_options options, read_options read,
                              bool has_settings);

} // namespace sapwood::tools
