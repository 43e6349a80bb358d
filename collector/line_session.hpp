// line_session: one connection that sends lines and is told nothing: text or JSON, or syslog
// messages over TCP (RFC 6587). A log that is full holds the sender up. What was taken when it is
// told to end goes into the log if there is room, and is counted as left otherwise. Loop thread
// only.
#pragma once

#include "connection.hpp"
#include "line_splitter.hpp"
#include "named_log.hpp"
#include "source.hpp"

#include <tls/peer_stream.hpp>

#include <memory>
#include <string_view>

namespace sapwood::collector {

enum class line_kind : std::uint8_t {
    /// A line that is a JSON object is a record; any other one is text.
    any,
    syslog,
};

class line_session final : public connection {
  public:
    /// `is_guarded`: who speaks HTTP there, as a page of a browser can have it done, or TLS, is
    /// sent away, and nothing of it is kept.
    line_session(intake& shared, named_log& to, line_kind kind, std::unique_ptr<peer_stream> peer,
                 source from, bool is_guarded);

    ~line_session() override { hold(0); }

    [[nodiscard]] task<> run() override;

    /// What has come of a line that does not end is kept as a line when the connection ends; but
    /// whether it was whole nobody knows.
    [[nodiscard]] bool is_idle() const noexcept override {
        return is_waiting_ && !lines_.is_in_line();
    }

    /// It has begun a line, or what is left out of one.
    [[nodiscard]] bool is_slow() const noexcept override {
        return is_waiting_ && is_overdue(intake_.limits.body);
    }

  private:
    task<> converse();
    [[nodiscard]] bool is_other_language(std::string_view first, bool is_cut) noexcept;
    task<> send_away();
    bool take_objects(std::string_view& input);
    [[nodiscard]] record_view encode_line();
    void give_or_leave(record& made);
    void end_reading() noexcept;
    [[nodiscard]] bool wait_for_more(bool is_new_line);
    task<> give_waiting(record& made);
    void hold(std::size_t bytes) noexcept;

    named_log& log_;
    const line_kind kind_;
    const std::unique_ptr<peer_stream> stream_;
    const source source_;
    bool is_waiting_ = true;
    /// Nothing of it has been looked at.
    bool is_first_;
    bool is_sent_away_ = false;
    /// It was told to end: what has come is taken, and no more.
    bool is_reading_ended_ = false;
    /// Its time is over, too, or its log takes nothing any more: nothing is waited for.
    bool is_ending_ = false;
    line_splitter lines_;
    /// So far, where there was more than one line.
    bool are_objects_ = true;
    /// Counted in intake_.counts.held_line_bytes.
    std::size_t held_ = 0;
};

/// A message of syslog as a record of `log`, until its next one is encoded.
[[nodiscard]] record_view encode_syslog(named_log& log, const source& from,
                                        std::string_view message, bool is_cut);

} // namespace sapwood::collector
