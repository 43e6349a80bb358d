// What clients that compress send. Each is nothing where the library is not there.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace sapwood::test {

/// One member.
[[nodiscard]] std::optional<std::string> gzipped(std::string_view text);

/// One frame, whose window is of 2^`window_log` bytes; 0 is what suits the text.
[[nodiscard]] std::optional<std::string> zstd_of(std::string_view text, int window_log = 0);

} // namespace sapwood::test
