#include "crash_text.hpp"

#include "crash_action.hpp"
#include "json_text.hpp"
#include "logfmt_names.hpp"
#include "utf8.hpp"

#include <algorithm>
#include <chrono>

namespace sapwood::detail {

namespace {

constexpr std::string_view digits = "0123456789abcdef";

/// Kept free for what ends a line.
constexpr std::size_t end_bytes = 64;

/// To the millisecond, or to the nanosecond.
void put_date(const log_record& record, char between, bool is_fine, crash_text& to) noexcept {
    using namespace std::chrono;
    const auto when = std::max(record.when, log_record::time_point());
    const auto since = when.time_since_epoch();
    const auto day = floor<days>(since);
    const year_month_day date{sys_days(day)};
    const hh_mm_ss time(since - day);
    const auto ns = static_cast<std::uint64_t>(time.subseconds().count());
    to.put_decimal(static_cast<unsigned>(int(date.year())), 4);
    to.put('-');
    to.put_decimal(unsigned(date.month()), 2);
    to.put('-');
    to.put_decimal(unsigned(date.day()), 2);
    to.put(between);
    to.put_decimal(static_cast<unsigned>(time.hours().count()), 2);
    to.put(':');
    to.put_decimal(static_cast<unsigned>(time.minutes().count()), 2);
    to.put(':');
    to.put_decimal(static_cast<unsigned>(time.seconds().count()), 2);
    to.put('.');
    to.put_decimal(is_fine ? ns : ns / 1'000'000, is_fine ? 9 : 3);
}

bool is_users(const log_field_view& field) noexcept {
    return field.kind <= log_field_kind::boolean;
}

/// As append_logfmt_key() has it.
void put_key(std::string_view key, crash_text& to) noexcept {
    if (key.empty() || key == "_") {
        to.put(key.empty() ? "_" : "\\x5f");
        return;
    }
    while (!key.empty()) {
        const std::size_t special = std::min(key.find_first_of(" \"="), key.size());
        to.put_escaped(key.substr(0, special));
        if (special < key.size()) {
            to.put("\\x");
            to.put_hex(static_cast<unsigned char>(key[special]));
        }
        key.remove_prefix(std::min(special + 1, key.size()));
    }
}

void put_value(std::string_view value, crash_text& to) noexcept {
    const bool is_bare =
        !value.empty() && is_plain(value) && value.find_first_of(" \"=") == std::string_view::npos;
    if (is_bare) {
        to.put(value);
        return;
    }
    to.put('"');
    while (!value.empty()) {
        const std::size_t quote = std::min(value.find('"'), value.size());
        to.put_escaped(value.substr(0, quote));
        if (quote < value.size()) {
            to.put("\\\"");
        }
        value.remove_prefix(std::min(quote + 1, value.size()));
    }
    to.put('"');
}

void put_fields(const log_record& record, crash_form form, crash_text& to) noexcept {
    for_each_field(record.fields, [&](const log_field_view& field) {
        if (is_users(field)) {
            to.put(' ');
            to.put(form == crash_form::logfmt && is_logfmt_own(field.key) ? users_prefix
                                                                          : std::string_view());
            put_key(field.key, to);
            to.put('=');
            put_value(field.value, to);
        }
    });
}

void put_action(const log_record& record, crash_text& to) noexcept {
    for_each_action_text(log_action_view::of(record.fields),
                         [&to](std::string_view name, std::string_view text) {
                             to.put(' ');
                             to.put(name);
                             to.put('=');
                             put_value(text, to);
                         });
}

void put_text_line(const log_record& record, crash_text& to) noexcept {
    put_date(record, ' ', false, to);
    to.put(' ');
    to.put_decimal(record.thread.id);
    to.put(' ');
    to.put(to_string(record.importance));
    to.put(' ');
    if (!record.logger.empty()) {
        to.put_escaped(record.logger);
        to.put(' ');
    }
    to.put_escaped(record.message);
    if (to.is_cut()) {
        return;
    }
    to.put(record.is_truncated ? log_record::cut_mark : std::string_view());
    put_fields(record, crash_form::text, to);
    put_action(record, to);
}

void put_logfmt_line(const log_record& record, crash_text& to) noexcept {
    to.put("time=");
    put_date(record, 'T', true, to);
    to.put("Z level=");
    to.put(to_string(record.importance));
    to.put(" thread=");
    to.put_decimal(record.thread.id);
    if (!record.logger.empty()) {
        to.put(" logger=");
        put_value(record.logger, to);
    }
    put_action(record, to);
    to.put(" message=");
    put_value(record.message, to);
    put_fields(record, crash_form::logfmt, to);
}

/// Without what there is no room for: a line that is cut has no fields, but is whole.
void put_json_line(const log_record& record, crash_text& to) noexcept {
    to.put("{\"time\":\"");
    put_date(record, 'T', true, to);
    to.put("Z\",\"level\":\"");
    to.put(to_string(record.importance));
    to.put("\",\"thread\":");
    to.put_decimal(record.thread.id);
    if (!record.logger.empty()) {
        to.put(",\"logger\":\"");
        to.put_json(record.logger.substr(0, 256));
        to.put('"');
    }
    to.put(",\"message\":\"");
    to.put_json(record.message);
}

void end_json_line(const log_record& record, crash_text& to, crash_text& whole) noexcept {
    const bool was_cut = to.is_cut();
    whole.put(was_cut || record.is_truncated ? "\",\"cut\":true" : "\"");
    whole.put(record.is_own() ? ",\"own\":true" : "");
    if (!was_cut) {
        put_crash_action_members(record, whole);
    }
    bool has_fields = false;
    for_each_field(record.fields, [&](const log_field_view& field) {
        // At worst six bytes for one, and what stands around them.
        const bool fits =
            whole.room() > 6 * (field.key.size() + field.value.size()) + 2 * end_bytes;
        if (was_cut || !is_users(field) || !fits) {
            return;
        }
        whole.put(has_fields ? ",\"" : ",\"fields\":{\"");
        has_fields = true;
        whole.put_json(field.key);
        whole.put("\":");
        const bool is_bare = (field.kind == log_field_kind::boolean &&
                              (field.value == "true" || field.value == "false")) ||
                             (field.kind == log_field_kind::number && is_json_number(field.value));
        if (is_bare) {
            whole.put(field.value);
        } else {
            whole.put('"');
            whole.put_json(field.value);
            whole.put('"');
        }
    });
    whole.put(has_fields ? "}}\n" : "}\n");
}

} // namespace

void crash_text::put_decimal(std::uint64_t value, unsigned digits_min) noexcept {
    char text[20];
    char* at = text + sizeof(text);
    do {
        *--at = digits[value % 10];
        value /= 10;
    } while (value != 0 || static_cast<unsigned>(text + sizeof(text) - at) < digits_min);
    put(std::string_view(at, static_cast<std::size_t>(text + sizeof(text) - at)));
}

void crash_text::put_hex(std::uint64_t value, unsigned digits_min) noexcept {
    char text[16];
    char* at = text + sizeof(text);
    do {
        *--at = digits[value % 16];
        value /= 16;
    } while (value != 0 || static_cast<unsigned>(text + sizeof(text) - at) < digits_min);
    put(std::string_view(at, static_cast<std::size_t>(text + sizeof(text) - at)));
}

void crash_text::put_whole(std::string_view text) noexcept {
    if (is_cut_ || text.size() > room()) {
        is_cut_ = true;
    } else {
        put(text);
    }
}

void crash_text::put_escaped(std::string_view text) noexcept {
    while (!text.empty() && !is_cut_) {
        const char c = text.front();
        if (c == '\\' || c == '\n' || c == '\r' || c == '\t') {
            const char pair[] = {'\\', c == '\\' ? '\\' : c == '\n' ? 'n' : c == '\r' ? 'r' : 't'};
            put_whole({pair, 2});
            text.remove_prefix(1);
            continue;
        }
        const auto [code, size] = decode_utf8(text);
        const std::size_t bytes = std::max<std::size_t>(size, 1);
        if (size > 0 && !is_dangerous(code)) {
            put_whole(text.substr(0, bytes));
        } else {
            char escaped[16];
            std::size_t length = 0;
            for (std::size_t i = 0; i < bytes; ++i) {
                const auto byte = static_cast<unsigned char>(text[i]);
                escaped[length++] = '\\';
                escaped[length++] = 'x';
                escaped[length++] = digits[byte >> 4];
                escaped[length++] = digits[byte & 0xf];
            }
            put_whole({escaped, length});
        }
        text.remove_prefix(bytes);
    }
}

void crash_text::put_json(std::string_view text) noexcept {
    while (!text.empty() && !is_cut_) {
        const auto [code, size] = decode_utf8(text);
        if (size == 0) {
            put_whole("\xef\xbf\xbd");
            text.remove_prefix(1);
            continue;
        }
        if (code == '"' || code == '\\') {
            const char pair[] = {'\\', static_cast<char>(code)};
            put_whole({pair, 2});
        } else if (is_dangerous(code)) {
            char escaped[12];
            std::size_t length = 0;
            const auto put_unit = [&](std::uint32_t unit) {
                escaped[length++] = '\\';
                escaped[length++] = 'u';
                for (unsigned i = 0; i < 4; ++i) {
                    escaped[length++] = digits[(unit >> (12 - 4 * i)) & 0xf];
                }
            };
            if (code < 0x10000) {
                put_unit(code);
            } else { // two halves, as UTF-16 has it
                put_unit(0xd800 + ((code - 0x10000) >> 10));
                put_unit(0xdc00 + ((code - 0x10000) & 0x3ff));
            }
            put_whole({escaped, length});
        } else {
            put_whole(text.substr(0, size));
        }
        text.remove_prefix(size);
    }
}

void put_crash_line(const log_record& record, crash_form form, crash_text& to) noexcept {
    // What ends the line has room of its own.
    crash_text body(to.end_of_text(), to.room() - 2 * end_bytes);
    switch (form) {
    case crash_form::json:
        put_json_line(record, body);
        break;
    case crash_form::logfmt:
        put_logfmt_line(record, body);
        break;
    case crash_form::text:
        put_text_line(record, body);
        break;
    }
    to.take(body.size());
    if (form == crash_form::json) {
        end_json_line(record, body, to);
        return;
    }
    if ((record.is_truncated && form != crash_form::text) || body.is_cut()) {
        to.put(log_record::cut_mark);
    }
    if (record.is_own()) {
        to.put(log_record::own_mark);
    }
    to.put('\n');
}

} // namespace sapwood::detail
