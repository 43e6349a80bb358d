// The rings of this thread, of all the logs that it writes to: found again when it logs, and told
// to be over when it ends. That is told by a key of pthreads, whose destructors run when those of
// all thread_local objects have: these may still log. A destructor of another key may, too, as
// long as it runs in one of the first rounds of such destructors.
#pragma once

#include <sapwood/log_backend.hpp>

#include <cstdint>
#include <memory>

namespace sapwood::detail {

/// Null where this thread has none for that log.
[[nodiscard]] log_producer* find_thread_ring(std::uint64_t backend) noexcept;

/// Keeps it until the thread ends. False where that cannot be told any more: the thread is ending.
/// `wants_stack`: the thread gets an alternate_stack. Throws std::bad_alloc, before it has kept
/// anything.
[[nodiscard]] bool keep_thread_ring(std::uint64_t backend, std::shared_ptr<log_producer> producer,
                                    bool wants_stack);

/// In a child process: those that this thread had were its parent's.
void forget_thread_rings() noexcept;

} // namespace sapwood::detail
