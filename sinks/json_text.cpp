#include "json_text.hpp"

#include "utf8.hpp"

#include <fmt/format.h>
#include <iterator>
#include <string>

namespace sapwood::detail {

void append_json_text(std::string_view text, log_buffer& to) {
    const auto put = [&to](std::uint32_t unit) {
        fmt::format_to(std::back_inserter(to), "\\u{:04x}", unit);
    };
    while (!text.empty()) {
        const auto [code, size] = decode_utf8(text);
        if (code == '"' || code == '\\') {
            to.push_back('\\');
            to.push_back(text.front());
        } else if (!is_dangerous(code)) {
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
    if (is_json_plain(text)) [[likely]] {
        char* at = to.room(text.size() + 2);
        *at++ = '"';
        at = put_text(at, text);
        *at++ = '"';
        to.take(at);
        return;
    }
    to.push_back('"');
    append_json_text(text, to);
    to.push_back('"');
}

void append_json_member(std::string_view name, std::string_view text, log_buffer& to) {
    if (!name.ends_with(json_escaped_suffix) && is_json_plain(text) && is_json_plain(name))
        [[likely]] {
        char* at = to.room(name.size() + text.size() + 5);
        *at++ = '"';
        at = put_text(at, name);
        at = put_json_literal(at, "\":\"");
        at = put_text(at, text);
        *at++ = '"';
        to.take(at);
        return;
    }
    if (!name.ends_with(json_escaped_suffix) && (is_plain(text) || is_utf8(text))) {
        append_json_string(name, to);
        to.push_back(':');
        append_json_string(text, to);
        return;
    }
    std::string escaped;
    escape(text, escaped);
    append_json_string(std::string(name).append(json_escaped_suffix), to);
    to.push_back(':');
    append_json_string(escaped, to);
}

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

bool is_json_number(std::string_view text) noexcept {
    bool is_number = !text.empty() && text.back() >= '0' && text.back() <= '9';
    for (const char c : text) {
        is_number &= (c >= '0' && c <= '9') || c == '-' || c == '.' || c == 'e' || c == '+';
    }
    return is_number;
}

void append_json_field(const log_field_view& field, log_buffer& to) {
    const bool is_bare = (field.kind == log_field_kind::number && is_json_number(field.value)) ||
                         (field.kind == log_field_kind::boolean &&
                          (field.value == "true" || field.value == "false"));
    if (is_bare && is_json_plain(field.key)) [[likely]] {
        char* at = to.room(field.key.size() + field.value.size() + 3);
        *at++ = '"';
        at = put_text(at, field.key);
        at = put_json_literal(at, "\":");
        to.take(put_text(at, field.value));
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

} // namespace sapwood::detail
