#include "stats.hpp"

#include "complaint.hpp"
#include "line_printer.hpp"
#include "log_count.hpp"
#include "number_of.hpp"

#include <sapwood/log_verifier.hpp>

#include <algorithm>
#include <fmt/format.h>
#include <iterator>
#include <system_error>
#include <utility>
#include <vector>

namespace sapwood::tools {

namespace {

constexpr std::size_t names_listed = 20;
constexpr std::size_t rows_max = 60;
constexpr std::size_t histogram_width = 40;

/// What `sapwood verify` would say; not looked at where it could not read all.
struct gap_count {
    bool is_known = false;
    /// Why not, where there are numbers.
    std::string_view why_unknown{};
    std::uint64_t missing = 0;
    std::uint64_t missing_told = 0;
    std::uint64_t damaged = 0;
};

using named_count = std::pair<std::string, std::uint64_t>;

/// The most frequent first.
std::vector<named_count> ordered(const name_count& names) {
    std::vector<named_count> all(names.all().begin(), names.all().end());
    std::ranges::sort(all, [](const named_count& one, const named_count& other) {
        return one.second != other.second ? one.second > other.second : one.first < other.first;
    });
    return all;
}

gap_count gaps_of(const std::vector<log_file>& files, const log_count& count) {
    gap_count gaps;
    std::vector<std::string> paths;
    for (const log_file& each : files) {
        if (each.path == standard_input) {
            gaps.why_unknown = "'sapwood verify -' looks for them in what comes through a pipe";
            return gaps;
        }
        if (each.is_compressed) {
            gaps.why_unknown = "'sapwood verify' reads nothing that is compressed";
            return gaps;
        }
        paths.push_back(each.path);
    }
    gaps.is_known = count.numbered > 0;
    if (gaps.is_known) {
        const verified_log verified = log_verifier().verify(paths);
        gaps.missing = verified.missing_records_untold;
        gaps.missing_told = verified.missing_records_told;
        gaps.damaged = verified.damaged_pieces;
    }
    return gaps;
}

double seconds_of(const log_count& count) {
    return count.first_ns && count.last_ns
               ? static_cast<double>(*count.last_ns - *count.first_ns) / 1e9
               : 0;
}

double share(std::uint64_t part, std::uint64_t all) {
    return all == 0 ? 0 : 100 * static_cast<double>(part) / static_cast<double>(all);
}

std::string step_name(std::int64_t seconds) {
    return seconds % 86'400 == 0 ? fmt::format("{} d", seconds / 86'400)
           : seconds % 3600 == 0 ? fmt::format("{} h", seconds / 3600)
           : seconds % 60 == 0   ? fmt::format("{} min", seconds / 60)
                                 : fmt::format("{} s", seconds);
}

class text_report {
  public:
    text_report(log_buffer& to, bool lists_all) : to_(to), lists_all_(lists_all) {}

    void print(const std::string& log, const log_count& count, const gap_count& gaps) {
        append_shown(log, to_);
        put(": {} in {} bytes, {}\n", number_of(count.records, "record"), count.bytes,
            number_of(count.files, "file"));
        if (count.first_ns && count.last_ns) {
            const double seconds = seconds_of(count);
            put("from {} to {}, {:.3f} s{}\n", time_text(*count.first_ns),
                time_text(*count.last_ns), seconds,
                seconds > 0 ? fmt::format(", {:.1f} records/s",
                                          static_cast<double>(count.records) / seconds)
                            : "");
        }
        print_others(count, gaps);
        put("{}", count.records == 0 ? "" : "by level:\n");
        for (std::size_t i = count.by_level.size(); i-- > 0;) {
            print_count(to_string(static_cast<level>(i)), count.by_level[i], count.records);
        }
        print_count("no level", count.without_level, count.records);
        print_names("thread", count.threads, count.records);
        print_names("logger", count.loggers, count.records);
        print_names("sender", count.senders, count.records);
        print_names("tag", count.tags, count.records);
        print_times(count.times);
    }

  private:
    template <class... Args>
    void put(fmt::format_string<Args...> format, Args&&... args) {
        fmt::format_to(std::back_inserter(to_), format, std::forward<Args>(args)...);
    }

    void print_others(const log_count& count, const gap_count& gaps) {
        if (count.others != 0) {
            put("{}\n", count.others == 1 ? "1 line is no record"
                                          : number_of(count.others, "line") + " are no records");
        }
        if (count.repeated != 0) {
            put("{}\n", count.repeated == 1
                            ? "1 line is a repetition"
                            : number_of(count.repeated, "line") + " are repetitions");
        }
        if (gaps.is_known) {
            put("{} {} missing{}, {} {} damaged\n", number_of(gaps.missing, "record"),
                is_or_are(gaps.missing),
                gaps.missing_told == 0
                    ? ""
                    : fmt::format(", and {} that the log has told of", gaps.missing_told),
                number_of(gaps.damaged, "piece"), is_or_are(gaps.damaged));
        } else if (count.numbered != 0) {
            put("gaps are not looked for: {}\n", gaps.why_unknown);
        }
    }

    void print_count(std::string_view name, std::uint64_t count, std::uint64_t all) {
        if (count != 0) {
            put("  {:>12} {:5.1f}%  ", count, share(count, all));
            append_shown(name, to_);
            put("\n");
        }
    }

    void print_names(std::string_view kind, const name_count& names, std::uint64_t all) {
        const std::vector<named_count> each = ordered(names);
        if (each.empty()) {
            return;
        }
        put("by {}:\n", kind);
        const std::size_t listed = lists_all_ ? each.size() : std::min(each.size(), names_listed);
        for (std::size_t i = 0; i < listed; ++i) {
            print_count(each[i].first, each[i].second, all);
        }
        if (listed < each.size()) {
            put("  and {} more; --all lists them\n", each.size() - listed);
        }
        if (names.others() != 0) {
            put("  {:>12} records of names that came when there were too many\n", names.others());
        }
    }

    void print_times(const time_count& times) {
        const std::int64_t step = times.fitting_step(rows_max);
        const auto rows = times.by(step);
        if (rows.empty()) {
            return;
        }
        std::uint64_t highest = 1;
        for (const auto& [begin, count] : rows) {
            highest = std::max(highest, count);
        }
        put("by time, {} each:\n", step_name(step));
        const std::int64_t last = rows.rbegin()->first;
        for (std::int64_t begin = rows.begin()->first; begin <= last; begin += step) {
            const auto at = rows.find(begin);
            const std::uint64_t count = at == rows.end() ? 0 : at->second;
            put("  {} {:>10} {:#<{}}\n", time_text(begin * nanoseconds_per_second, 0), count, "",
                (count * histogram_width + highest - 1) / highest);
        }
    }

    log_buffer& to_;
    bool lists_all_;
};

class json_report {
  public:
    explicit json_report(log_buffer& to) : to_(to) {}

    void print(const std::string& log, const log_count& count, const gap_count& gaps) {
        put("{{\"log\":");
        append_json_text(log, to_);
        put(",\"files\":{},\"bytes\":{},\"records\":{},\"other_lines\":{},\"repeated_lines\":{}",
            count.files, count.bytes, count.records, count.others, count.repeated);
        if (count.first_ns && count.last_ns) {
            const double seconds = seconds_of(count);
            put(",\"first\":\"{}Z\",\"last\":\"{}Z\",\"seconds\":{:.9f}",
                time_text(*count.first_ns, 9, 'T'), time_text(*count.last_ns, 9, 'T'), seconds);
            if (seconds > 0) {
                put(",\"records_per_second\":{:.3f}", static_cast<double>(count.records) / seconds);
            }
        }
        if (gaps.is_known) {
            put(",\"missing\":{},\"missing_told\":{},\"damaged\":{}", gaps.missing,
                gaps.missing_told, gaps.damaged);
        }
        put(",\"levels\":{{");
        for (std::size_t i = 0; i < count.by_level.size(); ++i) {
            put("\"{}\":{},", to_string(static_cast<level>(i)), count.by_level[i]);
        }
        put("\"none\":{}}}", count.without_level);
        print_names("threads", count.threads);
        print_names("loggers", count.loggers);
        print_names("senders", count.senders);
        print_names("tags", count.tags);
        const std::int64_t step = count.times.fitting_step(rows_max);
        put(",\"step_seconds\":{},\"times\":[", step);
        bool is_first = true;
        for (const auto& [begin, records] : count.times.by(step)) {
            put("{}{{\"from\":\"{}Z\",\"records\":{}}}", std::exchange(is_first, false) ? "" : ",",
                time_text(begin * nanoseconds_per_second, 0, 'T'), records);
        }
        put("]}}\n");
    }

  private:
    template <class... Args>
    void put(fmt::format_string<Args...> format, Args&&... args) {
        fmt::format_to(std::back_inserter(to_), format, std::forward<Args>(args)...);
    }

    void print_names(std::string_view kind, const name_count& names) {
        put(",\"{}\":{{", kind);
        bool is_first = true;
        for (const auto& [name, count] : ordered(names)) {
            put("{}", std::exchange(is_first, false) ? "" : ",");
            append_json_text(name, to_);
            put(":{}", count);
        }
        put("}}");
    }

    log_buffer& to_;
};

} // namespace

stats_command::stats_command(CLI::App& program)
    : command_(program.add_subcommand("stats", "Count what is in logs")) {
    command_
        ->add_option("LOG", logs_,
                     "The logs; segments that were set aside belong to them. - is standard input")
        ->required();
    command_->add_flag("--json", json_, "Print an object of JSON for each log");
    command_->add_flag("--all", lists_all_, "List every thread, logger, sender and tag");
    command_->add_flag("--one-file", has_one_file_, "Leave out segments that were set aside");
    command_->footer("Times are UTC. Exit code: 0, or 2 where a log cannot be read.");
}

int stats_command::run() const {
    tool_output output;
    for (const std::string& log : logs_) {
        std::vector<std::string> left_out;
        const bool is_alone = log == standard_input || has_one_file_;
        const std::vector<log_file> files =
            is_alone ? std::vector<log_file>{{.path = log}} : files_of(log, &left_out);
        log_count count;
        for (const log_file& each : files) {
            count.add(each);
        }
        for (const std::string& each : left_out) {
            complain_as("stats", each + " is left out: sapwood decompresses .zst only");
        }
        if (count.has_met_unreadable()) {
            fmt::print(stderr, "sapwood stats: {}\n", line_parser::why_unreadable);
        }
        const gap_count gaps = gaps_of(files, count);
        if (json_) {
            json_report(output.buffer()).print(log, count, gaps);
        } else {
            text_report(output.buffer(), lists_all_).print(log, count, gaps);
        }
        output.flush();
    }
    return 0;
}

} // namespace sapwood::tools
