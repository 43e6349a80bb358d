// The pipeline and its file sink, as programs use them, over kills and power cuts.
#pragma once

#include "scenario.hpp"

namespace sapwood::simulation {

/// Level `written`: what a flush has acknowledged survives a kill, whole lines only.
[[nodiscard]] outcome play_pipeline_written(std::uint64_t seed, bool traces);

} // namespace sapwood::simulation
