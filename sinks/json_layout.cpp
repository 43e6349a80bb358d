#include <sapwood/json_layout.hpp>

#include "utf8.hpp"

#include <sapwood/decimal.hpp>
#include <sapwood/log_action_view.hpp>
#include <sapwood/log_escape.hpp>

#include <algorithm>
#include <cstdint>
#include <cstring>
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

/// Whether it stands in a JSON string as it is.
bool is_json_plain(std::string_view text) noexcept {
    return is_plain(text) &&
           (text.empty() || std::memchr(text.data(), '"', text.size()) == nullptr);
}

void append_json_string(std::string_view text, log_buffer& to) {
    if (is_json_plain(text)) [[likely]] {
        char* at = to.room(text.size() + 2);
        *at++ = '"';
        at = detail::put_text(at, text);
        *at++ = '"';
        to.take(at);
        return;
    }
    to.push_back('"');
    append_json_text(text, to);
    to.push_back('"');
}

constexpr std::string_view escaped_suffix = "_escaped";

/// `"name":"text"`. What is not UTF-8, and what has a name that says so, is escaped.
void append_json_member(std::string_view name, std::string_view text, log_buffer& to) {
    if (!name.ends_with(escaped_suffix) && is_json_plain(text) && is_json_plain(name)) [[likely]] {
        char* at = to.room(name.size() + text.size() + 5);
        *at++ = '"';
        at = detail::put_text(at, name);
        std::memcpy(at, "\":\"", 3);
        at = detail::put_text(at + 3, text);
        *at++ = '"';
        to.take(at);
        return;
    }
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
    std::string escaped;
    std::string_view key = field.key;
    if (!is_plain(key)) [[unlikely]] {
        escape(key, escaped);
        key = escaped;
    }
    if (is_bare) {
        append_json_string(key, to);
        char* at = to.room(field.value.size() + 1);
        *at++ = ':';
        to.take(detail::put_text(at, field.value));
    } else {
        append_json_member(key, field.value, to);
    }
}

/// A string under this name, whatever it holds: what is not UTF-8 is as escape() has it.
void append_json_own(std::string_view member, std::string_view text, log_buffer& to) {
    to.append(member);
    if (is_json_plain(text) || is_utf8(text)) {
        append_json_string(text, to);
        return;
    }
    std::string escaped;
    escape(text, escaped);
    append_json_string(escaped, to);
}

/// Nine digits, of less than 10^9.
char* put_nine_digits(std::uint32_t value, char* to) noexcept {
    *to = static_cast<char>('0' + value / 100'000'000);
    const std::uint64_t digits =
        detail::eight_digits(value % 100'000'000) | detail::eight_ascii_zeros;
    std::memcpy(to + 1, &digits, 8);
    return to + 9;
}

/// Of an action's last record.
void append_end(const detail::log_action_view& action, log_buffer& to) {
    to.append(",\"action_status\":\"");
    to.append(action.is_cancelled() ? "failed" : action.status); // eliot knows no other
    to.append(action.is_cancelled() ? "\",\"outcome\":\"cancelled\",\"duration\":"
                                    : "\",\"duration\":");
    char* at = to.room(64);
    to.take(at + detail::put_seconds(action.duration_ns, at).size());
    to.append(",\"children\":");
    at = to.room(16);
    to.take(detail::put_decimal(at, action.children));
    if (!action.exception.empty()) {
        append_json_own(",\"exception\":", action.exception, to);
        append_json_own(",\"reason\":", action.reason, to);
        append_json_own(",\"source\":", action.source, to);
    }
}

/// As eliot's records have it: the task, the level, the time in seconds, and what it is.
void append_action(const detail::log_action_view& action, const log_record& record,
                   log_buffer& to) {
    constexpr std::string_view before_uuid = ",\"task_uuid\":\"";
    constexpr std::string_view before_level = "\",\"task_level\":[";
    constexpr std::string_view before_time = "],\"timestamp\":";
    char* at = to.room(action.uuid.size() + action.level.size() + 96);
    at += before_uuid.copy(at, before_uuid.size());
    at += action.uuid.copy(at, action.uuid.size());
    at += before_level.copy(at, before_level.size());
    at = detail::put_text(at, action.level);
    at += before_time.copy(at, before_time.size());
    const auto ns = static_cast<std::uint64_t>(
        std::max<std::int64_t>(record.when.time_since_epoch().count(), 0));
    at = detail::put_decimal(at, ns / 1'000'000'000);
    *at++ = '.';
    at = put_nine_digits(static_cast<std::uint32_t>(ns % 1'000'000'000), at) - 3;
    to.take(at);
    if (action.status.empty()) {
        append_json_own(",\"message_type\":", record.message, to);
        return;
    }
    append_json_own(",\"action_type\":", record.message, to);
    if (action.has_ended()) {
        append_end(action, to);
    } else {
        to.append(",\"action_status\":\"started\"");
    }
}

constexpr std::size_t json_sources = 64;

} // namespace

json_layout::json_layout(log_time_zone zone)
    : time_({.pattern = zone == log_time_zone::utc ? "{\"time\":\"%Y-%m-%dT%H:%M:%S.%FZ\""
                                                   : "{\"time\":\"%Y-%m-%dT%H:%M:%S.%F%z\"",
             .zone = zone}),
      sources_(json_sources) {}

void json_layout::become_childs() {
    time_.become_childs();
    std::ranges::fill(sources_, source());
    second_ = -1;
}

/// All lines of a second begin alike, up to the point, and go on alike behind the digits.
void json_layout::begin_second(const log_record& record, std::int64_t second) {
    log_buffer text(64);
    time_.append(record, text);
    const std::string_view line = text.text();
    const std::size_t digits = line.find('.') + 1;
    before_digits_.assign(line.substr(0, digits));
    after_digits_.assign(line.substr(digits + 9, line.size() - digits - 10)); // its newline
    second_ = second;
}

/// What stands between the time and the message.
void json_layout::append_source(const log_record& record, log_buffer& to) {
    const std::uint64_t key = std::uint64_t{record.thread.ordinal} << 32 |
                              std::uint64_t{record.logger_id} << 8 |
                              static_cast<std::uint64_t>(record.importance);
    source& kept = sources_[(record.thread.ordinal * 7 + record.logger_id * 5 +
                             static_cast<std::size_t>(record.importance)) %
                            json_sources];
    if (kept.key != key) [[unlikely]] {
        log_buffer text(256);
        fmt::format_to(std::back_inserter(text), ",\"level\":\"{}\",\"thread\":{}",
                       to_string(record.importance), record.thread.id);
        if (!record.logger.empty()) {
            text.push_back(',');
            append_json_member("logger", record.logger, text);
        }
        if (text.size() > sizeof(kept.bytes)) {
            to.append(text.text());
            return;
        }
        kept.size = static_cast<std::uint32_t>(text.text().copy(kept.bytes, text.size()));
        kept.key = key;
    }
    char* const at = to.room(sizeof(kept.bytes));
    std::memcpy(at, kept.bytes, sizeof(kept.bytes)); // a fixed size needs no call
    to.take(at + kept.size);
}

void json_layout::append(const log_record& record, log_buffer& to) {
    using detail::log_field_kind;
    const std::int64_t ns = std::max<std::int64_t>(record.when.time_since_epoch().count(), 0);
    if (ns / 1'000'000'000 != second_) [[unlikely]] {
        begin_second(record, ns / 1'000'000'000);
    }
    char* at = to.room(before_digits_.size() + after_digits_.size() + 16);
    at = detail::put_text(at, before_digits_);
    at = put_nine_digits(static_cast<std::uint32_t>(ns % 1'000'000'000), at);
    to.take(detail::put_text(at, after_digits_));
    append_source(record, to);
    to.push_back(',');
    append_json_member("message", record.message, to);
    if (record.is_truncated) [[unlikely]] {
        to.append(",\"cut\":true");
    }
    if (record.is_own()) [[unlikely]] {
        to.append(",\"own\":true");
    }
    if (record.fields.empty()) {
        to.append("}\n");
        return;
    }
    append_fields(record, to);
}

void json_layout::append_fields(const log_record& record, log_buffer& to) {
    using detail::log_field_kind;
    detail::for_each_context(record, [&](std::string_view name, std::string_view text) {
        to.push_back(',');
        append_json_member(name, text, to);
    });
    if (const auto action = detail::log_action_view::of(record.fields)) {
        append_action(action, record, to);
    }
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

} // namespace sapwood
