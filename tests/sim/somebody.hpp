// Others at a log that is not theirs. Somebody appends to it: pieces of lines, zeros, lines of a
// child that was forked. A vandal cuts or removes it. A rival would write it, too. Whatever they
// do, nothing may be missing that was acknowledged and is not the vandal's.
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

/// Cuts the file of that name or removes it, once or twice, at one moment before which `striking`
/// is called: what was acknowledged until then is not missed, and nothing else may be missing.
[[nodiscard]] task<> destroy(sim_world& world, std::string path, std::uint64_t seed,
                             std::function<void()> striking);

/// The same of a rival, who does not append either.
[[nodiscard]] std::optional<std::uint64_t> rival_of(std::uint64_t seed,
                                                    std::uint64_t life) noexcept;

/// Opens the log a few times, as a writer of it would; `opened` is called when he could.
[[nodiscard]] task<> contend(sim_world& world, std::string path, std::uint64_t seed,
                             std::function<void()> opened);

/// Whether a whole line is somebody's.
[[nodiscard]] bool is_somebodys(std::string_view line) noexcept;

} // namespace sapwood::simulation
