// A scenario: what is played on one simulated machine with one seed, and what must hold then.
#pragma once

#include <sapwood/sim_world.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sapwood::simulation {

/// What came of one seed.
struct outcome {
    /// What was violated; nothing where all is well.
    std::optional<std::string> violation;
    std::vector<std::string> trace;
    std::uint64_t digest = 0;
    std::uint64_t operations = 0;
    std::uint64_t crashes = 0;
    std::uint64_t acknowledged = 0;
};

struct scenario {
    std::string_view name;
    std::string_view what;
    /// A program with a mistake in it: it must be found, in 100 seeds at most.
    bool is_control;
    outcome (*play)(std::uint64_t seed, bool traces);
};

/// All of them, in order.
[[nodiscard]] const std::vector<scenario>& scenarios();

/// A machine for a seed: its faults, the sizes of its queues.
[[nodiscard]] sim_options options_of(std::uint64_t seed, bool traces);

/// A crash at some operation of the life that begins now, or none.
std::optional<sim_crash> plan_crash(sim_world& world, std::uint64_t operations_max);

/// An outage that begins soon, or none.
void plan_outage(sim_world& world);

/// Takes the world's trace and counts over.
void finish(const sim_world& world, outcome& result);

} // namespace sapwood::simulation
