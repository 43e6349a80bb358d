#include <sapwood/json_layout.hpp>

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

using detail::put_json_literal;

constexpr std::size_t json_sources = 64;
/// What stands last in what is kept of a source.
constexpr std::string_view message_begin = ",\"message\":\"";
/// Of a line but for its texts, and those of what has failed, and the user's fields.
constexpr std::size_t json_line_bytes_max = 768;
/// Of what stands behind the user's fields, and before the next of them.
constexpr std::size_t json_line_end_bytes_max = 8;
constexpr std::size_t fraction_digits = 9;

/// Nine digits, of less than 10^9: the first eight of them, and the last.
struct nine_digits {
    explicit nine_digits(std::uint32_t value) noexcept
        : first(detail::eight_digits(value / 10) | detail::eight_ascii_zeros),
          last(static_cast<char>('0' + value % 10)) {}

    char* put(char* to) const noexcept {
        std::memcpy(to, &first, 8);
        to[8] = last;
        return to + fraction_digits;
    }

    std::uint64_t first;
    char last;
};

/// The message, of which it may be known that it is plain. False, and nothing is there, where it is
/// not what stands in a JSON string as it is.
bool put_plain_message(const log_record& record, char* to) noexcept {
    const std::string_view text = record.message;
    if (text.size() <= 16) {
        return detail::put_json_short(to, text);
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
        line.substr(digits + fraction_digits, line.size() - digits - fraction_digits - 1);
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
    stamp_bytes_ = std::string_view(stamp, end).copy(stamp_, sizeof(stamp_));
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
            return to.room(json_line_bytes_max + 2 * record.message.size());
        }
        kept.key = key;
    }
    std::memcpy(at, kept.bytes, sizeof(kept.bytes)); // a fixed size needs no call
    return at + kept.size;
}

/// As eliot's records have it: the task, the level, the time in seconds, and what it is. `digits`
/// are the time's fraction, of which six are written: not read out of the line, where the processor
/// has just written them in other pieces, and would wait for those.
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
    std::memcpy(at, stamp_, sizeof(stamp_));
    at += stamp_bytes_;
    std::memcpy(at, &digits, sizeof(digits));
    at += 6;
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
    char* at = to.room(json_line_bytes_max + 2 * record.message.size());
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
        at = to.room(json_line_bytes_max + 2 * record.message.size());
    }
    if (record.is_truncated) [[unlikely]] {
        at = put_json_literal(at, ",\"cut\":true");
    }
    if (record.is_own()) [[unlikely]] {
        at = put_json_literal(at, ",\"own\":true");
    }
    if (!record.fields.empty()) {
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
            at = put_action(parts.action, record, is_plain_text, digits.first, at, to);
        }
        if (!parts.users.empty()) {
            at = put_users(parts.users, at, to);
        }
    }
    to.take(put_json_literal(at, "}\n"));
}

char* json_layout::put_users(std::string_view fields, char* at, log_buffer& to) {
    // In the ring a field is longer than what it becomes, unless something is to be escaped.
    to.take(put_json_literal(at, ",\"fields\":{"));
    at = to.room(fields.size() + json_line_end_bytes_max);
    bool has_fields = false;
    for (detail::log_field_view field; detail::take_field(fields, field);) {
        if (field.kind > detail::log_field_kind::boolean) {
            continue;
        }
        if (std::exchange(has_fields, true)) {
            *at++ = ',';
        }
        char* const end = detail::put_json_field(field, at);
        if (end != nullptr) [[likely]] {
            at = end;
            continue;
        }
        to.take(at);
        detail::append_json_field(field, to);
        at = to.room(fields.size() + json_line_end_bytes_max);
    }
    *at++ = '}';
    return at;
}

} // namespace sapwood
