// How a tiny_log, right or with a mistake, fares with a seed.
#pragma once

#include "scenario.hpp"
#include "tiny_log.hpp"

namespace sapwood::simulation {

[[nodiscard]] outcome play_tiny(std::uint64_t seed, bool traces, mistake made);

} // namespace sapwood::simulation
