#include "serve_logs.hpp"

#include <collector/settings.hpp>

#include <charconv>
#include <filesystem>
#include <fmt/format.h>
#include <stdexcept>
#include <string_view>
#include <system_error>
#include <utility>

namespace sapwood::tools {

namespace {

using collector::named_log_options;

/// `NAME=VALUE`, or `VALUE`.
struct named_value {
    std::string_view name{};
    std::string_view value;
};

named_value split_name(std::string_view text) {
    const auto equals = text.find('=');
    if (equals != text.npos && collector::is_log_name(text.substr(0, equals))) {
        return {text.substr(0, equals), text.substr(equals + 1)};
    }
    return {{}, text};
}

/// A path without a name has the file's, without its extension.
named_log_options log_at(std::string_view text) {
    const auto [name, path] = split_name(text);
    named_log_options log;
    log.name = name.empty() ? std::filesystem::path(path).stem().string() : std::string(name);
    log.path = path;
    return log;
}

template <class Number>
Number parse_number(std::string_view text, std::string_view option) {
    Number number{};
    const char* const end = text.data() + text.size();
    const auto read = std::from_chars(text.data(), end, number);
    if (text.empty() || read.ec != std::errc() || read.ptr != end) {
        throw std::invalid_argument(fmt::format("{} is a number, not {}", option, text));
    }
    return number;
}

struct log_option {
    const char* flag;
    const char* help;
    void (*set)(named_log_options& of, std::string_view value, std::string_view flag);
};

template <auto Member>
void set_size(named_log_options& of, std::string_view value, std::string_view flag) {
    of.*Member = parse_number<std::uint64_t>(value, flag);
}

constexpr std::array<log_option, serve_logs::option_count> log_options{{
    {"--format", "text (as it is where nothing is said), json or logfmt",
     [](named_log_options& of, std::string_view value, std::string_view flag) {
         const auto form = collector::parse_log_form(value);
         if (!form) {
             throw std::invalid_argument(
                 fmt::format("{} is text, json or logfmt, not {}", flag, value));
         }
         of.form = *form;
     }},
    {"--durability",
     "When a log is synced: batch (before each 200, as it is where nothing is "
     "said), none, or every so many seconds",
     [](named_log_options& of, std::string_view value, std::string_view flag) {
         of.durable = collector::parse_durability(value, flag);
     }},
    {"--ack", "What 200 means: durable, written or accepted",
     [](named_log_options& of, std::string_view value, std::string_view flag) {
         of.ack = collector::parse_ack_level(value);
         if (!of.ack) {
             throw std::invalid_argument(
                 fmt::format("{} is durable, written or accepted, not {}", flag, value));
         }
     }},
    {"--queue-records", "Records of a log that wait in memory at most",
     &set_size<&named_log_options::queue_records>},
    {"--queue-bytes", "Their bytes at most", &set_size<&named_log_options::queue_bytes>},
    {"--segment-bytes", "A file that is as long as this is set aside, as LOG.NUMBER",
     &set_size<&named_log_options::segment_bytes_max>},
    {"--preallocate-bytes",
     "Of a text log that is synced: space is made so far ahead of its end, and a sync of few "
     "records takes half as long",
     &set_size<&named_log_options::preallocated_bytes>},
    {"--keep-segments", "Of those, so many are kept",
     [](named_log_options& of, std::string_view value, std::string_view flag) {
         of.keep.files = parse_number<std::size_t>(value, flag);
     }},
    {"--keep-days", "... for so long",
     [](named_log_options& of, std::string_view value, std::string_view flag) {
         of.keep.age = collector::age_of_days(parse_number<double>(value, flag), flag);
     }},
    {"--keep-bytes", "... as long as all of them are no more",
     [](named_log_options& of, std::string_view value, std::string_view flag) {
         of.keep.bytes = parse_number<std::uint64_t>(value, flag);
     }},
}};

} // namespace

void serve_logs::add_options(CLI::App& to) {
    to.add_option("--log", paths_, "PATH, or NAME=PATH; the first one is the default")
        ->type_name("[NAME=]PATH");
    for (std::size_t i = 0; i < option_count; ++i) {
        to.add_option(log_options[i].flag, values_[i], log_options[i].help)
            ->type_name("[NAME=]VALUE");
    }
}

std::vector<named_log_options> serve_logs::chosen() const {
    std::vector<named_log_options> logs;
    logs.reserve(paths_.size());
    for (const std::string& each : paths_) {
        logs.push_back(log_at(each));
    }
    // What is said of one log counts, wherever it stands.
    for (const bool is_for_one : {false, true}) {
        for (std::size_t i = 0; i < option_count; ++i) {
            for (const std::string& each : values_[i]) {
                const auto [name, value] = split_name(each);
                bool is_known = !is_for_one || name.empty();
                for (named_log_options& log : logs) {
                    if (name.empty() != is_for_one && (name.empty() || log.name == name)) {
                        log_options[i].set(log, value, log_options[i].flag);
                        is_known = true;
                    }
                }
                if (!is_known) {
                    throw std::invalid_argument(fmt::format("{} {}: there is no --log of that name",
                                                            log_options[i].flag, each));
                }
            }
        }
    }
    return logs;
}

} // namespace sapwood::tools
