#include "metrics.hpp"

#include <cstdint>
#include <fmt/format.h>
#include <iterator>
#include <string_view>

namespace sapwood::collector {

namespace {

enum class metric_kind : std::uint8_t { counter, gauge };

/// Begins a metric; its values follow.
class metric {
  public:
    metric(std::string& page, metric_kind kind, std::string_view name, std::string_view help)
        : page_(page),
          name_(name) {
        fmt::format_to(std::back_inserter(page_),
                       "# HELP sapwood_collector_{0} {1}\n# TYPE sapwood_collector_{0} {2}\n",
                       name_, help, kind == metric_kind::counter ? "counter" : "gauge");
    }

    template <class Number>
    metric& put(Number value) {
        fmt::format_to(std::back_inserter(page_), "sapwood_collector_{} {}\n", name_, value);
        return *this;
    }

    /// Values of labels are words of ours, and names of logs and queues, which have nothing to be
    /// escaped.
    template <class Number>
    metric& put(std::string_view label, std::string_view is, Number value) {
        fmt::format_to(std::back_inserter(page_), "sapwood_collector_{}{{{}=\"{}\"}} {}\n", name_,
                       label, is, value);
        return *this;
    }

  private:
    std::string& page_;
    std::string_view name_;
};

void put_traffic(std::string& page, const collector_counts& counts) {
    using enum metric_kind;
    metric(page, gauge, "connections", "Connections that are open.")
        .put(counts.connections_opened - counts.connections_closed);
    metric(page, counter, "connections_total", "Connections that were accepted.")
        .put(counts.connections_opened);
    metric(page, counter, "requests_total", "HTTP requests that came whole.").put(counts.requests);
    metric(page, counter, "answers_total", "HTTP answers by class of status.")
        .put("status", "2xx", counts.answers_well)
        .put("status", "4xx", counts.answers_refused)
        .put("status", "5xx", counts.answers_unavailable);
    metric(page, counter, "records_total", "Records that were given to a log.").put(counts.records);
    metric(page, counter, "record_bytes_total", "Bytes of those records, as they stand in the log.")
        .put(counts.record_bytes);
    metric(page, counter, "records_left_total",
           "Records that had come when a log took no more, and are in none.")
        .put(counts.records_left);
    metric(page, counter, "datagrams_dropped_total", "Datagrams for which the kernel had no room.")
        .put(counts.datagrams_dropped);
    metric(page, gauge, "held_bytes", "Bytes of request bodies that are held.")
        .put(counts.held_bytes);
    metric(page, gauge, "held_line_bytes", "Bytes of lines that are not whole.")
        .put(counts.held_line_bytes);
    metric(page, gauge, "unsent_bytes", "Bytes of answers that are not sent.")
        .put(counts.unsent_bytes);
}

void put_gate(std::string& page, const intake& of) {
    using enum metric_kind;
    const gate_counts& gate = of.gate;
    static constexpr std::string_view reasons[gate_counts::tls_reasons] = {
        "gone",           "",
        "plain_http",     "not_tls",
        "no_certificate", "bad_certificate",
        "refused",        "nothing_in_common",
        "broken"};
    metric(page, counter, "tls_handshakes_total", "TLS handshakes that succeeded.")
        .put(gate.tls_handshakes);
    metric(page, counter, "tls_resumed_total", "Those that went on with an earlier session.")
        .put(gate.tls_resumed);
    metric failures(page, counter, "tls_handshake_failures_total",
                    "TLS handshakes that failed, by reason.");
    for (std::size_t i = 0; i < gate.tls_failures.size(); ++i) {
        if (!reasons[i].empty()) {
            failures.put("reason", reasons[i], gate.tls_failures[i]);
        }
    }
    metric(page, counter, "tls_truncated_total",
           "TLS connections that ended without a close_notify.")
        .put(gate.tls_truncated);
    if (gate.certificate_ends != 0) {
        metric(page, gauge, "tls_certificate_expiry_timestamp_seconds",
               "When the certificate ends, since 1970.")
            .put(gate.certificate_ends);
    }
    metric(page, counter, "users_refused_total",
           "Connections and datagrams on Unix sockets by users that are not on the list.")
        .put(gate.users_refused);
    metric(page, counter, "idle_closed_total",
           "Connections that were closed to let others in, as they had said nothing for longest.")
        .put(gate.idle_closed);
    metric(page, counter, "over_share_total",
           "Connections that were closed at once, as their address or user had its share of them.")
        .put(gate.over_share);
    metric(page, counter, "no_lines_total",
           "Connections for lines that were closed, as HTTP or TLS was spoken there.")
        .put(gate.no_lines);
    metric(page, counter, "over_quota_total",
           "Requests that were refused because their token has had its share.")
        .put(gate.over_quota);
}

void put_queues(std::string& page, const intake& of) {
    const auto each = [&](metric_kind kind, std::string_view name, std::string_view help,
                          auto value) {
        metric one(page, kind, name, help);
        for (const queue_status& queue : of.queues) {
            one.put("queue", queue.name, value(queue));
        }
    };
    const auto count = [&](std::string_view name, std::string_view help,
                           std::uint64_t queue_status::*member) {
        each(metric_kind::counter, name, help,
             [member](const queue_status& queue) { return queue.*member; });
    };
    if (of.queues.empty()) {
        return;
    }
    each(metric_kind::gauge, "queue_up", "1 while a broker's queue is consumed.",
         [](const queue_status& queue) { return queue.is_up ? 1 : 0; });
    count("queue_connections_total", "Times that its consumer was connected.",
          &queue_status::connections);
    count("queue_messages_total", "Messages that came, those that came again included.",
          &queue_status::messages);
    count("queue_duplicates_total", "Of those, whose record was in the log already.",
          &queue_status::duplicates);
    count("queue_rejected_total", "Of those, too long: cut in the log, and rejected.",
          &queue_status::rejected);
    count("queue_acknowledged_total", "Messages that were acknowledged.",
          &queue_status::acknowledged);
    each(metric_kind::gauge, "queue_unsettled", "Messages that are taken and not acknowledged.",
         [](const queue_status& queue) { return queue.unsettled; });
}

/// A value of each log.
template <class Value>
void put_logs(std::string& page, const intake& of, metric_kind kind, std::string_view name,
              std::string_view help, Value value) {
    metric each(page, kind, name, help);
    for (const named_log& log : of.logs) {
        each.put("log", log.name(), value(log));
    }
}

} // namespace

std::string metrics_page(const intake& of) {
    using enum metric_kind;
    std::string page;
    put_traffic(page, of.counts);
    put_gate(page, of);
    put_queues(page, of);
    const auto count = [&](std::string_view name, std::string_view help,
                           std::uint64_t pipeline_counts::*member) {
        put_logs(page, of, counter, name, help,
                 [member](const named_log& log) { return log.log().counts().*member; });
    };
    count("log_records_accepted_total", "Records that a log has taken.",
          &pipeline_counts::records_accepted);
    count("log_records_durable_total", "Records that survive the machine.",
          &pipeline_counts::records_durable);
    count("log_records_lost_total", "Records that were taken and given up.",
          &pipeline_counts::records_lost);
    count("log_records_refused_total", "Records that were not taken, and who had them was told.",
          &pipeline_counts::records_refused);
    count("log_torn_bytes_total", "Bytes of a damaged end that were moved to LOG.torn.",
          &pipeline_counts::torn_bytes);
    count("log_lines_written_total", "Lines in the file.", &pipeline_counts::lines_written);
    count("log_written_bytes_total", "Bytes in the file.", &pipeline_counts::bytes_written);
    count("log_lines_lost_total", "Lines that were taken and are not in the file.",
          &pipeline_counts::lines_lost);
    count("log_syncs_total", "Times that the file was synced.", &pipeline_counts::syncs);
    count("log_retries_total", "Writes and syncs that failed and were made again.",
          &pipeline_counts::retries);
    count("log_segments_total", "Segments that were begun.", &pipeline_counts::segments_begun);
    metric(page, counter, "log_segments_removed_total", "Segments that were not to be kept.")
        .put(of.gate.segments_removed);
    put_logs(page, of, gauge, "log_queued_records", "Records that wait for the file.",
             [](const named_log& log) { return log.log().counts().queued; });
    put_logs(page, of, gauge, "log_written_only_records",
             "Records in the file that do not survive the machine yet.",
             [](const named_log& log) { return log.log().counts().records_written_only; });
    put_logs(page, of, gauge, "log_in_flight_records",
             "Records that were taken and are not in the file yet.",
             [](const named_log& log) { return log.log().counts().records_in_flight; });
    put_logs(page, of, gauge, "log_blocked_bytes",
             "Bytes of records of requests that wait for room in the queue.",
             [](const named_log& log) { return log.blocked_bytes(); });
    put_logs(page, of, gauge, "log_degraded", "1 while the disk refuses the log's records.",
             [](const named_log& log) { return log.log().health().is_degraded() ? 1 : 0; });
    return page;
}

std::string ready_page(const intake& of) {
    std::string page = "ready\n";
    for (const queue_status& queue : of.queues) {
        fmt::format_to(std::back_inserter(page), "queue {}: {}{}{}\n", queue.name,
                       queue.is_up ? "consumed" : "not connected", queue.why.empty() ? "" : ": ",
                       queue.why);
    }
    return page;
}

} // namespace sapwood::collector
