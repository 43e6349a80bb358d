// Runs every configuration once per round, so that what disturbs the machine disturbs all of them.
//
// Odd rounds go backwards: a drift within a round, such as a CPU that warms up, cancels out instead
// of favouring whoever comes first. Progress goes to stderr if that is a terminal.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

namespace bench {

// Calls `measure(i)` for every index of `names`, `rounds` times. What it throws ends the run.
void run_interleaved(unsigned rounds, const std::vector<std::string>& names,
                     const std::function<void(std::size_t)>& measure);

} // namespace bench
