#include <sapwood/json_layout.hpp>

#include "json_action.hpp"
#include "json_text.hpp"

#include <sapwood/assert.hpp>
#include <sapwood/decimal.hpp>
#include <sapwood/log_action_view.hpp>
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

using detail::nine_digits;
using detail::put_json_literal;

constexpr std::size_t json_sources = 64;
/// What stands last in what is kept of a source.
constexpr std::string_view message_begin = ",\"message\":\"";
/// Of a line but for its texts, and those of what has failed, and the user's fields.
constexpr std::size_t json_line_bytes_max = 768;
/// Of what stands behind the user's fields, and before the next of them.
constexpr std::size_t json_line_end_bytes_max = 8;

/// The message, of which it may be known that it is plain. False, and nothing is there, where it is
/// not what stands in a JSON string as it is.
bool put_plain_message(const log_record& record, char* to) noexcept {
    const std::string_view text = record.message;
    if (text.size() <= 16) {
        return detail::put_json_short(to, text);
    }
    if (text.size() <= 64) {
        return detail::put_long_if_none(to, text, detail::suspicious_in_json);
    }
    const bool is_plain =
        record.is_known_plain ? detail::has_no_quote(text) : detail::is_json_plain(text);
    if (is_plain) [[likely]] {
        (void)detail::put_text(to, text);
    }
    return is_plain;
}

/// What a record says of itself, and where the user's fields begin: behind all that.
struct record_parts {
    detail::log_action_view action;
    bool has_context = false;
    std::string_view users;

    record_parts() noexcept {} // NOLINT(modernize-use-equals-default): see log_action_view
};

record_parts parts_of(std::string_view fields) noexcept {
    record_parts parts;
    parts.users = detail::for_each_own_field(fields, [&](const detail::log_field_view& field) {
        parts.has_context |= field.kind <= detail::log_field_kind::task;
        parts.action.take(field);
    });
    return parts;
}

/// How it has ended, but for why it has failed.
char* put_ending(char* at, const detail::log_action_view& action) noexcept {
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
    return detail::put_decimal(at, action.children);
}

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
    const std::string_view after =
        line.substr(digits + nine_digits::count, line.size() - digits - nine_digits::count - 1);
    if (after != after_digits_) {
        std::ranges::fill(sources_, source());
        after_digits_ = after;
    }
    SAPWOOD_ASSERT(digits <= sizeof(before_digits_), "a year has four digits until 2262");
    before_bytes_ = line.copy(before_digits_, digits);
    char stamp[48] = "],\"timestamp\":";
    char* const seconds = stamp + std::string_view(stamp).size();
    char* end = detail::put_decimal(seconds, static_cast<std::uint64_t>(second));
    *end++ = '.';
    stamp_.size = std::string_view(stamp, end).copy(stamp_.bytes, sizeof(stamp_.bytes));
    second_ = second;
}

/// What stands between the time's digits and the message. Hardly ever called.
[[gnu::noinline]] std::string_view json_layout::make_source(const log_record& record,
                                                            source& kept) {
    log_buffer text(256);
    text.append(after_digits_);
    fmt::format_to(std::back_inserter(text), ",\"level\":\"{}\",\"thread\":{}",
                   to_string(record.importance), record.thread.id);
    if (!record.logger.empty()) {
        text.push_back(',');
        detail::append_json_member("logger", record.logger, text);
    }
    text.append(message_begin);
    if (text.size() > sizeof(kept.bytes)) {
        kept = source();
        long_source_ = text.text();
        return long_source_;
    }
    kept.size = static_cast<std::uint32_t>(text.text().copy(kept.bytes, text.size()));
    return {kept.bytes, kept.size};
}

[[gnu::always_inline]] inline char* json_layout::put_source(const log_record& record, char* at,
                                                            log_buffer& to) {
    const std::uint64_t key = std::uint64_t{record.thread.ordinal} << 32 |
                              std::uint64_t{record.logger_id} << 8 |
                              static_cast<std::uint64_t>(record.importance);
    source& kept = sources_[(record.thread.ordinal * 7 + record.logger_id * 5 +
                             static_cast<std::size_t>(record.importance)) %
                            json_sources];
    if (kept.key != key) [[unlikely]] {
        const std::string_view text = make_source(record, kept);
        if (text.size() > sizeof(kept.bytes)) {
            to.take(at);
            to.append(text);
            return to.room(json_line_bytes_max + 2 * record.message.size() + record.fields.size());
        }
        kept.key = key;
    }
    constexpr std::size_t piece = sizeof(kept.bytes) / 2; // a fixed size needs no call
    std::memcpy(at, kept.bytes, piece);
    if (kept.size > piece) {
        std::memcpy(at + piece, kept.bytes + piece, piece);
    }
    return at + kept.size;
}

/// What json_action does not take.
char* json_layout::put_action(const detail::log_action_view& action, const log_record& record,
                              bool is_plain_text, std::uint64_t digits, char* at, log_buffer& to) {
    at = put_json_literal(at, ",\"task_uuid\":\"");
    if (action.uuid.size() == detail::log_place::uuid_bytes) [[likely]] {
        std::memcpy(at, action.uuid.data(), detail::log_place::uuid_bytes);
        at += detail::log_place::uuid_bytes;
    }
    at = put_json_literal(at, "\",\"task_level\":[");
    if (action.level.size() == 1) [[likely]] {
        *at++ = action.level.front();
    } else {
        at = detail::put_text(at, action.level.substr(0, 256));
    }
    at = stamp_.put(at, digits);
    const bool is_message = action.status.empty();
    if (is_plain_text) [[likely]] {
        at = is_message ? put_json_literal(at, ",\"message_type\":\"")
                        : put_json_literal(at, ",\"action_type\":\"");
        at = detail::put_text(at, record.message);
        *at++ = '"';
    } else {
        to.take(at);
        detail::append_json_own(
            is_message ? ",\"message_type\":" : ",\"action_type\":", record.message, to);
        at = to.room(json_line_bytes_max);
    }
    if (is_message) {
        return at;
    }
    if (!action.has_ended()) {
        return put_json_literal(at, ",\"action_status\":\"started\"");
    }
    at = put_ending(at, action);
    if (!action.exception.empty()) [[unlikely]] {
        to.take(at);
        detail::append_json_own(",\"exception\":", action.exception, to);
        detail::append_json_own(",\"reason\":", action.reason, to);
        detail::append_json_own(",\"source\":", action.source, to);
        at = to.room(json_line_bytes_max);
    }
    return at;
}

void json_layout::append(const log_record& record, log_buffer& to) {
    const std::int64_t ns = std::max<std::int64_t>(record.when.time_since_epoch().count(), 0);
    const std::int64_t second = ns / 1'000'000'000;
    const auto nanoseconds = static_cast<std::uint32_t>(ns - second * 1'000'000'000);
    if (second != second_) [[unlikely]] {
        begin_second(record, second);
    }
    const nine_digits digits(nanoseconds);
    char* at = to.room(json_line_bytes_max + 2 * record.message.size() + record.fields.size());
    std::memcpy(at, before_digits_, sizeof(before_digits_));
    at = digits.put(at + before_bytes_);
    at = put_source(record, at, to);
    const bool is_plain_text = put_plain_message(record, at);
    if (is_plain_text) [[likely]] {
        at += record.message.size();
        *at++ = '"';
    } else {
        to.take(at - message_begin.size() + 1); // but for the comma
        detail::append_json_member("message", record.message, to);
        at = to.room(json_line_bytes_max + 2 * record.message.size() + record.fields.size());
    }
    if (record.is_truncated) [[unlikely]] {
        at = put_json_literal(at, ",\"cut\":true");
    }
    if (record.is_own()) [[unlikely]] {
        at = put_json_literal(at, ",\"own\":true");
    }
    if (std::string_view fields = record.fields; !fields.empty()) {
        if (detail::json_action action; is_plain_text && action.take(fields)) {
            at = action.put(at, record.message, stamp_, digits.first);
        } else if (!detail::begins_with_users(fields)) [[unlikely]] {
            fields = put_parts(record, is_plain_text, digits.first, at, to);
        }
        if (!fields.empty()) {
            at = put_users(fields, at, to);
        }
    }
    to.take(put_json_literal(at, "}\n"));
}

/// What a record says of itself, whatever that is. Returns the user's fields, for which there is
/// room.
[[gnu::noinline]] std::string_view json_layout::put_parts(const log_record& record,
                                                          bool is_plain_text, std::uint64_t digits,
                                                          char*& at, log_buffer& to) {
    const record_parts parts = parts_of(record.fields);
    if (parts.has_context) [[unlikely]] {
        to.take(at);
        detail::for_each_context(record, [&](std::string_view name, std::string_view text) {
            to.push_back(',');
            detail::append_json_member(name, text, to);
        });
        at = to.room(json_line_bytes_max + 2 * record.message.size());
    }
    if (parts.action) {
        at = put_action(parts.action, record, is_plain_text, digits, at, to);
    }
    to.take(at);
    at = to.room(parts.users.size() + json_line_bytes_max);
    return parts.users;
}

/// `room`: of the fields behind it. By a copy of the field, which so need not be in memory.
[[gnu::noinline]] char* json_layout::put_odd_field(const detail::log_field_view& field, char* at,
                                                   std::size_t room, log_buffer& to) {
    to.take(at);
    detail::append_json_field(field, to);
    return to.room(room + json_line_end_bytes_max);
}

/// Where there is room for the fields as they are in the ring, and json_line_end_bytes_max.
char* json_layout::put_users(std::string_view fields, char* at, log_buffer& to) {
    // In the ring a field is longer than what it becomes, unless something is to be escaped.
    at = put_json_literal(at, ",\"fields\":{");
    bool has_fields = false;
    for (detail::log_field_view field; detail::take_field(fields, field);) {
        if (field.kind > detail::log_field_kind::boolean) {
            continue;
        }
        has_fields = true;
        char* end = detail::put_json_field(field, at);
        if (end == nullptr) [[unlikely]] {
            end = put_odd_field(detail::log_field_view(field), at, fields.size(), to);
        }
        *end = ',';
        at = end + 1;
    }
    if (has_fields) {
        --at; // the last comma
    }
    *at++ = '}';
    return at;
}

} // namespace sapwood
