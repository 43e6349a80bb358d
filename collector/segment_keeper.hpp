// segment_keeper: removes what a log is not to keep of the segments that it has set aside: when it
// begins, whenever one more is set aside, and once an hour, since they grow old by themselves. Loop
// thread only; the work is done on a thread of the pool.
#pragma once

#include "intake.hpp"
#include "named_log.hpp"

namespace sapwood::collector {

/// Until it is cancelled. What cannot be removed is told, and tried again an hour later.
[[nodiscard]] task<> keep_segments(intake& shared, const named_log& of);

} // namespace sapwood::collector
