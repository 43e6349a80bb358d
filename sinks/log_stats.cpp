#include <sapwood/log_stats.hpp>

#include <sapwood/escape.hpp>

#include <fmt/format.h>
#include <iterator>
#include <string_view>
#include <utility>

namespace sapwood {

namespace {

/// A label's value: UTF-8, in which backslash, quote and newline are escaped.
std::string label_value(std::string_view text) {
    std::string valid;
    if (!is_utf8(text)) {
        escape(text, valid);
        text = valid;
    }
    std::string value;
    for (const char c : text) {
        switch (c) {
        case '\n':
            value += "\\n";
            break;
        case '\\':
        case '"':
            value += '\\';
            [[fallthrough]];
        default:
            value += c;
        }
    }
    return value;
}

class page {
  public:
    page(std::string& to, std::span<const log_stats> logs) : to_(to), logs_(logs) {}

    void family(std::string_view name, std::string_view type, std::string_view help) {
        name_ = name;
        put("# HELP sapwood_log_{} {}\n# TYPE sapwood_log_{} {}\n", name, help, name, type);
    }

    template <class Value>
    void sample(std::string_view labels, Value value, std::string_view suffix = "") {
        put("sapwood_log_{}{}{{{}}} {}\n", name_, suffix, labels, value);
    }

    /// One number of each log.
    void of_logs(std::string_view name, std::string_view type, std::string_view help,
                 std::uint64_t log_stats::*value) {
        family(name, type, help);
        for (const log_stats& each : logs_) {
            sample(labels_of(each), each.*value);
        }
    }

    /// One number of each output.
    template <class Value>
    void of_outputs(std::string_view name, std::string_view type, std::string_view help,
                    Value&& value) {
        family(name, type, help);
        for_outputs([&](const std::string& labels, const log_output_stats& output) {
            sample(labels, value(output));
        });
    }

    template <class Visit>
    void for_outputs(Visit&& visit) const {
        for (const log_stats& log : logs_) {
            for (std::size_t i = 0; i < log.outputs.size(); ++i) {
                visit(fmt::format("{},output=\"{}\",sink=\"{}\"", labels_of(log), i,
                                  label_value(log.outputs[i].sink)),
                      log.outputs[i]);
            }
        }
    }

    void drops() {
        family("records_dropped_total", "counter", "Records that were dropped, by reason.");
        for (const log_stats& each : logs_) {
            const std::pair<std::string_view, std::uint64_t> reasons[] = {
                {"ring_full", each.dropped_ring_full},     {"made_room", each.dropped_made_room},
                {"below_level", each.dropped_below_level}, {"no_memory", each.dropped_no_memory},
                {"after_end", each.dropped_after_end},
            };
            for (const auto& [reason, count] : reasons) {
                sample(fmt::format("{},reason=\"{}\"", labels_of(each), reason), count);
            }
        }
    }

    void write_times() {
        using seconds = std::chrono::duration<double>;
        family("output_write_seconds", "histogram", "How long writes to the sink took.");
        for_outputs([&](const std::string& labels, const log_output_stats& output) {
            const log_write_times& times = output.write_times;
            std::uint64_t so_far = 0;
            for (std::size_t i = 0; i < times.bounds.size(); ++i) {
                so_far += times.counts[i];
                sample(fmt::format("{},le=\"{}\"", labels, seconds(times.bounds[i]).count()),
                       so_far, "_bucket");
            }
            sample(labels + ",le=\"+Inf\"", times.count(), "_bucket");
            sample(labels, seconds(times.sum).count(), "_sum");
            sample(labels, times.count(), "_count");
        });
        of_outputs(
            "output_write_seconds_max", "gauge", "The longest write to the sink.",
            [](const log_output_stats& one) { return seconds(one.write_times.max).count(); });
    }

  private:
    template <class... Args>
    void put(fmt::format_string<Args...> format, Args&&... args) {
        fmt::format_to(std::back_inserter(to_), format, std::forward<Args>(args)...);
    }

    static std::string labels_of(const log_stats& log) {
        return fmt::format("log=\"{}\"", label_value(log.name));
    }

    std::string& to_;
    std::span<const log_stats> logs_;
    std::string_view name_;
};

} // namespace

log_health log_stats::health() const {
    log_health all;
    for (const log_output_stats& each : outputs) {
        if (!each.health.is_degraded()) {
            continue;
        }
        if (!all.is_degraded()) {
            all.is = log_health::state::degraded;
            all.reason = each.health.reason;
        } else {
            all.text += "; ";
        }
        all.text += fmt::format("{}: {}", each.sink, each.health.text);
    }
    return all;
}

void write_metrics(std::string& to, std::span<const log_stats> logs) {
    page all(to, logs);
    all.of_logs("records_accepted_total", "counter", "Records that threads have logged.",
                &log_stats::accepted);
    all.drops();
    all.of_logs("records_in_rings", "gauge", "Records in the rings of their threads.",
                &log_stats::in_rings);
    all.of_logs("notes_total", "counter", "Lines of the log's own, for all outputs.",
                &log_stats::notes);
    all.of_logs("threads_seen_total", "counter", "Threads that have logged.",
                &log_stats::threads_seen);
    all.of_logs("threads", "gauge", "Threads that have logged and live.",
                &log_stats::threads_alive);
    all.of_logs("ring_bytes", "gauge", "Bytes of one thread's ring.", &log_stats::ring_bytes);
    all.of_logs("ring_bytes_used", "gauge", "Bytes in all rings.", &log_stats::ring_bytes_used);
    all.of_logs("ring_bytes_high", "gauge", "The most bytes seen in one ring.",
                &log_stats::ring_bytes_high);
    all.of_logs("flushes_total", "counter", "Flushes asked for.", &log_stats::flushes);
    all.of_logs("visits_total", "counter", "Looks of the consumer at the rings.",
                &log_stats::visits);
    all.of_logs("wake_ups_total", "counter", "Times the consumer was woken.", &log_stats::wake_ups);

    using output = const log_output_stats&;
    all.of_outputs("output_lines_total", "counter", "Lines written.",
                   [](output one) { return one.written; });
    all.of_outputs("output_notes_total", "counter", "Lines of the output's own.",
                   [](output one) { return one.notes; });
    all.of_outputs("output_bytes_total", "counter", "Bytes written.",
                   [](output one) { return one.bytes_written; });
    all.of_outputs("output_unwanted_total", "counter", "Records below the level, or filtered.",
                   [](output one) { return one.unwanted; });
    all.of_outputs("output_held_back_total", "counter", "Records held back by a limit.",
                   [](output one) { return one.held_back; });
    all.of_outputs("output_lost_total", "counter", "Records lost because the sink failed.",
                   [](output one) { return one.lost; });
    all.of_outputs("output_in_flight", "gauge", "Records taken and not written yet.",
                   [](output one) { return one.in_flight; });
    all.of_outputs("output_failures_total", "counter", "Writes that failed.",
                   [](output one) { return one.failures; });
    all.of_outputs("output_failing", "gauge", "1 where the sink fails or does not answer.",
                   [](output one) { return one.is_failing ? 1 : 0; });
    all.write_times();
}

void write_metrics(std::string& to, const log_stats& log) {
    write_metrics(to, std::span(&log, 1));
}

} // namespace sapwood
