// Whether this is still the process that made something: what a forked child has a copy of, but may
// not end or give back, remembers the number of its maker.
#pragma once

namespace sapwood::detail {

/// The number. Written by the child, in fork() itself.
extern unsigned fork_generation;

/// How often this process, or one of its ancestors since the first call, was made by fork(): the
/// same, and counted from now on. Any thread.
[[nodiscard]] unsigned current_generation();

} // namespace sapwood::detail
