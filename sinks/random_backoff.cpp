#include <sapwood/random_backoff.hpp>

#include <algorithm>

namespace sapwood::detail {

clock::duration random_backoff::failed() {
    const unsigned doublings = std::min(failures_++, 20u);
    clock::duration bound = first_;
    for (unsigned i = 0; i < doublings && bound < max_; ++i) {
        bound *= 2;
    }
    using count = clock::duration::rep;
    std::uniform_int_distribution<count> any(0, std::min(bound, max_).count());
    return clock::duration(any(random_));
}

} // namespace sapwood::detail
