// line_session: one connection that sends lines and is told nothing: text or JSON, or syslog
// messages over TCP (RFC 6587), each preceded by its length, ended by a NUL, or by a newline, as
// the first piece that comes shows. A log that is full holds the sender up. Loop thread only.
#pragma once

#include "connection.hpp"
#include "named_log.hpp"
#include "peer_stream.hpp"
#include "source.hpp"

#include <memory>
#include <string>
#include <string_view>

namespace sapwood::collector {

enum class line_kind : std::uint8_t {
    /// A line that is a JSON object is a record; any other one is text.
    any,
    syslog,
};

class line_session final : public connection {
  public:
    line_session(intake& shared, named_log& to, line_kind kind, std::unique_ptr<peer_stream> peer,
                 source from);

    [[nodiscard]] task<> run() override;

    /// What has come of a line that does not end is kept as a line when the connection ends; but
    /// whether it was whole nobody knows.
    [[nodiscard]] bool is_idle() const noexcept override { return is_waiting_ && pending_.empty(); }

  private:
    enum class framing : std::uint8_t { unknown, newline, nul, counted };

    task<> take(std::string_view input, bool is_last);
    task<> take_line(std::string_view line, bool is_cut);
    [[nodiscard]] std::string_view next_line(std::string_view& input);
    [[nodiscard]] bool next_counted(std::string_view& input, std::string_view& message);

    intake& intake_;
    named_log& log_;
    const line_kind kind_;
    const std::unique_ptr<peer_stream> stream_;
    const source source_;
    framing framing_ = framing::newline;
    bool is_waiting_ = true;
    /// The rest of a line that was too long is not wanted.
    bool is_skipping_ = false;
    std::string pending_;
};

/// A message of syslog as a record of `log`.
[[nodiscard]] record encode_syslog(named_log& log, const source& from, std::string_view message,
                                   bool is_cut);

} // namespace sapwood::collector
