#include "time_span.hpp"

#include "log_time.hpp"

#include <charconv>
#include <fmt/format.h>
#include <stdexcept>

namespace sapwood::tools {

std::int64_t parse_span(std::string_view text) {
    double number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
    const double ns = unit == "ns"   ? 1
                      : unit == "us" ? 1e3
                      : unit == "ms" ? 1e6
                      : unit == "s"  ? 1e9
                      : unit == "m"  ? 60e9
                      : unit == "h"  ? 3600e9
                                     : 0;
    constexpr double ns_max = 9e18;
    if (error != std::errc() || ns == 0 || !(number >= 0) || !(number * ns < ns_max)) {
        throw std::invalid_argument(fmt::format(
            "'{}' is no span of time: give a number and its unit, as 500us, 10ms, 1.5s, 2m or 1h",
            text));
    }
    return static_cast<std::int64_t>(number * ns);
}

std::string span_text(std::int64_t ns) {
    if (ns < 0) { // a clock that was put back
        return fmt::format("-{}", span_text(-ns));
    }
    const auto tenths = [ns](std::int64_t of, std::string_view unit) {
        const std::int64_t all = (ns + of / 20) / (of / 10);
        return fmt::format("{}.{}{}", all / 10, all % 10, unit);
    };
    const std::int64_t seconds = ns / nanoseconds_per_second;
    if (ns < 1000) {
        return fmt::format("{}ns", ns);
    }
    if (ns < 999'950) {
        return tenths(1000, "us");
    }
    if (ns < 999'950'000) {
        return tenths(1'000'000, "ms");
    }
    if (seconds < 60) {
        const std::int64_t all = (ns + 500'000) / 1'000'000;
        return fmt::format("{}.{:03}s", all / 1000, all % 1000);
    }
    return seconds < 3600
               ? fmt::format("{}m{:02}s", seconds / 60, seconds % 60)
               : fmt::format("{}h{:02}m{:02}s", seconds / 3600, seconds / 60 % 60, seconds % 60);
}

} // namespace sapwood::tools
