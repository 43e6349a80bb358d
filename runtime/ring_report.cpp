#include <sapwood/fmt_library.hpp>
#include <sapwood/ring_report.hpp>

#include <algorithm>
#include <iterator>

namespace sapwood {

bool ring_report::has(std::string_view name) const noexcept {
    return std::any_of(features.begin(), features.end(), [&](const ring_feature& each) {
        return each.name == name && each.is != ring_feature::state::missing;
    });
}

std::string ring_report::text() const {
    std::string text = summary + '\n';
    const auto list = [&](ring_feature::state wanted, std::string_view head) {
        std::string_view separator = head;
        for (const auto& each : features) {
            if (each.is == wanted) {
                fmt::format_to(std::back_inserter(text), "{}{}", separator, each.name);
                separator = ", ";
            }
        }
        text += separator == head ? "" : "\n";
    };
    list(ring_feature::state::used, "  used: ");
    list(ring_feature::state::available, "  there, and not used: ");
    for (const auto& each : features) {
        if (each.is == ring_feature::state::missing) {
            fmt::format_to(std::back_inserter(text), "  missing: {}{}{}{}: {}\n", each.name,
                           each.since.empty() ? "" : " (Linux ", each.since,
                           each.since.empty() ? "" : ")", each.without);
        }
    }
    return text;
}

} // namespace sapwood
