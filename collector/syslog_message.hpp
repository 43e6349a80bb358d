// syslog_message: what RFC 5424, RFC 3164 and the many that are neither say of a message. Nothing
// is refused and nothing is lost: what is not understood is text. Views into the message. Any
// thread.
#pragma once

#include <sapwood/level.hpp>

#include <string_view>

namespace sapwood::collector {

struct syslog_message {
    level importance = level::info;
    /// 0 to 23; -1 where it has no priority.
    int facility = -1;
    /// When it was sent, as its sender writes it: a line's own time is that of arrival. Empty where
    /// it does not say, as all that follows.
    std::string_view sent;
    std::string_view host;
    std::string_view app;
    std::string_view process;
    std::string_view kind;
    /// Structured data, with its brackets.
    std::string_view data;
    std::string_view text;

    /// A NUL or a newline at the end, as some send it, is none of it.
    [[nodiscard]] static syslog_message parse(std::string_view message) noexcept;
};

/// Of one of syslog's eight severities, 0 to 7.
[[nodiscard]] level level_of_severity(unsigned severity) noexcept;

/// `auth`, `local0`; empty for none.
[[nodiscard]] std::string_view facility_name(int facility) noexcept;

} // namespace sapwood::collector
