#include <sapwood/log_escape.hpp>

#include <sapwood/log_action_view.hpp>

#include <string>

namespace sapwood::detail {

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
        return;
    }
    if (key == "_") {
        to.append("\\x5f");
        return;
    }
    std::string escaped;
    if (!is_plain(key)) [[unlikely]] {
        escape(key, escaped);
        key = escaped;
    }
    for (const char c : key) {
        switch (c) {
        case ' ':
            to.append("\\x20");
            break;
        case '"':
            to.append("\\x22");
            break;
        case '=':
            to.append("\\x3d");
            break;
        default:
            to.push_back(c);
        }
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

void append_action_texts(std::string_view fields, log_buffer& to) {
    for_each_action_text(log_action_view::of(fields),
                         [&](std::string_view name, std::string_view text) {
                             to.push_back(' ');
                             to.append(name);
                             to.push_back('=');
                             append_logfmt_value(text, to);
                         });
}

} // namespace sapwood::detail
