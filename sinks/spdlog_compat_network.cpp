#include <sapwood/spdlog_compat_network.hpp>

#include <sapwood/datagram_log_sink.hpp>
#include <sapwood/journal_log_sink.hpp>
#include <sapwood/stream_log_sink.hpp>
#include <sapwood/syslog_log_sink.hpp>

#include <stdexcept>

namespace sapwood::spdlog_compat {

namespace {

/// A daemon's own form, around the message alone, or around what the pattern makes of the record.
class framed_layout final : public log_layout {
  public:
    framed_layout(std::unique_ptr<log_layout> frame, std::unique_ptr<log_layout> pattern,
                  bool has_own_fields)
        : frame_(std::move(frame)),
          pattern_(std::move(pattern)),
          has_own_fields_(has_own_fields) {}

    void append(const log_record& record, log_buffer& to) override {
        log_record shown = record;
        if (!has_own_fields_) { // the pattern has shown what there is of them
            shown.logger = {};
            shown.fields = {};
        }
        if (pattern_ != nullptr) {
            line_.cut(0);
            pattern_->append(record, line_);
            shown.message = line_.text().substr(0, line_.size() - 1);
            shown.is_known_plain = true; // it is escaped
            shown.is_truncated = false;
        }
        frame_->append(shown, to);
    }

    [[nodiscard]] bool wants_location() const noexcept override { return frame_->wants_location(); }

  private:
    const std::unique_ptr<log_layout> frame_;
    const std::unique_ptr<log_layout> pattern_;
    const bool has_own_fields_;
    log_buffer line_{512};
};

details::form_frame frame_of(bool enable_formatting, bool has_own_fields) {
    return [=](std::unique_ptr<log_layout> own, std::unique_ptr<log_layout> pattern) {
        return std::make_unique<framed_layout>(
            std::move(own), enable_formatting ? std::move(pattern) : nullptr, has_own_fields);
    };
}

std::unique_ptr<log_sink> syslog_of(const std::string& ident, int options, int facility,
                                    const std::string& socket) {
    syslog_log_sink_options daemon; // not as one expression, of which gcc 12 warns
    daemon.form.facility = facility;
    daemon.form.ident = ident;
    daemon.form.pid = (options & LOG_PID) != 0;
    daemon.path = socket;
    try {
        return std::make_unique<syslog_log_sink>(std::move(daemon));
    } catch (const std::invalid_argument& error) {
        throw spdlog_ex(error.what());
    }
}

} // namespace

namespace sinks {

syslog_daemon::syslog_daemon(const std::string& ident, int options, int facility,
                             bool enable_formatting, const std::string& socket)
    : log_backed_sink(syslog_of(ident, options, facility, socket), false,
                      frame_of(enable_formatting, false)) {}

systemd_journal::systemd_journal(const std::string& ident, bool enable_formatting,
                                 const std::string& socket)
    : log_backed_sink(std::make_unique<journal_log_sink>(
                          journal_log_sink_options{.ident = ident, .path = socket}),
                      false, frame_of(enable_formatting, true)) {}

tcp_connection::tcp_connection(const tcp_sink_config& config)
    : log_backed_sink(std::make_unique<tcp_log_sink>(
          tcp_log_sink_options{.host = config.server_host,
                               .port = std::to_string(config.server_port),
                               .stream = {.must_connect = !config.lazy_connect}})) {}

udp_datagrams::udp_datagrams(const udp_sink_config& config)
    : log_backed_sink(std::make_unique<udp_log_sink>(udp_log_sink_options{
          .host = config.server_host, .port = std::to_string(config.server_port)})) {}

} // namespace sinks

} // namespace sapwood::spdlog_compat
