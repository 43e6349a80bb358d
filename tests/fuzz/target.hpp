// What the fuzzers have in common: a violation ends the run, with what was violated on standard
// error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

namespace sapwood::test {

inline std::string_view text_of(const std::uint8_t* data, std::size_t size) noexcept {
    return {reinterpret_cast<const char*>(data), size};
}

inline void require_none(const std::string& violation) {
    if (!violation.empty()) {
        std::fprintf(stderr, "violation: %s\n", violation.c_str());
        std::abort();
    }
}

} // namespace sapwood::test

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
