// A durable pipeline, as programs use it, over kills, power cuts and disks that fail.
#pragma once

#include "scenario.hpp"

namespace sapwood::simulation {

[[nodiscard]] outcome play_durable(std::uint64_t seed, bool traces);

} // namespace sapwood::simulation
