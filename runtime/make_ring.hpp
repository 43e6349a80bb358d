// Which ring a loop gets. Any thread; the ring is for the thread that makes it.
#pragma once

#include <sapwood/event_loop.hpp>
#include <sapwood/ring.hpp>

#include <memory>

namespace sapwood {

/// The ring that `options` and the environment ask for. Throws std::system_error, with the reason
/// and the remedy, where it cannot be had or SAPWOOD_RING makes no sense.
[[nodiscard]] std::unique_ptr<ring> make_ring(const loop_options& options);

} // namespace sapwood
