#include "line_form.hpp"

#include "json_decoder.hpp"

#include <sapwood/escape.hpp>
#include <sapwood/wall_clock.hpp>

#include <algorithm>
#include <chrono>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <iterator>
#include <simdjson.h>

namespace sapwood::collector {

namespace {

constexpr std::string_view prefix = "fields.";
/// What the collector says of a record, each of the notes that a source may have, and what others
/// read as the time of the line: what a sender says under these names stands apart.
constexpr std::string_view head_names[] = {"time",     "ts",   "level",      "from",    "message",
                                           "facility", "host", "app",        "process", "kind",
                                           "data",     "sent", "message_id", "cut"};

void append_logfmt_name(std::string_view name, std::string& to) {
    if (name.starts_with(prefix) || std::ranges::find(head_names, name) != std::end(head_names)) {
        to += prefix;
    }
    if (name.empty()) {
        to += '_';
    }
    std::string escaped;
    escape(name, escaped);
    for (const char c : escaped) {
        if (c == ' ' || c == '"' || c == '=') {
            fmt::format_to(std::back_inserter(to), "\\x{:02x}", static_cast<unsigned char>(c));
        } else {
            to += c;
        }
    }
}

void append_members_of(std::string_view json, simdjson::dom::parser& parser, std::string& to) {
    simdjson::dom::object members;
    if (parser.parse(json.data(), json.size(), true).get(members) != simdjson::SUCCESS) {
        append_logfmt_text(json, to); // it was looked at before
        return;
    }
    bool is_first = true;
    for (const auto [key, value] : members) {
        if (!std::exchange(is_first, false)) {
            to += ' ';
        }
        append_logfmt_name(key, to);
        to += '=';
        std::string_view text;
        if (value.get(text) == simdjson::SUCCESS) {
            append_logfmt_text(text, to);
        } else {
            append_logfmt_text(simdjson::minify(value), to);
        }
    }
}

} // namespace

void append_time(std::string& to) {
    using namespace std::chrono;
    // Of the last second that was asked for, up to the point.
    thread_local sys_seconds known{};
    thread_local std::string text;
    const auto now = wall_clock::now();
    const auto second = floor<seconds>(now);
    if (second != known || text.empty()) {
        text = fmt::format("{:%Y-%m-%dT%H:%M:%S}.", fmt::gmtime(system_clock::to_time_t(second)));
        known = second;
    }
    to += text;
    auto fraction = static_cast<std::uint32_t>((now - second).count());
    char digits[10] = {'0', '0', '0', '0', '0', '0', '0', '0', '0', 'Z'};
    for (std::size_t i = 9; i-- > 0; fraction /= 10) {
        digits[i] = static_cast<char>('0' + fraction % 10);
    }
    to.append(digits, sizeof(digits));
}

void append_text_head(const source& from, std::span<const note> notes, std::string& to) {
    to += '[';
    to += from.name;
    for (const note& each : notes) {
        to += ' ';
        append_text_note(each, to);
    }
    to += "] ";
}

void append_text_note(const note& of, std::string& to) {
    to += of.name;
    to += '=';
    const std::size_t begin = to.size();
    append_logfmt_text(of.value, to);
    // From the end on, each byte moved once: a stranger may send nothing but brackets.
    constexpr std::string_view escaped = "\\x5d";
    const auto brackets = std::ranges::count(std::string_view(to).substr(begin), ']');
    std::size_t from = to.size();
    to.resize(from + static_cast<std::size_t>(brackets) * (escaped.size() - 1));
    for (std::size_t into = to.size(); into != from;) {
        const char c = to[--from];
        if (c == ']') {
            into -= escaped.size();
            escaped.copy(to.data() + into, escaped.size());
        } else {
            to[--into] = c;
        }
    }
}

void append_json_head(const source& from, level importance, std::span<const note> notes,
                      std::string& to) {
    to += "{\"time\":\"";
    append_time(to);
    to += "\",\"level\":\"";
    to += to_string(importance);
    to += "\",\"from\":\"";
    to += from.name;
    to += "\",";
    for (const note& each : notes) {
        append_json_member(each.name, each.value, to);
        to += ',';
    }
}

void append_logfmt_head(const source& from, level importance, std::span<const note> notes,
                        std::string& to) {
    to += "time=";
    append_time(to);
    to += " level=";
    to += to_string(importance);
    to += " from=";
    append_logfmt_text(from.name, to);
    to += ' ';
    for (const note& each : notes) {
        to += each.name;
        to += '=';
        append_logfmt_text(each.value, to);
        to += ' ';
    }
}

void append_logfmt_members(std::string_view json, std::string& to) {
    /// More memory than for a record of so many bytes, some ten times that, is given back.
    constexpr std::size_t usual_record_bytes = 64u << 10;
    thread_local simdjson::dom::parser parser;
    append_members_of(json, parser, to);
    if (parser.capacity() > usual_record_bytes) {
        parser = simdjson::dom::parser();
    }
}

void append_logfmt_text(std::string_view text, std::string& to) {
    std::string escaped;
    escape(text, escaped);
    if (!escaped.empty() && escaped.find_first_of(" \"=") == escaped.npos) {
        to += escaped;
        return;
    }
    to += '"';
    for (const char c : escaped) {
        if (c == '"') {
            to += '\\';
        }
        to += c;
    }
    to += '"';
}

} // namespace sapwood::collector
