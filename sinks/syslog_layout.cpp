#include <sapwood/syslog_layout.hpp>

#include "logfmt_names.hpp"

#include <sapwood/log_action_view.hpp>
#include <sapwood/log_escape.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <ctime>
#include <fmt/format.h>
#include <iterator>
#include <stdexcept>
#include <unistd.h>
#include <utility>

namespace sapwood {

namespace {

// RFC 5424, section 6.
constexpr std::size_t host_bytes_max = 255;
constexpr std::size_t ident_bytes_max = 48;
constexpr std::size_t message_id_bytes_max = 32;
constexpr std::size_t sd_name_bytes_max = 32;

/// PRINTUSASCII, without what `not_these` has.
std::string printable(std::string_view text, std::size_t bytes_max, std::string_view not_these) {
    std::string made(text.substr(0, bytes_max));
    for (char& c : made) {
        const bool holds = c > ' ' && c < 0x7f && not_these.find(c) == std::string_view::npos;
        c = holds ? c : '_';
    }
    return made;
}

std::string host_name() {
    char name[256] = {};
    return ::gethostname(name, sizeof(name) - 1) == 0 ? name : "";
}

std::string_view or_nil(std::string_view text) noexcept {
    return text.empty() ? "-" : text;
}

} // namespace

std::string program_name() {
    return ::program_invocation_short_name;
}

syslog_layout::syslog_layout(syslog_layout_options options) : options_(std::move(options)) {
    if ((options_.facility & ~LOG_FACMASK) != 0 || options_.facility > LOG_LOCAL7) {
        throw std::invalid_argument("syslog_layout_options: facility must be one of <syslog.h>'s "
                                    "LOG_USER, LOG_DAEMON and so on");
    }
    if (options_.ident.empty()) {
        options_.ident = program_name();
    }
    // A colon or a bracket would end the tag.
    options_.ident = printable(options_.ident, ident_bytes_max, ":[]");
    const bool is_new = options_.format == syslog_format::rfc5424;
    if (options_.host.empty() && is_new) {
        options_.host = host_name();
    }
    options_.host = printable(options_.host, host_bytes_max, "");
    ::tzset(); // localtime_r does not look at TZ again
    if (is_new && (options_.structured_data_id.empty() ||
                   printable(options_.structured_data_id, sd_name_bytes_max, "=]\"") !=
                       options_.structured_data_id)) {
        throw std::invalid_argument("syslog_layout_options: structured_data_id must be 1 to 32 "
                                    "printable characters without =, ] and \"");
    }
}

void syslog_layout::append(const log_record& record, log_buffer& to) {
    fmt::format_to(std::back_inserter(to), "<{}>",
                   options_.facility | syslog_severity(record.importance));
    if (options_.format == syslog_format::rfc3164) {
        append_rfc3164(record, to);
        message_.append(record, to); // with the newline
        return;
    }
    append_rfc5424(record, to); // the fields and the logger's name are in it
    detail::append_escaped(record.message, to);
    to.append(record.is_truncated ? log_record::cut_mark : std::string_view());
    to.append(record.is_own() ? log_record::own_mark : std::string_view());
    to.push_back('\n');
}

void syslog_layout::append_rfc3164(const log_record& record, log_buffer& to) {
    const std::int64_t second =
        std::max<std::int64_t>(record.when.time_since_epoch().count(), 0) / 1'000'000'000;
    if (second != second_) {
        second_ = second;
        // Not strftime, which knows the program's locale.
        constexpr std::array<std::string_view, 12> months{"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                          "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
        const std::time_t time = second;
        std::tm at{};
        ::localtime_r(&time, &at);
        time_text_ =
            fmt::format("{} {:2} {:02}:{:02}:{:02}", months[static_cast<std::size_t>(at.tm_mon)],
                        at.tm_mday, at.tm_hour, at.tm_min, at.tm_sec);
    }
    to.append(time_text_);
    to.push_back(' ');
    if (!options_.host.empty()) {
        to.append(options_.host);
        to.push_back(' ');
    }
    to.append(options_.ident);
    if (options_.pid) {
        fmt::format_to(std::back_inserter(to), "[{}]", ::getpid());
    }
    to.append(": ");
}

void syslog_layout::append_rfc5424(const log_record& record, log_buffer& to) {
    const std::int64_t ns = std::max<std::int64_t>(record.when.time_since_epoch().count(), 0);
    const std::int64_t second = ns / 1'000'000'000;
    if (second != second_) {
        second_ = second;
        const std::time_t time = second;
        std::tm at{};
        ::gmtime_r(&time, &at);
        time_text_ = fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}", at.tm_year + 1900,
                                 at.tm_mon + 1, at.tm_mday, at.tm_hour, at.tm_min, at.tm_sec);
    }
    const std::string message_id =
        record.logger.empty() ? "-" : printable(record.logger, message_id_bytes_max, "");
    fmt::format_to(std::back_inserter(to), "1 {}.{:06}Z {} {} ", time_text_,
                   ns % 1'000'000'000 / 1000, or_nil(options_.host), or_nil(options_.ident));
    if (options_.pid) {
        fmt::format_to(std::back_inserter(to), "{} {} ", ::getpid(), message_id);
    } else {
        fmt::format_to(std::back_inserter(to), "- {} ", message_id);
    }
    append_structured_data(record, to);
}

/// In values `"`, `\` and `]` are escaped, as RFC 5424 wants it; before that, all that may not be
/// in a line, as escape() does it.
void syslog_layout::append_structured_data(const log_record& record, log_buffer& to) const {
    bool is_first = true;
    const auto put = [&](std::string_view key, std::string_view text) {
        if (std::exchange(is_first, false)) {
            to.push_back('[');
            to.append(options_.structured_data_id);
        }
        to.push_back(' ');
        to.append(or_nil(key));
        to.append("=\"");
        std::string value;
        escape(text, value);
        for (const char c : value) {
            if (c == '"' || c == '\\' || c == ']') {
                to.push_back('\\');
            }
            to.push_back(c);
        }
        to.push_back('"');
    };
    detail::for_each_field(record.fields, [&](const detail::log_field_view& field) {
        if (field.kind <= detail::log_field_kind::boolean) {
            std::string key = printable(field.key, sd_name_bytes_max, "=]\"");
            if (detail::is_action_name(key)) { // which it must not forge
                key.insert(0, detail::users_prefix);
            }
            put(key, field.value);
        }
    });
    detail::for_each_action_text(detail::log_action_view::of(record.fields), put);
    to.append(is_first ? "- " : "] ");
}

} // namespace sapwood
