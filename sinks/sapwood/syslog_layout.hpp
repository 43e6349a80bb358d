// syslog_layout: a record as a syslog message, in the form of RFC 3164, as syslog(3) of glibc has
// it, or of RFC 5424 with the record's fields as structured data. For syslog_log_sink, which is the
// machine's own daemon, and, over the network, for udp_log_sink and tcp_log_sink with octet
// counting (RFC 5426, RFC 6587).
#pragma once

#include <sapwood/log_record.hpp>
#include <sapwood/text_layout.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <syslog.h>

namespace sapwood {

enum class syslog_format : std::uint8_t {
    /// `<14>Nov 21 22:39:56 app[1234]: message key=value`, in local time.
    rfc3164,
    /// `<14>1 2026-11-21T22:39:56.123456Z host app 1234 logger [fields@32473 key="value"] message`
    rfc5424,
};

/// The severity of RFC 5424, which is syslog(3)'s priority: LOG_DEBUG and so on.
[[nodiscard]] constexpr int syslog_severity(level importance) noexcept {
    switch (importance) {
    case level::trace:
    case level::debug:
        return LOG_DEBUG;
    case level::info:
        return LOG_INFO;
    case level::warning:
        return LOG_WARNING;
    case level::error:
        return LOG_ERR;
    case level::critical:
    case level::off:
        break;
    }
    return LOG_CRIT;
}

/// The program's name as the system has it.
[[nodiscard]] std::string program_name();

struct syslog_layout_options {
    syslog_format format = syslog_format::rfc3164;
    /// LOG_USER, LOG_DAEMON, LOG_LOCAL0 and so on of <syslog.h>.
    int facility = LOG_USER;
    /// Who logs; by default the program's name.
    std::string ident = {};
    /// Whether the process's number stands behind it.
    bool pid = true;
    /// In RFC 5424, this machine's where it is empty. In RFC 3164, none where it is empty, as it
    /// has to be on the way to the machine's own daemon.
    std::string host = {};
    /// In RFC 5424: the name of the element that holds a record's fields, `name@number` with the
    /// private enterprise number (IANA's) of who defines it. 32473 is the one for examples.
    std::string structured_data_id = "fields@32473";
};

class syslog_layout final : public log_layout {
  public:
    /// Throws std::invalid_argument that names the option.
    explicit syslog_layout(syslog_layout_options options = {});

    void append(const log_record& record, log_buffer& to) override;

  private:
    void append_rfc3164(const log_record& record, log_buffer& to);
    void append_rfc5424(const log_record& record, log_buffer& to);
    void append_structured_data(const log_record& record, log_buffer& to) const;

    syslog_layout_options options_;
    /// The second that time_text_ is.
    std::int64_t second_ = -1;
    std::string time_text_;
    text_layout message_{{.pattern = "%*%v"}};
};

} // namespace sapwood
