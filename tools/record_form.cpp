#include "record_form.hpp"

#include "line_filter.hpp"

#include <sapwood/escape.hpp>

#include <algorithm>
#include <fmt/format.h>
#include <iterator>
#include <stdexcept>
#include <unistd.h>
#include <utility>

namespace sapwood::tools {

namespace {

/// The same text, whatever is in it.
void append_json_string(std::string_view text, std::string& to) {
    to += '"';
    for (const char c : text) {
        if (c == '"' || c == '\\') {
            to += '\\';
            to += c;
        } else if (static_cast<unsigned char>(c) < 0x20 || c == '\x7f') {
            fmt::format_to(std::back_inserter(to), "\\u{:04x}", static_cast<unsigned char>(c));
        } else {
            to += c;
        }
    }
    to += '"';
}

/// Text that is not UTF-8 cannot be JSON's: it goes as escape() has it, and its name says so.
void append_member(std::string_view name, std::string_view text, std::string& to) {
    std::string escaped;
    const bool is_broken = !is_utf8(text);
    if (is_broken) {
        escape(text, escaped);
        text = escaped;
    }
    fmt::format_to(std::back_inserter(to), "\"{}{}\":", name, is_broken ? "_escaped" : "");
    append_json_string(text, to);
}

int severity_of(level importance) noexcept {
    switch (importance) {
    case level::trace:
    case level::debug:
        return 7;
    case level::warning:
        return 4;
    case level::error:
        return 3;
    case level::critical:
        return 2;
    case level::info:
    case level::off:
        break;
    }
    return 6;
}

std::string host_name() {
    char name[256] = {};
    if (::gethostname(name, sizeof(name) - 1) != 0 || name[0] == '\0') {
        return "-";
    }
    return name;
}

} // namespace

record_form::record_form(record_form_options options)
    : options_(std::move(options)),
      host_(host_name()) {
    constexpr std::size_t app_bytes_max = 48; // RFC 5424
    const auto is_printable = [](char c) { return c > ' ' && c < '\x7f'; };
    if (options_.as == record_form_options::kind::syslog &&
        (options_.tag.size() > app_bytes_max || !std::ranges::all_of(options_.tag, is_printable))) {
        throw std::invalid_argument(fmt::format(
            "--tag is at most {} printable characters without spaces in syslog", app_bytes_max));
    }
}

void record_form::append(std::string_view line, std::string& to) {
    switch (options_.as) {
    case record_form_options::kind::line:
        if (line.find('\n') != line.npos) {
            append_json(line, to); // one record stays one line
            break;
        }
        to += line;
        to += '\n';
        break;
    case record_form_options::kind::json:
        append_json(line, to);
        break;
    case record_form_options::kind::syslog:
        append_syslog(line, to);
        break;
    }
}

void record_form::append_json(std::string_view line, std::string& to) {
    const bool is_object = line.starts_with('{') && line.ends_with('}') &&
                           parser_.parse(line).is == log_line::form::json;
    const std::string_view members = is_object ? line.substr(1) : std::string_view();
    to += '{';
    if (options_.importance && !(is_object && parser_.field("level"))) {
        fmt::format_to(std::back_inserter(to), "\"level\":\"{}\",",
                       to_string(*options_.importance));
    }
    if (!options_.tag.empty() && !(is_object && parser_.field("tag"))) {
        append_member("tag", options_.tag, to);
        to += ',';
    }
    if (is_object) {
        if (members.find_first_not_of(" \t}") == members.npos && to.ends_with(',')) {
            to.pop_back();
        }
        to += members;
    } else {
        append_member("message", line, to);
        to += '}';
    }
    to += '\n';
}

void record_form::append_syslog(std::string_view line, std::string& to) const {
    constexpr int user_facility = 1;
    const int priority = user_facility * 8 + severity_of(options_.importance.value_or(level::info));
    const std::string message =
        fmt::format("<{}>1 {}Z {} {} {} - - {}", priority, time_text(now_ns(), 6, 'T'), host_,
                    options_.tag.empty() ? "-" : options_.tag, ::getpid(), line);
    fmt::format_to(std::back_inserter(to), "{} {}", message.size(), message);
}

} // namespace sapwood::tools
