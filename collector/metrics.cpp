#include "metrics.hpp"

#include <fmt/format.h>
#include <iterator>
#include <string_view>

namespace sapwood::collector {

namespace {

void put(std::string& page, std::string_view name, std::string_view kind, std::string_view labels,
         std::uint64_t value) {
    if (page.find(fmt::format("# TYPE sapwood_collector_{} ", name)) == page.npos) {
        fmt::format_to(std::back_inserter(page), "# TYPE sapwood_collector_{} {}\n", name, kind);
    }
    fmt::format_to(std::back_inserter(page), "sapwood_collector_{}{} {}\n", name, labels, value);
}

} // namespace

std::string metrics_page(const intake& of) {
    const collector_counts& counts = of.counts;
    std::string page;
    put(page, "connections", "gauge", "", counts.connections_opened - counts.connections_closed);
    put(page, "connections_total", "counter", "", counts.connections_opened);
    put(page, "requests_total", "counter", "", counts.requests);
    put(page, "answers_total", "counter", R"({status="2xx"})", counts.answers_well);
    put(page, "answers_total", "counter", R"({status="4xx"})", counts.answers_refused);
    put(page, "answers_total", "counter", R"({status="5xx"})", counts.answers_unavailable);
    put(page, "records_total", "counter", "", counts.records);
    put(page, "record_bytes_total", "counter", "", counts.record_bytes);
    put(page, "datagrams_dropped_total", "counter", "", counts.datagrams_dropped);
    put(page, "held_bytes", "gauge", "", counts.held_bytes);

    struct column {
        std::string_view name;
        std::string_view kind;
        std::uint64_t (*value)(const named_log&);
    };

    static constexpr column columns[] = {
        {"log_records_accepted_total", "counter",
         [](const named_log& log) { return log.log().counts().records; }},
        {"log_lines_written_total", "counter",
         [](const named_log& log) { return log.log().counts().lines_written; }},
        {"log_bytes_written_total", "counter",
         [](const named_log& log) { return log.log().counts().bytes_written; }},
        {"log_lines_lost_total", "counter",
         [](const named_log& log) { return log.log().counts().lines_lost; }},
        {"log_syncs_total", "counter",
         [](const named_log& log) { return log.log().counts().syncs; }},
        {"log_retries_total", "counter",
         [](const named_log& log) { return log.log().counts().retries; }},
        {"log_queued", "gauge",
         [](const named_log& log) { return std::uint64_t{log.log().counts().queued}; }},
        {"log_degraded", "gauge",
         [](const named_log& log) { return std::uint64_t{log.log().health().is_degraded()}; }},
    };
    for (const column& each : columns) {
        for (const named_log& log : of.logs) {
            put(page, each.name, each.kind, fmt::format(R"({{log="{}"}})", log.name()),
                each.value(log));
        }
    }
    return page;
}

} // namespace sapwood::collector
