// judged: whether a figure has reached its mark, in a word for a table.
#pragma once

#include <string>

namespace bench {

/// "reached" or "missed"; nothing in a run that only shows that everything works, as
/// SAPWOOD_BENCH_QUICK in the environment says: what it measures is no verdict.
[[nodiscard]] std::string judged(bool reached);

} // namespace bench
