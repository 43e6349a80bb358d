#include <sapwood/json_layout.hpp>

#include "utf8.hpp"

#include <sapwood/log_escape.hpp>

#include <algorithm>
#include <cstdint>
#include <fmt/format.h>
#include <iterator>
#include <string>

namespace sapwood {

namespace {

/// The inside of a JSON string. `text` must be UTF-8.
void append_json_text(std::string_view text, log_buffer& to) {
    const auto put = [&to](std::uint32_t unit) {
        fmt::format_to(std::back_inserter(to), "\\u{:04x}", unit);
    };
    while (!text.empty()) {
        const auto [code, size] = detail::decode_utf8(text);
        if (code == '"' || code == '\\') {
            to.push_back('\\');
            to.push_back(text.front());
        } else if (!detail::is_dangerous(code)) {
            to.append(text.substr(0, size));
        } else if (code < 0x10000) {
            put(code);
        } else { // two halves, as UTF-16 has it
            put(0xd800 + ((code - 0x10000) >> 10));
            put(0xdc00 + ((code - 0x10000) & 0x3ff));
        }
        text.remove_prefix(size);
    }
}

void append_json_string(std::string_view text, log_buffer& to) {
    to.push_back('"');
    if (is_plain(text) && text.find('"') == std::string_view::npos) {
        to.append(text);
    } else {
        append_json_text(text, to);
    }
    to.push_back('"');
}

constexpr std::string_view escaped_suffix = "_escaped";

/// `"name":"text"`. What is not UTF-8, and what has a name that says so, is escaped.
void append_json_member(std::string_view name, std::string_view text, log_buffer& to) {
    if (!name.ends_with(escaped_suffix) && (is_plain(text) || is_utf8(text))) {
        append_json_string(name, to);
        to.push_back(':');
        append_json_string(text, to);
        return;
    }
    std::string escaped;
    escape(text, escaped);
    append_json_string(std::string(name).append(escaped_suffix), to);
    to.push_back(':');
    append_json_string(escaped, to);
}

/// Whether JSON has a number for it: not for infinity and NaN. Nothing but a number passes.
bool is_json_number(std::string_view text) noexcept {
    return !text.empty() && text.back() >= '0' && text.back() <= '9' &&
           text.find_first_not_of("0123456789+-.e") == std::string_view::npos;
}

void append_json_field(const detail::log_field_view& field, log_buffer& to) {
    using detail::log_field_kind;
    const bool is_bare = (field.kind == log_field_kind::number && is_json_number(field.value)) ||
                         (field.kind == log_field_kind::boolean &&
                          (field.value == "true" || field.value == "false"));
    std::string key;
    escape(field.key, key);
    if (is_bare) {
        append_json_string(key, to);
        to.push_back(':');
        to.append(field.value);
    } else {
        append_json_member(key, field.value, to);
    }
}

constexpr std::string_view context_names[] = {"location", "function", "task"};

/// Calls `visit` with the name and the text of what the record says of itself.
template <class Visit>
void for_each_context(const log_record& record, Visit&& visit) {
    using detail::log_field_kind;
    detail::for_each_field(record.fields, [&](const detail::log_field_view& field) {
        if (field.kind > log_field_kind::boolean && field.kind <= log_field_kind::task) {
            visit(context_names[static_cast<int>(field.kind) -
                                static_cast<int>(log_field_kind::location)],
                  field.value);
        }
    });
}

/// Names that a line of logfmt has itself; and what is put before a user's that is one of them.
constexpr std::string_view logfmt_names[] = {"time",     "level", "thread", "logger",  "location",
                                             "function", "task",  "cut",    "message", "own"};
constexpr std::string_view logfmt_prefix = "fields.";

void append_logfmt_user_fields(const log_record& record, log_buffer& to) {
    detail::for_each_field(record.fields, [&](const detail::log_field_view& field) {
        if (field.kind > detail::log_field_kind::boolean) {
            return;
        }
        to.push_back(' ');
        if (field.key.starts_with(logfmt_prefix) ||
            std::ranges::find(logfmt_names, field.key) != std::end(logfmt_names)) {
            to.append(logfmt_prefix);
        }
        detail::append_logfmt_key(field.key, to);
        to.push_back('=');
        detail::append_logfmt_value(field.value, to);
    });
}

} // namespace

json_layout::json_layout(log_time_zone zone)
    : time_({.pattern = zone == log_time_zone::utc ? "{\"time\":\"%Y-%m-%dT%H:%M:%S.%FZ\""
                                                   : "{\"time\":\"%Y-%m-%dT%H:%M:%S.%F%z\"",
             .zone = zone}) {}

void json_layout::append(const log_record& record, log_buffer& to) {
    using detail::log_field_kind;
    time_.append(record, to);
    to.cut(to.size() - 1); // its newline
    fmt::format_to(std::back_inserter(to), ",\"level\":\"{}\",\"thread\":{}",
                   to_string(record.importance), record.thread.id);
    if (!record.logger.empty()) {
        to.push_back(',');
        append_json_member("logger", record.logger, to);
    }
    to.push_back(',');
    append_json_member("message", record.message, to);
    if (record.is_truncated) {
        to.append(",\"cut\":true");
    }
    if (record.is_own()) {
        to.append(",\"own\":true");
    }
    for_each_context(record, [&](std::string_view name, std::string_view text) {
        to.push_back(',');
        append_json_member(name, text, to);
    });
    bool has_fields = false;
    detail::for_each_field(record.fields, [&](const detail::log_field_view& field) {
        if (field.kind <= log_field_kind::boolean) {
            to.append(has_fields ? "," : ",\"fields\":{");
            has_fields = true;
            append_json_field(field, to);
        }
    });
    to.append(has_fields ? "}}\n" : "}\n");
}

logfmt_layout::logfmt_layout(log_time_zone zone)
    : time_({.pattern = zone == log_time_zone::utc
                            ? "time=%Y-%m-%dT%H:%M:%S.%FZ level=%l thread=%t"
                            : "time=%Y-%m-%dT%H:%M:%S.%F%z level=%l thread=%t",
             .zone = zone}) {}

void logfmt_layout::append(const log_record& record, log_buffer& to) {
    time_.append(record, to);
    to.cut(to.size() - 1); // its newline
    if (!record.logger.empty()) {
        to.append(" logger=");
        detail::append_logfmt_value(record.logger, to);
    }
    for_each_context(record, [&](std::string_view name, std::string_view text) {
        to.push_back(' ');
        to.append(name);
        to.push_back('=');
        detail::append_logfmt_value(text, to);
    });
    if (record.is_truncated) {
        to.append(" cut=true");
    }
    if (record.is_own()) {
        to.append(" own=true");
    }
    to.append(" message=");
    detail::append_logfmt_value(record.message, to);
    append_logfmt_user_fields(record, to);
    to.push_back('\n');
}

} // namespace sapwood
