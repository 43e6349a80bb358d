// Which lines of a log are wanted, by what stands in them: --level, --where, --since, --until.
#pragma once

#include "log_line.hpp"

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sapwood::tools {

/// As they stand on the command line; empty: not given.
struct filter_options {
    std::string level;
    std::vector<std::string> where;
    std::string since;
    std::string until;
};

class line_filter {
  public:
    /// Throws std::invalid_argument that names the option and says what would be right. `now` is
    /// nanoseconds since 1970.
    line_filter(const filter_options& options, std::int64_t now);

    /// Whether all lines are wanted.
    [[nodiscard]] bool is_empty() const noexcept;

    /// `line` is what `parser` has parsed last. A line that has no level, or no time, is not wanted
    /// where one is asked for.
    [[nodiscard]] bool wants(const log_line& line, line_parser& parser) const;

    [[nodiscard]] std::optional<std::int64_t> since() const noexcept { return since_; }

  private:
    struct wanted_field {
        std::string key;
        std::string value;
        bool is_not = false;
    };

    std::optional<level> at_least_;
    std::vector<wanted_field> where_;
    std::optional<std::int64_t> since_;
    std::optional<std::int64_t> until_;
};

/// Nanoseconds since 1970.
[[nodiscard]] std::int64_t now_ns();

} // namespace sapwood::tools
