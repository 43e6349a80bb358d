#include "line_filter.hpp"

#include <sapwood/escape.hpp>

#include <chrono>
#include <fmt/format.h>
#include <stdexcept>

namespace sapwood::tools {

namespace {

/// Whether the value in the line, escaped or not, is what the user asks for.
bool is_same(std::string_view found, std::string_view wanted) {
    if (found == wanted) {
        return true;
    }
    if (found.find('\\') == found.npos) {
        return false;
    }
    std::string text;
    try {
        return unescape(without_quotes(found, text)) == wanted;
    } catch (const std::invalid_argument&) {
        return false; // others may escape otherwise
    }
}

} // namespace

line_filter::line_filter(const filter_options& options, std::int64_t now) {
    if (!options.level.empty()) {
        at_least_ = parse_level(options.level);
        if (!at_least_) {
            throw std::invalid_argument(
                fmt::format("--level is trace, debug, info, warning, error or critical, not '{}'",
                            options.level));
        }
    }
    for (const std::string& each : options.where) {
        const std::size_t equals = each.find('=');
        const bool is_not = equals != each.npos && equals > 0 && each[equals - 1] == '!';
        const std::string key = each.substr(0, equals - (is_not ? 1 : 0));
        if (equals == each.npos || key.empty()) {
            throw std::invalid_argument(
                fmt::format("--where is key=value or key!=value, not '{}'", each));
        }
        where_.push_back({key, each.substr(equals + 1), is_not});
    }
    const auto when = [now](const char* option, const std::string& text) {
        try {
            return parse_when(text, now);
        } catch (const std::invalid_argument& error) {
            throw std::invalid_argument(fmt::format("{}: {}", option, error.what()));
        }
    };
    if (!options.since.empty()) {
        since_ = when("--since", options.since);
    }
    if (!options.until.empty()) {
        until_ = when("--until", options.until);
    }
}

bool line_filter::is_empty() const noexcept {
    return !at_least_ && where_.empty() && !since_ && !until_;
}

bool line_filter::wants(const log_line& line, line_parser& parser) const {
    if (at_least_ && (!line.importance || *line.importance < *at_least_)) {
        return false;
    }
    if (since_ && (!line.time_ns || *line.time_ns < *since_)) {
        return false;
    }
    if (until_ && (!line.time_ns || *line.time_ns >= *until_)) {
        return false;
    }
    if (!where_.empty() && line.is == log_line::form::none) {
        return false; // or each of these would be one without the field
    }
    for (const wanted_field& each : where_) {
        const auto found = parser.field(each.key);
        if ((found && is_same(*found, each.value)) == each.is_not) {
            return false;
        }
    }
    return true;
}

std::int64_t now_ns() {
    using namespace std::chrono;
    return duration_cast<nanoseconds>(system_clock::now().time_since_epoch()).count();
}

} // namespace sapwood::tools
