#include "log_line.hpp"

#include "log_line_json.hpp"

#include <sapwood/log_escape.hpp>
#include <sapwood/numbered_line.hpp>

#include <algorithm>
#include <charconv>
#include <utility>

namespace sapwood::tools {

namespace {

/// Behind the time of a line of text: `1234 info` is sapwood's, `[app] [info]` others'.
constexpr int words_before_level = 3;

/// The collector's words for the ways by which records come; words of its own follow.
constexpr std::string_view source_kinds[] = {"http", "unix", "tcp", "udp", "amqp"};

/// What the kernel says of who comes by a Unix socket, where it says anything.
constexpr std::string_view kernel_keys[] = {"pid", "uid", "gid"};

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

/// What the brackets before a message hold, where the collector has written them; empty otherwise.
/// It writes a producer before each of its lines, 0 where it knows none, and other loggers may
/// have a word of its own in brackets.
std::string_view source_in(std::string_view message, std::string_view producer) noexcept {
    const std::size_t end = message.find(']');
    if (!message.starts_with('[') || end == message.npos) {
        return {};
    }
    const std::string_view found = message.substr(1, end - 1);
    // AMQP is others' word, too, and what follows it is a name, as anything may be.
    const bool is_plain = found.find(' ') != found.npos && !found.starts_with("amqp ");
    return is_source(found) && (is_plain || producer == "0") ? found : std::string_view();
}

/// A key of logfmt, as it stands there or as a log has had to write it, is what is asked for.
bool is_same_key(std::string_view found, std::string_view key) {
    if (found == key || found.find('\\') == found.npos) {
        return found == key;
    }
    log_buffer escaped(2 * found.size());
    detail::append_logfmt_key(key, escaped);
    return found == escaped.text();
}

/// A field of logfmt that has the name of one of the line's own stands behind `fields.`.
bool is_named(std::string_view found, std::string_view key) {
    constexpr std::string_view prefix = "fields.";
    return is_same_key(found, key) ||
           (found.starts_with(prefix) && is_same_key(found.substr(prefix.size()), key));
}

std::optional<std::string_view> logfmt_field(std::string_view text, std::string_view key) {
    std::string_view found;
    std::string_view value;
    while (take_logfmt(text, found, value)) {
        if (is_named(found, key)) {
            return value;
        }
    }
    return std::nullopt;
}

/// Whether this is the kernel's to say of who has sent: then it said nothing where it is not there.
bool is_kernels(std::string_view key, std::string_view from) {
    return std::ranges::find(kernel_keys, key) != std::end(kernel_keys) &&
           (from.substr(0, from.find(' ')) == "unix" || logfmt_field(from, "uid"));
}

/// The time of a line of logfmt, as a text or as a number. A small one is a duration, as
/// `time=0.035` of a request: seconds have nine digits since 1973.
std::optional<std::int64_t> logfmt_time(std::string_view value, time_reader& reader) noexcept {
    std::string_view text = value;
    const auto time = reader.take(text);
    if (time) {
        return time;
    }
    constexpr double duration_max = 1e8;
    const char* const end = value.data() + value.size();
    double number = 0;
    const auto read = std::from_chars(value.data(), end, number);
    const bool is_time = read.ec == std::errc() && read.ptr == end && number >= duration_max;
    return is_time ? time_since_epoch(number) : std::nullopt;
}

} // namespace

std::string_view without_quotes(std::string_view value, std::string& into) {
    if (value.find("\\\"") == value.npos) {
        return value;
    }
    into.clear();
    for (std::size_t i = 0; i < value.size(); ++i) {
        if (value[i] == '\\' && i + 1 < value.size()) {
            into.append(value[i + 1] == '"' ? "" : "\\");
            ++i;
        }
        into += value[i];
    }
    return into;
}

bool is_source(std::string_view text) noexcept {
    const std::string_view kind = text.substr(0, text.find(' '));
    if (kind.size() == text.size()) {
        return kind == "unix" || kind == "sapwood";
    }
    return std::ranges::find(source_kinds, kind) != std::end(source_kinds);
}

std::string_view take_word(std::string_view& text) noexcept {
    const std::size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    return word;
}

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
    line_.from = line_.importance ? source_in(line_.message, line_.thread) : std::string_view();
    if (!line_.from.empty()) {
        line_.message.remove_prefix(std::min(line_.from.size() + 3, line_.message.size()));
        if (line_.message.starts_with('{') && line_.message.ends_with('}')) {
            line_.record = line_.message;
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
        if (!take_head_member(key, value)) {
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

/// Of logfmt. The first of each name is the line's own, and stands before what others have said.
bool line_parser::take_head_member(std::string_view key, std::string_view value) {
    const auto take_first = [value](std::string_view& into) {
        const bool is_first = into.empty();
        into = is_first ? value : into;
        return is_first;
    };
    if (key == "time" || key == "ts") {
        const bool is_first = !line_.time_ns;
        line_.time_ns = is_first ? logfmt_time(value, times_) : line_.time_ns;
        return is_first && line_.time_ns;
    }
    if (key == "level") {
        const bool is_first = !line_.importance;
        line_.importance = is_first ? level_of(value) : line_.importance;
        return is_first && line_.importance;
    }
    if (key == "thread") {
        return take_first(line_.thread);
    }
    if (key == "logger") {
        return take_first(line_.logger);
    }
    if (key == "from") {
        return take_first(line_.from);
    }
    // The collector's line has a message of its own where no record stands behind it.
    const bool is_message =
        key == "message" || key == "msg" || (key == "fields.message" && is_source(line_.from));
    if (is_message && take_first(line_.message)) {
        line_.message = without_quotes(value, message_text_);
        return true;
    }
    return false;
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
    // What the collector knows of its sender comes first: the sender does not say it.
    if (is_source(line_.from)) {
        if (const auto value = logfmt_field(line_.from, key)) {
            return value;
        }
        if (is_kernels(key, line_.from)) {
            return std::nullopt;
        }
    }
    if (line_.is == log_line::form::json) {
        return json_field(key);
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
