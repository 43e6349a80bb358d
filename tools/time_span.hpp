// Spans of time as people write and read them: 10ms, 1.5s. Any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace sapwood::tools {

/// A number and `ns`, `us`, `ms`, `s`, `m` or `h`, in nanoseconds. Throws std::invalid_argument
/// that says what would be right.
[[nodiscard]] std::int64_t parse_span(std::string_view text);

/// In the unit that suits it: `812ns`, `41.2us`, `12.3ms`, `1.234s`, `3m12s`, `5h03m12s`.
[[nodiscard]] std::string span_text(std::int64_t ns);

} // namespace sapwood::tools
