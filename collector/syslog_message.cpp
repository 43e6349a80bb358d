#include "syslog_message.hpp"

#include <algorithm>
#include <array>
#include <cstddef>

namespace sapwood::collector {

namespace {

constexpr std::array<std::string_view, 24> facilities = {
    "kern",   "user",   "mail",     "daemon", "auth",   "syslog", "lpr",    "news",
    "uucp",   "cron",   "authpriv", "ftp",    "ntp",    "audit",  "alert",  "clock",
    "local0", "local1", "local2",   "local3", "local4", "local5", "local6", "local7"};

constexpr std::array<level, 8> severities = {level::critical, level::critical, level::critical,
                                             level::error,    level::warning,  level::info,
                                             level::info,     level::debug};

bool is_syslog_digit(char c) noexcept {
    return c >= '0' && c <= '9';
}

bool is_letter(char c) noexcept {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/// Takes `<13>` from the front.
void take_priority(std::string_view& rest, syslog_message& to) noexcept {
    const auto end = rest.substr(0, 5).find('>');
    if (rest.empty() || rest.front() != '<' || end == rest.npos || end < 2) {
        return;
    }
    int priority = 0;
    for (const char c : rest.substr(1, end - 1)) {
        if (!is_syslog_digit(c)) {
            return;
        }
        priority = priority * 10 + (c - '0');
    }
    if (priority > 191) {
        return;
    }
    to.facility = priority / 8;
    to.importance = level_of_severity(static_cast<unsigned>(priority % 8));
    rest.remove_prefix(end + 1);
}

/// Takes a word and the space behind it. Empty, and nothing taken, where there is none.
std::string_view take_word(std::string_view& rest) noexcept {
    const auto end = rest.find(' ');
    if (end == rest.npos || end == 0) {
        return {};
    }
    const std::string_view word = rest.substr(0, end);
    rest.remove_prefix(end + 1);
    return word;
}

std::string_view unless_nil(std::string_view word) noexcept {
    return word == "-" ? std::string_view() : word;
}

/// How long the structured data is that `rest` begins with: `-`, or elements in brackets, in whose
/// quoted values a bracket, a quote and a backslash have a backslash before them. 0: it is none.
std::size_t data_bytes(std::string_view rest) noexcept {
    if (rest.starts_with('-')) {
        return 1;
    }
    std::size_t end = 0;
    while (end < rest.size() && rest[end] == '[') {
        bool is_quoted = false;
        for (++end; end < rest.size() && (is_quoted || rest[end] != ']'); ++end) {
            if (is_quoted && rest[end] == '\\') {
                ++end;
            } else if (rest[end] == '"') {
                is_quoted = !is_quoted;
            }
        }
        if (end >= rest.size()) {
            return 0;
        }
        ++end;
    }
    return end;
}

/// Behind `<13>1 `. False where it is not RFC 5424 after all.
bool parse_5424(std::string_view rest, syslog_message& to) noexcept {
    std::array<std::string_view, 5> words; // time, host, app, process, kind
    for (std::string_view& each : words) {
        each = take_word(rest);
        if (each.empty()) {
            return false;
        }
    }
    const std::size_t data = data_bytes(rest);
    if (data == 0 || (data < rest.size() && rest[data] != ' ')) {
        return false;
    }
    to.sent = unless_nil(words[0]);
    to.host = unless_nil(words[1]);
    to.app = unless_nil(words[2]);
    to.process = unless_nil(words[3]);
    to.kind = unless_nil(words[4]);
    to.data = unless_nil(rest.substr(0, data));
    rest.remove_prefix(std::min(data + 1, rest.size()));
    constexpr std::string_view byte_order_mark = "\xef\xbb\xbf";
    if (rest.starts_with(byte_order_mark)) {
        rest.remove_prefix(byte_order_mark.size());
    }
    to.text = rest;
    return true;
}

/// `Nov 26 21:05:07 `, or one of RFC 3339 with a space behind it, as rsyslog sends it.
bool take_time(std::string_view& rest, syslog_message& to) noexcept {
    constexpr std::string_view form = "Aaa d1 11:11:11 ";
    const bool is_classic =
        rest.size() >= form.size() &&
        std::equal(form.begin(), form.end(), rest.begin(), [](char wanted, char is) {
            switch (wanted) {
            case 'A':
            case 'a':
                return is_letter(is);
            case 'd':
                return is == ' ' || is_syslog_digit(is);
            case '1':
                return is_syslog_digit(is);
            default:
                return wanted == is;
            }
        });
    if (is_classic) {
        to.sent = rest.substr(0, form.size() - 1);
        rest.remove_prefix(form.size());
        return true;
    }
    constexpr std::string_view date = "2026-11-26T21:05:07";
    const auto end = rest.find(' ');
    if (end == rest.npos || end < date.size() || end > 40 || rest[4] != '-' || rest[10] != 'T' ||
        rest[13] != ':' || !is_syslog_digit(rest.front())) {
        return false;
    }
    to.sent = rest.substr(0, end);
    rest.remove_prefix(end + 1);
    return true;
}

bool are_digits(std::string_view text) noexcept {
    return !text.empty() && std::ranges::all_of(text, is_syslog_digit);
}

/// Takes `app[12]: `, `app: `, or `app[12]:` with the text right behind it. Without a number a
/// space must follow: times and addresses have colons, too, and texts have brackets.
bool take_tag(std::string_view& rest, syslog_message& to) noexcept {
    std::string_view tag = rest.substr(0, rest.find(' '));
    const auto bracket = tag.find('[');
    const auto end = bracket == tag.npos || bracket == 0 ? tag.npos : tag.find("]:", bracket);
    if (end != tag.npos &&
        (end + 2 == tag.size() || are_digits(tag.substr(bracket + 1, end - bracket - 1)))) {
        to.app = tag.substr(0, bracket);
        to.process = tag.substr(bracket + 1, end - bracket - 1);
        tag = tag.substr(0, end + 2);
    } else if (tag.size() < 2 || tag.back() != ':') {
        return false;
    } else {
        to.app = tag.substr(0, tag.size() - 1);
    }
    rest.remove_prefix(tag.size());
    if (rest.starts_with(' ')) {
        rest.remove_prefix(1);
    }
    return true;
}

void parse_3164(std::string_view rest, syslog_message& to) noexcept {
    if (take_time(rest, to) && !take_tag(rest, to)) {
        std::string_view behind = rest;
        const std::string_view host = take_word(behind);
        if (!host.empty() && take_tag(behind, to)) {
            to.host = host;
            rest = behind;
        }
    }
    to.text = rest;
}

} // namespace

syslog_message syslog_message::parse(std::string_view message) noexcept {
    while (!message.empty() && (message.back() == '\0' || message.back() == '\n')) {
        message.remove_suffix(1);
    }
    syslog_message made;
    take_priority(message, made);
    if (made.facility >= 0 && message.starts_with("1 ") && parse_5424(message.substr(2), made)) {
        return made;
    }
    parse_3164(message, made);
    return made;
}

level level_of_severity(unsigned severity) noexcept {
    return severities[severity % severities.size()];
}

std::string_view facility_name(int facility) noexcept {
    return facility < 0 || facility >= static_cast<int>(facilities.size())
               ? std::string_view()
               : facilities[static_cast<std::size_t>(facility)];
}

} // namespace sapwood::collector
