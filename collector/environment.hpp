// Numbers in the environment, as service managers pass them on. Any thread, while none changes it.
#pragma once

#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <string_view>

namespace sapwood::collector {

/// 0 where the variable is none, or is not a number.
[[nodiscard]] inline std::uint64_t number_in(const char* variable) noexcept {
    const char* const text = std::getenv(variable);
    std::uint64_t number = 0;
    if (text == nullptr) {
        return 0;
    }
    const std::string_view digits = text;
    const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    return read.ec == std::errc() && read.ptr == digits.data() + digits.size() ? number : 0;
}

} // namespace sapwood::collector
