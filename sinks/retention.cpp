#include <sapwood/retention.hpp>

#include "rotated_files.hpp"

#include <atomic>
#include <utility>

namespace sapwood {

retention_report remove_old_segments(const std::string& path, const retention& keep,
                                     std::chrono::system_clock::time_point now) {
    const std::atomic<bool> go_on{false};
    const detail::house_rules rules{.keep_files = keep.files,
                                    .keep_for = keep.age,
                                    .keep_bytes = keep.bytes,
                                    .named = detail::aside_name::number};
    detail::house_report found = detail::keep_house(path, rules, now, go_on);
    retention_report report;
    report.removed = found.removed;
    report.failures = std::move(found.failures);
    return report;
}

} // namespace sapwood
