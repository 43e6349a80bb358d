#include <sapwood/assert.hpp>

#include <cstdio>
#include <cstdlib>

namespace sapwood::detail {

void assertion_failed(const char* condition, const char* message, const char* file,
                      int line) noexcept {
    std::fprintf(stderr, "sapwood: %s\n  (%s:%d: assertion `%s` failed)\n", message, file, line,
                 condition);
    std::abort();
}

} // namespace sapwood::detail
