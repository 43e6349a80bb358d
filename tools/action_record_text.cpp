#include "action_record_text.hpp"

#include <sapwood/escape.hpp>
#include <sapwood/log_record.hpp>

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <iterator>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

namespace sapwood::tools {

namespace {

constexpr std::string_view user_prefix = "fields.";

struct pair {
    std::string_view key;
    std::string_view value;
};

/// What a record says of its place, in the order in which it is put into JSON.
struct place_of_text {
    std::string_view message;
    std::vector<pair> fields;
    std::string_view task;
    std::string_view level;
    std::string_view status;
    std::string_view duration;
    std::string_view children;
    std::array<pair, 3> end{{{"exception", {}}, {"reason", {}}, {"source", {}}}};

    /// Whether it is one of these names.
    [[nodiscard]] bool take(const pair& each) {
        const std::pair<std::string_view, std::string_view*> names[] = {
            {"task_uuid", &task},
            {"task_level", &level},
            {"action_status", &status},
            {"action_duration", &duration},
            {"action_children", &children},
            {"action_exception", &end[0].value},
            {"action_reason", &end[1].value},
            {"action_source", &end[2].value}};
        const auto* const found = std::ranges::find(
            names, each.key, &std::pair<std::string_view, std::string_view*>::first);
        if (found == std::end(names)) {
            return false;
        }
        *found->second = each.value;
        return true;
    }
};

/// The next `key=value` at the begin of the text, which is taken away.
std::optional<pair> take_pair(std::string_view& text) noexcept {
    const std::size_t equals = text.find_first_of(" =\"");
    if (equals == 0 || equals == text.npos || text[equals] != '=') {
        return std::nullopt;
    }
    if (text.substr(equals + 1).starts_with('"')) {
        // A quote that is not closed, or not before a space, is a message's own.
        std::size_t quote = equals + 2;
        while (quote < text.size() && text[quote] != '"') {
            quote += text[quote] == '\\' ? 2 : 1;
        }
        if (quote >= text.size() || (quote + 1 < text.size() && text[quote + 1] != ' ')) {
            return std::nullopt;
        }
    }
    pair found;
    return take_logfmt(text, found.key, found.value) ? std::optional(found) : std::nullopt;
}

/// Calls `visit` with each pair and where it begins, and with none for a word that is no pair and
/// where that ends.
template <class Visit>
void for_each_pair(std::string_view text, Visit&& visit) {
    const std::size_t bytes = text.size();
    while (!text.empty()) {
        const std::size_t at = bytes - text.size();
        if (text.front() == ' ') {
            text.remove_prefix(1);
        } else if (const auto found = take_pair(text)) {
            visit(found, at);
        } else {
            text.remove_prefix(std::min(text.find(' '), text.size()));
            visit(std::nullopt, bytes - text.size());
        }
    }
}

/// The log writes a place last, behind whatever a message and its fields say: what stands in front
/// of the last `task_uuid` is those. The message is what stands before the last pairs of them.
void read_text(std::string_view text, place_of_text& to) {
    std::size_t place_at = text.npos;
    for_each_pair(text, [&](const std::optional<pair>& found, std::size_t at) {
        place_at = found && found->key == "task_uuid" ? at : place_at;
    });
    const std::string_view said = text.substr(0, place_at);
    std::size_t message_bytes = 0;
    for_each_pair(said, [&](const std::optional<pair>& found, std::size_t at) {
        if (found) {
            to.fields.push_back(*found);
        } else {
            message_bytes = at;
            to.fields.clear();
        }
    });
    to.message = said.substr(0, message_bytes);
    if (place_at == text.npos) {
        return;
    }
    // The log's own marks stand behind it.
    for_each_pair(text.substr(place_at), [&](const std::optional<pair>& found, std::size_t) {
        if (found && !to.take(*found)) {
            to.fields.push_back(*found);
        }
    });
    // Of a start that was cut: it is no part of the name, which the end has as well.
    if (!to.status.empty() && to.message.ends_with(log_record::cut_mark)) {
        to.message.remove_suffix(log_record::cut_mark.size());
    }
}

/// A text of JSON that says what `text`, which is escaped, was; false where JSON cannot, and it
/// stays escaped.
bool append_unescaped(std::string_view text, std::string& to) {
    std::string escaped;
    escaped.reserve(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
        // In quotes a quote is escaped as well.
        if (text[i] == '\\' && i + 1 < text.size()) {
            escaped += text[i + 1] == '"' ? "" : "\\";
            ++i;
        }
        escaped += text[i];
    }
    std::string meant;
    bool is_meant = true;
    try {
        meant = unescape(escaped);
    } catch (const std::invalid_argument&) {
        is_meant = false;
    }
    if (!is_meant || !is_utf8(meant)) {
        meant = std::move(escaped);
        is_meant = false;
    }
    to += '"';
    for (const char c : meant) {
        if (c == '"' || c == '\\') {
            to += '\\';
            to += c;
        } else if (static_cast<unsigned char>(c) < 0x20) {
            fmt::format_to(std::back_inserter(to), "\\u{:04x}", static_cast<unsigned char>(c));
        } else {
            to += c;
        }
    }
    to += '"';
    return is_meant;
}

/// A key of logfmt: what would end it is escaped, too.
std::string unescaped_key(std::string_view key) {
    std::string plain;
    while (!key.empty()) {
        const std::string_view four = key.substr(0, 4);
        const char meant = four == "\\x20"   ? ' '
                           : four == "\\x22" ? '"'
                           : four == "\\x3d" ? '='
                                             : '\0';
        const std::size_t taken = meant != '\0' ? 4 : four.starts_with("\\\\") ? 2 : 1;
        plain += meant != '\0' ? std::string_view(&meant, 1) : key.substr(0, taken);
        key.remove_prefix(std::min(taken, key.size()));
    }
    return plain;
}

void append_member(std::string_view key, std::string_view value, std::string& to) {
    std::string text;
    const bool is_meant = append_unescaped(value, text);
    std::string name;
    (void)append_unescaped(key, name);
    if (!is_meant) {
        name.insert(name.size() - 1, "_escaped");
    }
    to += name + ':' + text;
}

/// Whether JSON takes it as it is.
bool is_number(std::string_view text) noexcept {
    return !text.empty() && text.size() < 30 && text.front() != '.' && text.back() != '.' &&
           text.find_first_not_of("0123456789.") == text.npos;
}

void append_end(const place_of_text& place, std::string& to) {
    const bool is_cancelled = place.status == "cancelled";
    to += ",\"action_status\":";
    (void)append_unescaped(is_cancelled ? "failed" : place.status, to);
    to += is_cancelled ? ",\"outcome\":\"cancelled\"" : "";
    if (is_number(place.duration) && is_number(place.children)) {
        fmt::format_to(std::back_inserter(to), ",\"duration\":{},\"children\":{}", place.duration,
                       place.children);
    }
    for (const pair& each : place.end) {
        if (!each.value.empty()) {
            to += ',';
            append_member(each.key, each.value, to);
        }
    }
}

/// `/2/1` becomes `[2,1]`, and what is no such level something that is none either.
void append_level_of(std::string_view text, std::string& to) {
    const bool is_level =
        text.starts_with('/') && text.find_first_not_of("/0123456789") == text.npos;
    to += ",\"task_level\":[";
    for (std::size_t i = 1; is_level && i < text.size(); ++i) {
        to += text[i] == '/' ? ',' : text[i];
    }
    to += ']';
}

} // namespace

bool make_json_of(const log_line& line, line_parser& parser, std::string& to) {
    place_of_text place;
    if (line.is == log_line::form::logfmt) {
        place.message = parser.message().value;
        for (const line_field& each : parser.fields()) {
            if (!place.take({each.key, each.value})) {
                place.fields.push_back({each.key, each.value});
            }
        }
    } else if (line.is == log_line::form::text) {
        read_text(line.message, place);
    }
    if (place.task.empty() || place.level.empty()) {
        return false;
    }
    to = '{';
    append_member("task_uuid", place.task, to);
    append_level_of(place.level, to);
    if (line.time_ns) {
        const std::int64_t ns = *line.time_ns;
        fmt::format_to(std::back_inserter(to), ",\"time\":\"{}Z\",\"timestamp\":{}.{:06}",
                       time_text(ns, 9, 'T'), ns / nanoseconds_per_second,
                       ns % nanoseconds_per_second / 1000);
    }
    if (line.importance) {
        fmt::format_to(std::back_inserter(to), ",\"level\":\"{}\"", to_string(*line.importance));
    }
    if (!line.logger.empty()) {
        to += ',';
        append_member("logger", line.logger, to);
    }
    to += place.status.empty() ? ",\"message_type\":" : ",\"action_type\":";
    (void)append_unescaped(place.message, to);
    if (!place.status.empty()) {
        append_end(place, to);
    }
    to += ",\"fields\":{";
    for (std::size_t i = 0; i < place.fields.size(); ++i) {
        to += i == 0 ? "" : ",";
        std::string_view key = place.fields[i].key;
        key.remove_prefix(key.starts_with(user_prefix) ? user_prefix.size() : 0);
        append_member(unescaped_key(key), place.fields[i].value, to);
    }
    to += "}}";
    to.reserve(to.size() + line_padding);
    return true;
}

} // namespace sapwood::tools
