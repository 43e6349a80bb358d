// A number of things, as a sentence has it: `1 record`, `2 records`.
#pragma once

#include <cstdint>
#include <fmt/format.h>
#include <string>
#include <string_view>

namespace sapwood::tools {

[[nodiscard]] inline std::string number_of(std::uint64_t number, std::string_view what) {
    return fmt::format("{} {}{}", number, what, number == 1 ? "" : "s");
}

/// The verb that goes with so many.
[[nodiscard]] constexpr std::string_view is_or_are(std::uint64_t number) noexcept {
    return number == 1 ? "is" : "are";
}

} // namespace sapwood::tools
