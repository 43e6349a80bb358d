#include <sapwood/json_layout.hpp>

#include <sapwood/log_escape.hpp>

#include <array>
#include <cstdint>
#include <fmt/format.h>
#include <iterator>
#include <string>

namespace sapwood {

namespace {

/// Valid UTF-8, which JSON can hold.
bool is_utf8(std::string_view text) {
    for (std::size_t i = 0; i < text.size();) {
        const auto lead = static_cast<unsigned char>(text[i]);
        const std::size_t size = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
        bool holds = lead < 0x80 || (lead >= 0xc2 && lead <= 0xf4 && i + size <= text.size());
        std::uint32_t code = lead & (0xffU >> (size == 1 ? 1 : size + 1));
        for (std::size_t k = 1; holds && k < size; ++k) {
            const auto next = static_cast<unsigned char>(text[i + k]);
            holds = (next & 0xc0) == 0x80;
            code = code << 6 | (next & 0x3fU);
        }
        constexpr std::array<std::uint32_t, 5> least{0, 0, 0x80, 0x800, 0x10000};
        if (!holds || code < least[size] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) {
            return false;
        }
        i += size;
    }
    return true;
}

bool must_be_escaped(std::uint32_t code) noexcept {
    return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x61c || code == 0x200e ||
           code == 0x200f || (code >= 0x2028 && code <= 0x202e) ||
           (code >= 0x2066 && code <= 0x2069);
}

/// The inside of a JSON string. `text` must be UTF-8.
void append_json_text(std::string_view text, log_buffer& to) {
    for (std::size_t i = 0; i < text.size();) {
        const char c = text[i];
        const auto lead = static_cast<unsigned char>(c);
        if (c == '"' || c == '\\') {
            to.push_back('\\');
            to.push_back(c);
            ++i;
            continue;
        }
        const std::size_t size = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
        std::uint32_t code = lead & (0xffU >> (size == 1 ? 1 : size + 1));
        for (std::size_t k = 1; k < size; ++k) {
            code = code << 6 | (static_cast<unsigned char>(text[i + k]) & 0x3fU);
        }
        if (must_be_escaped(code)) {
            fmt::format_to(std::back_inserter(to), "\\u{:04x}", code);
        } else {
            to.append(text.substr(i, size));
        }
        i += size;
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

/// `"name":"text"`.
void append_json_member(std::string_view name, std::string_view text, log_buffer& to) {
    if (is_plain(text) || is_utf8(text)) {
        append_json_string(name, to);
        to.push_back(':');
        append_json_string(text, to);
        return;
    }
    std::string escaped;
    escape(text, escaped);
    append_json_string(std::string(name) + "_escaped", to);
    to.push_back(':');
    append_json_string(escaped, to);
}

/// Whether JSON has a number for it: not for infinity and NaN.
bool is_json_number(std::string_view text) noexcept {
    return !text.empty() && (text.back() >= '0' && text.back() <= '9');
}

void append_json_field(const detail::log_field_view& field, log_buffer& to) {
    const bool is_bare =
        field.kind == detail::log_field_kind::boolean ||
        (field.kind == detail::log_field_kind::number && is_json_number(field.value));
    std::string key(field.key);
    if (!is_utf8(key)) {
        key.clear();
        escape(field.key, key);
    }
    if (is_bare) {
        append_json_string(key, to);
        to.push_back(':');
        to.append(field.value);
    } else {
        append_json_member(key, field.value, to);
    }
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
    bool has_fields = false;
    detail::for_each_field(record.fields, [&](const detail::log_field_view& field) {
        constexpr std::string_view names[] = {"location", "function", "task"};
        if (field.kind > log_field_kind::boolean && field.kind <= log_field_kind::task) {
            to.push_back(',');
            append_json_member(names[static_cast<int>(field.kind) - 3], field.value, to);
        } else if (field.kind <= log_field_kind::boolean) {
            has_fields = true;
        }
    });
    if (has_fields) {
        to.append(",\"fields\":{");
        bool is_first = true;
        detail::for_each_field(record.fields, [&](const detail::log_field_view& field) {
            if (field.kind <= log_field_kind::boolean) {
                if (!is_first) {
                    to.push_back(',');
                }
                is_first = false;
                append_json_field(field, to);
            }
        });
        to.push_back('}');
    }
    to.append("}\n");
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
    to.append(" message=");
    detail::append_logfmt_value(record.message, to);
    if (record.is_truncated) {
        to.append(" cut=true");
    }
    detail::append_logfmt_fields(record.fields, to);
    to.push_back('\n');
}

} // namespace sapwood
