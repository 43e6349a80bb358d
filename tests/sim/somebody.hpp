// Somebody who appends to a log that is not his: pieces of lines, zeros, lines of a child that was
// forked. Whatever he does, nothing acknowledged may be missing.
#pragma once

#include <sapwood/sim_world.hpp>
#include <sapwood/task.hpp>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace sapwood::simulation {

/// What decides on what he does in that life of the seed's world; nothing where he does not come.
[[nodiscard]] std::optional<std::uint64_t> somebody_of(std::uint64_t seed,
                                                       std::uint64_t life) noexcept;

/// Appends to the file of that name, a few times, whole lines or not.
[[nodiscard]] task<> append_somebodys(sim_world& world, std::string path, std::uint64_t seed);

/// The same of a vandal, who does not append.
[[nodiscard]] std::optional<std::uint64_t> vandal_of(std::uint64_t seed,
                                                     std::uint64_t life) noexcept;

/// Cuts the file of that name or removes it, once or twice, at one moment in which `struck` is
/// called: what was acknowledged before is not missed, and nothing else may be missing.
[[nodiscard]] task<> destroy(sim_world& world, std::string path, std::uint64_t seed,
                             std::function<void()> struck);

/// Whether a whole line is his.
[[nodiscard]] bool is_somebodys(std::string_view line) noexcept;

} // namespace sapwood::simulation
