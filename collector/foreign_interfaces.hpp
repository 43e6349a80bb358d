// foreign_interfaces: the words of other programs' HTTP interfaces, whose clients need no plug-in
// to send to a collector; and what their paths mean. See docs/collector.md. Loop thread only.
#pragma once

#include "http_routes.hpp"

#include <optional>

namespace sapwood::collector {

extern const http_interface loki_interface;
extern const http_interface bulk_interface;
extern const http_interface splunk_event_interface;
extern const http_interface splunk_raw_interface;
extern const http_interface otlp_interface;

/// What is to be done where the path is one of theirs, by itself or behind `/log/NAME`, which
/// names the log. None, where it is not.
[[nodiscard]] std::optional<http_plan> plan_for_foreign(const http_head& head, intake& shared);

} // namespace sapwood::collector
