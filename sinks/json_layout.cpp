#include <sapwood/json_layout.hpp>

#include "utf8.hpp"

#include <sapwood/decimal.hpp>
#include <sapwood/log_action_view.hpp>
#include <sapwood/log_escape.hpp>
#include <sapwood/log_place.hpp>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <fmt/format.h>
#include <iterator>
#include <string>
#include <utility>

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

/// Whether it stands in a JSON string as it is. Most are short.
bool is_json_plain(std::string_view text) noexcept {
    const std::size_t size = text.size();
    if (size > 16) {
        return is_plain(text) && std::memchr(text.data(), '"', size) == nullptr;
    }
    const auto odd = [](std::uint64_t bytes) {
        constexpr std::uint64_t each = 0x0101010101010101;
        return detail::suspicious(bytes) | (((bytes ^ ('"' * each)) - each) & (0x80 * each));
    };
    if (size < 4) {
        const std::uint64_t spaces = std::uint64_t{0x2020202020202020} << (8 * size);
        return odd(detail::short_text(text) | spaces) == 0;
    }
    const detail::four_fours fours(size);
    const auto load = [&](std::size_t i) {
        return std::uint64_t{detail::four_fours::load(text.data() + fours.at[i])};
    };
    return (odd(load(0) | load(1) << 32) | odd(load(2) | load(3) << 32)) == 0;
}

/// The same of a message, of which it may be known that it is plain.
bool is_json_plain_message(const log_record& record) noexcept {
    return record.is_known_plain && !record.message.empty()
               ? std::memchr(record.message.data(), '"', record.message.size()) == nullptr
               : is_json_plain(record.message);
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

/// A literal, as a fixed size needs no call.
template <std::size_t size>
char* put_json_literal(char* to, const char (&literal)[size]) noexcept {
    std::memcpy(to, static_cast<const char*>(literal), size - 1);
    return to + size - 1;
}

/// `"name":"text"`. What is not UTF-8, and what has a name that says so, is escaped.
void append_json_member(std::string_view name, std::string_view text, log_buffer& to) {
    if (!name.ends_with(escaped_suffix) && is_json_plain(text) && is_json_plain(name)) [[likely]] {
        char* at = to.room(name.size() + text.size() + 5);
        *at++ = '"';
        at = detail::put_text(at, name);
        at = put_json_literal(at, "\":\"");
        at = detail::put_text(at, text);
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
    bool is_number = !text.empty() && text.back() >= '0' && text.back() <= '9';
    for (const char c : text) {
        is_number &= (c >= '0' && c <= '9') || c == '-' || c == '.' || c == 'e' || c == '+';
    }
    return is_number;
}

void append_json_field(const detail::log_field_view& field, log_buffer& to) {
    using detail::log_field_kind;
    const bool is_bare = (field.kind == log_field_kind::number && is_json_number(field.value)) ||
                         (field.kind == log_field_kind::boolean &&
                          (field.value == "true" || field.value == "false"));
    if (is_bare && is_json_plain(field.key)) [[likely]] {
        char* at = to.room(field.key.size() + field.value.size() + 3);
        *at++ = '"';
        at = detail::put_text(at, field.key);
        *at++ = '"';
        *at++ = ':';
        to.take(detail::put_text(at, field.value));
        return;
    }
    std::string escaped;
    std::string_view key = field.key;
    if (!is_plain(key)) [[unlikely]] {
        escape(key, escaped);
        key = escaped;
    }
    if (!is_bare) {
        append_json_member(key, field.value, to);
        return;
    }
    append_json_string(key, to);
    to.push_back(':');
    to.append(field.value);
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

/// What a record says of itself, and where the user's fields begin: behind all that.
struct record_parts {
    detail::log_action_view action;
    std::string_view users;
    bool has_context = false;
};

record_parts parts_of(std::string_view fields) noexcept {
    record_parts parts;
    detail::for_each_field(fields, [&](const detail::log_field_view& field) {
        if (field.kind > detail::log_field_kind::boolean) {
            parts.has_context |= field.kind <= detail::log_field_kind::task;
            parts.action.take(field);
        } else if (parts.users.empty()) {
            const char* const begin = field.key.data() - detail::log_field_header_bytes;
            parts.users = {begin, static_cast<std::size_t>(fields.data() + fields.size() - begin)};
        }
    });
    return parts;
}

/// What kind of a record of an action it is, behind its type.
void append_status(const detail::log_action_view& action, log_buffer& to) {
    char* at = to.room(128);
    if (!action.has_ended()) {
        to.take(put_json_literal(at, ",\"action_status\":\"started\""));
        return;
    }
    if (action.is_cancelled()) { // eliot knows no other
        at = put_json_literal(at, ",\"action_status\":\"failed\",\"outcome\":\"cancelled\"");
    } else {
        at = put_json_literal(at, ",\"action_status\":\"");
        at = detail::put_text(at, action.status.substr(0, 16));
        *at++ = '"';
    }
    at = put_json_literal(at, ",\"duration\":");
    at += detail::put_seconds(action.duration_ns, at).size();
    at = put_json_literal(at, ",\"children\":");
    to.take(detail::put_decimal(at, action.children));
    if (!action.exception.empty()) {
        append_json_own(",\"exception\":", action.exception, to);
        append_json_own(",\"reason\":", action.reason, to);
        append_json_own(",\"source\":", action.source, to);
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

/// As eliot's records have it: the task, the level, the time in seconds, and what it is. `digits`
/// are those of the nanoseconds.
void json_layout::append_action(const detail::log_action_view& action, const log_record& record,
                                bool is_plain_text, std::uint32_t nanoseconds, log_buffer& to) {
    char* at = to.room(action.uuid.size() + action.level.size() + record.message.size() + 128);
    at = put_json_literal(at, ",\"task_uuid\":\"");
    if (action.uuid.size() == detail::log_place::uuid_bytes) [[likely]] {
        std::memcpy(at, action.uuid.data(), detail::log_place::uuid_bytes);
    }
    at += action.uuid.size();
    at = put_json_literal(at, "\",\"task_level\":[");
    at = detail::put_text(at, action.level);
    at = put_json_literal(at, "],\"timestamp\":");
    at = detail::put_decimal(at, static_cast<std::uint64_t>(std::max<std::int64_t>(second_, 0)));
    *at++ = '.';
    at = put_nine_digits(nanoseconds, at) - 3;
    const bool is_message = action.status.empty();
    if (is_plain_text) [[likely]] {
        at = is_message ? put_json_literal(at, ",\"message_type\":\"")
                        : put_json_literal(at, ",\"action_type\":\"");
        at = detail::put_text(at, record.message);
        *at++ = '"';
        to.take(at);
    } else {
        to.take(at);
        append_json_own(is_message ? ",\"message_type\":" : ",\"action_type\":", record.message,
                        to);
    }
    if (!is_message) {
        append_status(action, to);
    }
}

void json_layout::append(const log_record& record, log_buffer& to) {
    const std::int64_t ns = std::max<std::int64_t>(record.when.time_since_epoch().count(), 0);
    const std::int64_t second = ns / 1'000'000'000;
    const auto nanoseconds = static_cast<std::uint32_t>(ns - second * 1'000'000'000);
    if (second != second_) [[unlikely]] {
        begin_second(record, second);
    }
    char* at = to.room(before_digits_.size() + after_digits_.size() + 16);
    at = detail::put_text(at, before_digits_);
    at = put_nine_digits(nanoseconds, at);
    to.take(detail::put_text(at, after_digits_));
    append_source(record, to);
    const bool is_plain_text = is_json_plain_message(record);
    if (is_plain_text) [[likely]] {
        at = put_json_literal(to.room(record.message.size() + 16), ",\"message\":\"");
        at = detail::put_text(at, record.message);
        *at++ = '"';
        to.take(at);
    } else {
        to.push_back(',');
        append_json_member("message", record.message, to);
    }
    if (record.is_truncated) [[unlikely]] {
        to.append(",\"cut\":true");
    }
    if (record.is_own()) [[unlikely]] {
        to.append(",\"own\":true");
    }
    std::string_view end = "}\n";
    if (!record.fields.empty()) {
        const record_parts parts = parts_of(record.fields);
        if (parts.has_context) [[unlikely]] {
            detail::for_each_context(record, [&](std::string_view name, std::string_view text) {
                to.push_back(',');
                append_json_member(name, text, to);
            });
        }
        if (parts.action) {
            append_action(parts.action, record, is_plain_text, nanoseconds, to);
        }
        if (!parts.users.empty()) {
            append_users(parts.users, to);
            end = "}}\n";
        }
    }
    to.append(end);
}

void json_layout::append_users(std::string_view fields, log_buffer& to) {
    to.append(",\"fields\":{");
    bool has_fields = false;
    detail::for_each_field(fields, [&](const detail::log_field_view& field) {
        if (field.kind <= detail::log_field_kind::boolean) {
            if (std::exchange(has_fields, true)) {
                to.push_back(',');
            }
            append_json_field(field, to);
        }
    });
}

} // namespace sapwood
