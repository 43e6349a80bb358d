#include <sapwood/log_escape.hpp>

#include <algorithm>

namespace sapwood::detail {

namespace {

bool is_key_character(char c) noexcept {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == '-' || c == '/';
}

} // namespace

std::string_view cut_at_character(std::string_view text, std::size_t bytes) noexcept {
    if (text.size() <= bytes) {
        return text;
    }
    const auto continues = [&](std::size_t i) {
        return (static_cast<unsigned char>(text[i]) & 0xc0) == 0x80;
    };
    std::size_t end = bytes;
    for (int i = 0; i < 3 && end > 0 && continues(end); ++i) {
        --end;
    }
    return text.substr(0, continues(end) ? bytes : end);
}

void append_logfmt_key(std::string_view key, log_buffer& to) {
    if (key.empty()) {
        to.push_back('_');
    }
    for (const char c : key) {
        to.push_back(is_key_character(c) ? c : '_');
    }
}

void append_logfmt_value(std::string_view value, log_buffer& to) {
    std::string escaped;
    if (!is_plain(value)) [[unlikely]] {
        escape(value, escaped);
        value = escaped;
    }
    if (!value.empty() && value.find_first_of(" \"=") == std::string_view::npos) [[likely]] {
        to.append(value);
        return;
    }
    to.push_back('"');
    for (const char c : value) {
        if (c == '"') {
            to.push_back('\\');
        }
        to.push_back(c);
    }
    to.push_back('"');
}

void append_logfmt_fields(std::string_view fields, log_buffer& to) {
    for_each_field(fields, [&](const log_field_view& field) {
        if (field.kind <= log_field_kind::boolean) {
            to.push_back(' ');
            append_logfmt_key(field.key, to);
            to.push_back('=');
            append_logfmt_value(field.value, to);
        }
    });
}

} // namespace sapwood::detail
