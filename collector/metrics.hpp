// What a collector has done and how its logs are, in Prometheus's text format. Loop thread only.
#pragma once

#include "intake.hpp"

#include <string>

namespace sapwood::collector {

[[nodiscard]] std::string metrics_page(const intake& of);

/// `ready`, and a line for each queue: a broker that is away is no reason to send clients away.
[[nodiscard]] std::string ready_page(const intake& of);

} // namespace sapwood::collector
