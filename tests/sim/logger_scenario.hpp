// A logger whose file is durable, over kills, power cuts and disks that fail.
#pragma once

#include "scenario.hpp"

namespace sapwood::simulation {

[[nodiscard]] outcome play_logger(std::uint64_t seed, bool traces);

} // namespace sapwood::simulation
