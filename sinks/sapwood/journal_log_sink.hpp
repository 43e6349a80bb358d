// journal_log_sink: systemd's journal by its native protocol
// (https://systemd.io/JOURNAL_NATIVE_PROTOCOL), without libsystemd. A record is an entry with
// MESSAGE, PRIORITY, SYSLOG_IDENTIFIER, TID, LOGGER, CODE_FILE, CODE_LINE, CODE_FUNC, TASK,
// TIMESTAMP and the record's own fields. On the consumer's loop.
#pragma once

#include <sapwood/datagram_log_sink.hpp>

#include <memory>
#include <string>
#include <string_view>

namespace sapwood {

struct journal_log_sink_options {
    /// SYSLOG_IDENTIFIER; by default the program's name.
    std::string ident = {};
    /// Whether entries say where in the source they were made. Calls cost an allocation then.
    bool location = true;
    /// The journal's socket.
    std::string path = "/run/systemd/journal/socket";
    clock::duration give_up_after = std::chrono::seconds(1);
    /// Whether a log fails to begin where there is no journal.
    bool must_connect = false;
};

/// The name of a field in the journal: upper-case letters, digits and underscores, not beginning
/// with either of the latter two, at most 64. One that the journal, or this sink, gives a meaning
/// to has FIELD_ before it: users' data is no MESSAGE.
[[nodiscard]] std::string journal_field_name(std::string_view key);

class journal_log_sink final : public datagram_log_sink {
  public:
    explicit journal_log_sink(journal_log_sink_options options = {});

    [[nodiscard]] std::string describe() const override;

    /// Its lines hold `NAME=value` ended by NULs, in which newline, NUL and backslash are `\n`,
    /// `\0` and `\\`: text as it came, which the journal can hold.
    [[nodiscard]] std::unique_ptr<log_layout> default_form() const override;

  protected:
    [[nodiscard]] task<socket> connect() override;
    void encode(std::string_view line, std::string& to) override;
    [[nodiscard]] bool send_in_crash(int fd, std::string_view line) noexcept override;

    /// In a sealed memory file.
    [[nodiscard]] int send_long(int fd, std::string_view datagram) override;

  private:
    const journal_log_sink_options options_;
};

} // namespace sapwood
