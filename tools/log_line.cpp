#include "log_line.hpp"

#include "log_line_json.hpp"

#include <sapwood/numbered_line.hpp>

#include <algorithm>
#include <charconv>
#include <utility>

namespace sapwood::tools {

namespace {

/// Behind the time of a line of text: `1234 info` is sapwood's, `[app] [info]` others'.
constexpr int words_before_level = 3;

std::string_view without_brackets(std::string_view word) noexcept {
    if (word.size() > 2 && word.front() == '[' && (word.back() == ']' || word.ends_with("]:"))) {
        return word.substr(1, word.rfind(']') - 1);
    }
    return word.ends_with(':') ? word.substr(0, word.size() - 1) : word;
}

/// A level that a line may have.
std::optional<level> level_of(std::string_view word) noexcept {
    if (word == "info") { // most are
        return level::info;
    }
    if (word.size() < 3 || word.size() > 8 || (word.front() >= '0' && word.front() <= '9')) {
        return std::nullopt;
    }
    const auto found = parse_level(word);
    return found == level::off ? std::nullopt : found;
}

std::string_view take_word(std::string_view& text) noexcept {
    const std::size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    return word;
}

/// Whether the brackets are the collector's, which says by which way a record has come.
bool is_from(std::string_view text) noexcept {
    return text.starts_with("[http ") || text.starts_with("[unix ") || text.starts_with("[udp ") ||
           text.starts_with("[tcp ");
}

/// A field of logfmt that has the name of one of the line's own stands behind `fields.`.
bool is_named(std::string_view found, std::string_view key) noexcept {
    return found == key || (found.starts_with("fields.") && found.substr(7) == key);
}

std::optional<std::string_view> logfmt_field(std::string_view text, std::string_view key) noexcept {
    std::string_view found;
    std::string_view value;
    while (take_logfmt(text, found, value)) {
        if (is_named(found, key)) {
            return value;
        }
    }
    return std::nullopt;
}

} // namespace

std::string_view take_number(std::string_view line, log_line& into) noexcept {
    using form = numbered_line;
    if (line.size() < form::head_bytes ||
        (line[form::mark_at] != ' ' && line[form::mark_at] != form::mark) ||
        line[form::head_bytes - 1] != ' ') {
        return line;
    }
    const char* const digits = line.data();
    const auto number = std::from_chars(digits, digits + form::lsn_digits, into.number);
    const char* const crc = digits + form::crc_at;
    const auto checksum = std::from_chars(crc, crc + form::crc_digits, into.checksum, 16);
    if (number.ec != std::errc() || number.ptr != digits + form::lsn_digits ||
        checksum.ec != std::errc() || checksum.ptr != crc + form::crc_digits) {
        return line;
    }
    into.is_numbered = true;
    return line.substr(form::head_bytes);
}

bool take_logfmt(std::string_view& text, std::string_view& key, std::string_view& value) noexcept {
    while (!text.empty()) {
        if (text.front() == ' ') {
            text.remove_prefix(1);
            continue;
        }
        const std::size_t end = text.find_first_of(" =\"");
        if (end == text.npos || text[end] != '=' || end == 0) {
            const std::size_t space = text.find(' ');
            text.remove_prefix(space == text.npos ? text.size() : space + 1);
            continue;
        }
        key = text.substr(0, end);
        text.remove_prefix(end + 1);
        if (!text.starts_with('"')) {
            value = take_word(text);
            return true;
        }
        std::size_t quote = 1;
        while (quote < text.size() && text[quote] != '"') {
            quote += text[quote] == '\\' ? 2 : 1;
        }
        value = text.substr(1, std::min(quote, text.size()) - 1);
        text.remove_prefix(std::min(quote + 1, text.size()));
        return true;
    }
    return false;
}

line_parser::line_parser() : json_(json_state::make()) {}

line_parser::~line_parser() = default;

const log_line& line_parser::parse(std::string_view line) {
    line_ = log_line();
    has_fields_ = false;
    if (line.ends_with('\r')) {
        line.remove_suffix(1);
    }
    line_.body = take_number(line, line_);
    if (line_.body.starts_with('{')) {
        parse_json(line_.body);
    } else if (line_.body.starts_with("time=") || line_.body.starts_with("ts=") ||
               line_.body.starts_with("level=")) {
        parse_logfmt(line_.body);
    } else {
        parse_text(line_.body);
    }
    return line_;
}

void line_parser::parse_text(std::string_view body) {
    line_.message = body;
    std::string_view rest = body;
    const bool has_bracket = rest.starts_with('[');
    rest.remove_prefix(has_bracket ? 1 : 0);
    line_.time_ns = times_.take(rest);
    if (!line_.time_ns) {
        return;
    }
    line_.is = log_line::form::text;
    if (has_bracket && rest.starts_with(']')) {
        rest.remove_prefix(1);
    }
    rest.remove_prefix(rest.starts_with(' ') ? 1 : 0);
    line_.message = rest;
    std::string_view words[words_before_level];
    for (std::string_view& word : words) {
        word = without_brackets(take_word(rest));
        line_.importance = level_of(word);
        if (line_.importance) {
            line_.thread = &word == words ? std::string_view() : words[0];
            line_.logger = &word == words + 2 ? words[1] : std::string_view();
            line_.message = rest;
            break;
        }
    }
    if (line_.importance && is_from(line_.message)) {
        const std::size_t end = line_.message.find(']');
        if (end != line_.message.npos) {
            line_.from = line_.message.substr(1, end - 1);
            line_.message.remove_prefix(std::min(end + 2, line_.message.size()));
            if (line_.message.starts_with('{') && line_.message.ends_with('}')) {
                line_.record = line_.message;
            }
        }
    }
}

void line_parser::parse_logfmt(std::string_view body) {
    line_.is = log_line::form::logfmt;
    fields_.clear();
    has_fields_ = true;
    std::string_view key;
    std::string_view value;
    while (take_logfmt(body, key, value)) {
        if (key == "time" || key == "ts") {
            std::string_view text = value;
            line_.time_ns = times_.take(text);
        } else if (key == "level") {
            line_.importance = level_of(value);
        } else if (key == "thread") {
            line_.thread = value;
        } else if (key == "logger") {
            line_.logger = value;
        } else if (key == "from") {
            line_.from = value;
        } else if (line_.message.empty() && (key == "message" || key == "msg")) {
            line_.message = value;
        } else {
            fields_.push_back({key, value, line_field::kind::escaped});
        }
    }
    if (!line_.time_ns && !line_.importance) {
        const log_line parsed = std::exchange(line_, {});
        line_.is_numbered = parsed.is_numbered;
        line_.number = parsed.number;
        line_.checksum = parsed.checksum;
        line_.body = line_.message = parsed.body;
        has_fields_ = false;
    }
}

line_field line_parser::message() {
    (void)fields();
    if (line_.is == log_line::form::json || !line_.record.empty()) {
        return message_;
    }
    return {{}, line_.message, line_field::kind::escaped};
}

const std::vector<line_field>& line_parser::fields() {
    if (!has_fields_) {
        has_fields_ = true;
        fields_.clear();
        message_ = {};
        if (!line_.record.empty()) {
            parse_record();
        }
        if (line_.is == log_line::form::json || !line_.record.empty()) {
            collect_json();
        }
    }
    return fields_;
}

std::optional<std::string_view> line_parser::field(std::string_view key) {
    const auto unless_empty = [](std::string_view value) {
        return value.empty() ? std::nullopt : std::optional(value);
    };
    if (key == "level") {
        return line_.importance ? std::optional(to_string(*line_.importance)) : std::nullopt;
    }
    if (key == "thread") {
        return unless_empty(line_.thread);
    }
    if (key == "logger" && !line_.logger.empty()) {
        return line_.logger;
    }
    if (key == "from" && !line_.from.empty()) {
        return line_.from;
    }
    if (key == "message") {
        return message().value;
    }
    if (line_.is == log_line::form::json) {
        return json_field(key);
    }
    // What the collector knows of its sender comes first: the sender does not say it.
    if (line_.is == log_line::form::text) {
        if (const auto value = logfmt_field(line_.from, key)) {
            return value;
        }
    }
    if (!line_.record.empty()) {
        parse_record();
    }
    if (!line_.record.empty()) { // it was JSON
        if (const auto value = json_field(key)) {
            return value;
        }
    }
    return text_field(key);
}

std::optional<std::string_view> line_parser::text_field(std::string_view key) {
    if (line_.is == log_line::form::logfmt) {
        for (const line_field& each : fields()) {
            if (is_named(each.key, key)) {
                return each.value;
            }
        }
        return std::nullopt;
    }
    return logfmt_field(line_.message, key);
}

} // namespace sapwood::tools
