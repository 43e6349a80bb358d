// loop_stats: what a loop has done and has to do, for people and their dashboards.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sapwood {

/// A copy: it does not change any more. Totals are since the loop was made; two copies, subtracted,
/// tell of the time between them.
struct loop_stats {
    // --- totals ---

    /// Rounds of the loop: timers, messages, the ring, then everything that was ready.
    std::uint64_t turns = 0;
    /// System calls that entered the ring.
    std::uint64_t enters = 0;
    /// How often a coroutine was resumed from the ready queue; a child's start and end are not.
    std::uint64_t resumptions = 0;
    /// Operations given to the ring, and those that have come back.
    std::uint64_t operations_started = 0;
    std::uint64_t operations_completed = 0;
    /// Tasks: spawned ones, members of groups, branches of when_all and when_any.
    std::uint64_t tasks_started = 0;

    // --- now ---

    /// Started and not over.
    std::size_t tasks = 0;
    /// Coroutines in line to be resumed; not the one that runs.
    std::size_t ready = 0;
    /// Operations that the ring has.
    std::size_t operations_in_flight = 0;
    /// Operations that wait for a free SQE: where this is often not 0, loop_options::sq_entries is
    /// too small.
    std::size_t operations_waiting = 0;
    std::size_t timers = 0;
    /// Bytes of freed coroutine frames that this thread keeps, less at most 63 frames of each size.
    std::size_t frame_bytes_kept = 0;

    /// System calls for one round, from 0 to about 1. A loop that has little to do makes one per
    /// round, to wait; a busy one less.
    [[nodiscard]] double enters_per_turn() const noexcept {
        return turns == 0 ? 0.0 : static_cast<double>(enters) / static_cast<double>(turns);
    }
};

} // namespace sapwood
