#include "line_printer.hpp"

#include <sapwood/escape.hpp>
#include <sapwood/log_escape.hpp>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <fmt/format.h>
#include <iterator>
#include <poll.h>
#include <system_error>
#include <unistd.h>

namespace sapwood::tools {

namespace {

constexpr std::array<std::string_view, 7> colours{
    "\x1b[2m", "\x1b[36m", "\x1b[32m", "\x1b[33m", "\x1b[31m", "\x1b[1;37;41m", ""};

/// A value of a field, as logfmt has it.
void append_value(const line_field& field, log_buffer& to) {
    if (field.is == line_field::kind::text) {
        detail::append_logfmt_value(field.value, to);
        return;
    }
    const bool is_plain_word =
        !field.value.empty() && (field.is == line_field::kind::bare ||
                                 field.value.find_first_of(" \"=") == field.value.npos);
    if (is_plain_word) {
        append_shown(field.value, to);
    } else {
        to.push_back('"');
        append_shown(field.value, to);
        to.push_back('"');
    }
}

} // namespace

std::string_view colour_of(level importance) noexcept {
    return colours[static_cast<std::size_t>(importance)];
}

void tool_output::flush() {
    std::string_view rest = buffer_.text();
    while (!rest.empty()) {
        const ssize_t put = ::write(STDOUT_FILENO, rest.data(), rest.size());
        if (put >= 0) {
            rest.remove_prefix(static_cast<std::size_t>(put));
        } else if (errno == EAGAIN) {
            pollfd wait{STDOUT_FILENO, POLLOUT, 0};
            ::poll(&wait, 1, -1);
        } else if (errno != EINTR) {
            buffer_.cut(0);
            throw std::system_error(errno, std::generic_category(), "cannot write the output");
        }
    }
    buffer_.cut(0);
}

bool tool_output::is_terminal() noexcept {
    return ::isatty(STDOUT_FILENO) == 1;
}

bool wants_colour(std::string_view when) {
    const char* const no_colour = std::getenv("NO_COLOR");
    return when == "always" || (when != "never" && tool_output::is_terminal() &&
                                (no_colour == nullptr || *no_colour == '\0'));
}

line_printer::line_printer(line_style style, bool colour, log_buffer& to)
    : style_(style),
      colour_(colour),
      is_terminal_(tool_output::is_terminal()),
      to_(to) {}

void line_printer::print(std::string_view whole, const log_line& line, line_parser& parser) {
    switch (style_) {
    case line_style::raw:
        is_terminal_ ? append_shown(whole, to_) : to_.append(whole);
        break;
    case line_style::json:
        print_json(line, parser);
        break;
    case line_style::text:
        if (line.is == log_line::form::text && line.record.empty()) {
            print_text(line, parser);
        } else if (line.is == log_line::form::none) {
            append_shown(line.body, to_);
        } else {
            print_rendered(line, parser);
        }
        break;
    }
    to_.push_back('\n');
}

void line_printer::print_level(level importance) {
    if (colour_) {
        to_.append(colour_of(importance));
        to_.append(to_string(importance));
        to_.append(colour_end);
    } else {
        to_.append(to_string(importance));
    }
}

/// As it stands there, with the level coloured.
void line_printer::print_text(const log_line& line, line_parser&) {
    if (!colour_ || !line.importance || line.message.size() > line.body.size()) {
        append_shown(line.body, to_);
        return;
    }
    const std::string_view before = line.body.substr(
        0, line.body.size() - line.message.size() - (line.from.empty() ? 0 : line.from.size() + 3));
    const std::string_view behind = line.body.substr(before.size());
    // The level is the last word before the message.
    const std::size_t end = before.find_last_not_of(" ]:");
    const std::size_t begin = end == before.npos ? before.npos : before.find_last_of(" [", end);
    if (begin == before.npos) {
        append_shown(line.body, to_);
        return;
    }
    append_shown(before.substr(0, begin + 1), to_);
    to_.append(colour_of(*line.importance));
    append_shown(before.substr(begin + 1, end - begin), to_);
    to_.append(colour_end);
    append_shown(before.substr(end + 1), to_);
    append_shown(behind, to_);
}

/// As the text layout would have written it.
void line_printer::print_rendered(const log_line& line, line_parser& parser) {
    if (line.time_ns) {
        to_.append(time_text(*line.time_ns));
        to_.push_back(' ');
    }
    if (!line.thread.empty()) {
        append_shown(line.thread, to_);
        to_.push_back(' ');
    }
    if (line.importance) {
        print_level(*line.importance);
        to_.push_back(' ');
    }
    if (!line.logger.empty()) {
        append_shown(line.logger, to_);
        to_.push_back(' ');
    }
    if (!line.from.empty()) {
        to_.push_back('[');
        append_shown(line.from, to_);
        to_.append("] ");
    }
    const line_field message = parser.message();
    if (message.is == line_field::kind::text) {
        detail::append_escaped(message.value, to_);
    } else {
        append_shown(message.value, to_);
    }
    bool is_first = message.value.empty();
    for (const line_field& each : parser.fields()) {
        if (!std::exchange(is_first, false)) {
            to_.push_back(' ');
        }
        if (line.is == log_line::form::logfmt) {
            append_shown(each.key, to_); // it is escaped already
        } else {
            detail::append_logfmt_key(each.key, to_);
        }
        to_.push_back('=');
        append_value(each, to_);
    }
}

void line_printer::print_json(const log_line& line, line_parser& parser) {
    // What a program reads stays JSON; shown, its control characters may not be so any more.
    const auto json = [this](std::string_view text) {
        is_terminal_ ? append_shown(text, to_) : to_.append(text);
    };
    if (line.is == log_line::form::json) {
        json(line.body);
        return;
    }
    to_.push_back('{');
    bool is_first = true;
    const auto name = [&](std::string_view key) {
        if (!std::exchange(is_first, false)) {
            to_.push_back(',');
        }
        append_json_text(key, to_);
        to_.push_back(':');
    };
    const auto member = [&](std::string_view key, std::string_view text) {
        if (!text.empty()) {
            name(key);
            append_json_text(text, to_);
        }
    };
    if (line.is_numbered) {
        name("number");
        fmt::format_to(std::back_inserter(to_), "{}", line.number);
    }
    if (line.time_ns) {
        member("time", time_text(*line.time_ns, 9, 'T') + "Z");
    }
    if (line.importance) {
        member("level", to_string(*line.importance));
    }
    member("thread", line.thread);
    member("logger", line.logger);
    member("from", line.from);
    // A sender may have made it look like an object of JSON: then it becomes text by this.
    const auto& fields = parser.fields();
    if (!line.record.empty()) {
        name("record");
        json(line.record);
    } else {
        name("message");
        append_json_text(line.message, to_);
        if (!fields.empty()) {
            name("fields");
            to_.push_back('{');
            is_first = true;
            std::string text;
            for (const line_field& each : fields) { // also those that are empty
                name(each.key);
                append_json_text(without_quotes(each.value, text), to_);
            }
            to_.push_back('}');
        }
    }
    to_.push_back('}');
}

void append_shown(std::string_view text, log_buffer& to) {
    if (is_plain(text)) [[likely]] {
        to.append(text);
        return;
    }
    std::string escaped;
    while (!text.empty()) {
        const std::size_t backslash = text.find('\\');
        const std::string_view piece = text.substr(0, backslash);
        if (is_plain(piece)) {
            to.append(piece);
        } else {
            escaped.clear();
            escape(piece, escaped);
            to.append(escaped);
        }
        if (backslash == text.npos) {
            return;
        }
        to.push_back('\\');
        text.remove_prefix(backslash + 1);
    }
}

void append_json_text(std::string_view text, log_buffer& to) {
    std::string escaped;
    if (!is_utf8(text)) {
        escape(text, escaped);
        text = escaped;
    }
    std::string safe; // what escape() finds dangerous and JSON does not
    to.push_back('"');
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = std::min(text.find_first_of("\"\\", at), text.size());
        const std::string_view piece = text.substr(at, end - at);
        if (is_plain(piece)) {
            to.append(piece);
        } else {
            safe.clear();
            escape(piece, safe);
            for (const char c : safe) {
                c == '\\' ? to.append("\\\\") : to.push_back(c);
            }
        }
        if (end < text.size()) {
            to.push_back('\\');
            to.push_back(text[end]);
        }
        at = end + 1;
    }
    to.push_back('"');
}

} // namespace sapwood::tools
