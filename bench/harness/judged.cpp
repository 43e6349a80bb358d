#include "judged.hpp"

#include <cstdlib>

namespace bench {

std::string judged(bool reached) {
    if (std::getenv("SAPWOOD_BENCH_QUICK") != nullptr) {
        return {};
    }
    return reached ? "reached" : "missed";
}

} // namespace bench
