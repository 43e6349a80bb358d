// log_line: what stands in a line of a log, in whichever form it is: sapwood's text with or without
// a number and a checksum, JSON, logfmt, the collector's lines, and what other loggers write that
// begins with a time. Views into the line and into the parser; no allocation for a line of text.
#pragma once

#include "log_time.hpp"

#include <sapwood/level.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sapwood::tools {

/// So many bytes behind a line may be read by the parser of JSON, whatever is in them.
inline constexpr std::size_t line_padding = 64;

struct log_line {
    enum class form : std::uint8_t {
        /// No record: it has neither a time nor a level where these stand.
        none,
        text,
        json,
        logfmt,
    };

    form is = form::none;
    /// Of a durable log: the record's number and the checksum, as they stand there.
    bool is_numbered = false;
    std::uint64_t number = 0;
    std::uint32_t checksum = 0;
    /// All behind the number.
    std::string_view body;
    std::optional<std::int64_t> time_ns;
    std::optional<level> importance;
    /// The thread, or the producer.
    std::string_view thread;
    std::string_view logger;
    /// The collector's word for who has sent it, with what the sender says of itself behind it.
    std::string_view from;
    /// Of JSON: `tag`, or `app`, of the line or of what it holds.
    std::string_view tag;
    /// Of text, with the fields, which stand behind it. Of logfmt, without_quotes().
    std::string_view message;
    /// Of text whose message is an object of JSON, as the collector's is: that. Whether it is JSON
    /// is looked at when its members are asked for; it is empty then where it is none.
    std::string_view record;
};

/// A member of a line behind what log_line names.
struct line_field {
    std::string_view key;
    std::string_view value;
    /// How it stands there: as escape() has it, as it is (JSON's text), or a number and the like.
    enum class kind : std::uint8_t { escaped, text, bare };
    kind is = kind::text;
};

class line_parser {
  public:
    line_parser();
    line_parser(const line_parser&) = delete;
    line_parser& operator=(const line_parser&) = delete;
    ~line_parser();

    /// Whether a line was JSON, or its record may have been, and this build reads none.
    [[nodiscard]] bool has_met_unreadable() const noexcept { return has_met_unreadable_; }

    static constexpr std::string_view why_unreadable =
        "lines of JSON are no records to this sapwood: it was built without simdjson";

    /// A line without its newline, line_padding bytes behind which may be read. The answer, and
    /// what the other functions give, is valid until the next call, and as long as the line is.
    const log_line& parse(std::string_view line);

    /// The value of a field of that line, whatever form it has; `level`, `thread`, `logger`, `from`
    /// and `message` are fields as well. What the collector knows of a sender (`uid` and so on) is
    /// found before what the sender says. In JSON a member of `fields` or of a record as well as
    /// one of the line's own; a dot goes into an object. None where there is no such field.
    [[nodiscard]] std::optional<std::string_view> field(std::string_view key);

    /// What stands behind the message: of JSON and logfmt all that log_line does not name, of text
    /// with a record the record's members; of other text nothing, they are part of the message.
    [[nodiscard]] const std::vector<line_field>& fields();

    /// Of JSON, and of text with a record: its message.
    [[nodiscard]] line_field message();

  private:
    struct json_state;

    void parse_text(std::string_view body);
    void parse_logfmt(std::string_view body);
    [[nodiscard]] bool take_head_member(std::string_view key, std::string_view value);
    void parse_json(std::string_view body);
    void parse_record();
    void collect_json();
    [[nodiscard]] std::optional<std::string_view> json_field(std::string_view key);
    [[nodiscard]] std::optional<std::string_view> text_field(std::string_view key);

    time_reader times_;
    log_line line_;
    /// Of logfmt, where it has quotes in it.
    std::string message_text_;
    line_field message_;
    std::vector<line_field> fields_;
    bool has_fields_ = false;
    bool has_met_unreadable_ = false;
    std::unique_ptr<json_state> json_;
};

/// A value of logfmt without what its quotes have made necessary, `\"` for a quote: the rest of it
/// is as escape() has it. `into` is where it is, if it is not `value`.
[[nodiscard]] std::string_view without_quotes(std::string_view value, std::string& into);

/// Whether `from` is the collector's word for who has sent a record, and not one of a program that
/// has such a member, too: it begins with the way by which the record came.
[[nodiscard]] bool is_source(std::string_view from) noexcept;

/// Takes the number and the checksum of a durable log's line away, into `into`; all of the line
/// where it has none. Does not compute the checksum.
[[nodiscard]] std::string_view take_number(std::string_view line, log_line& into) noexcept;

/// Takes the text up to the next space away, and that space.
[[nodiscard]] std::string_view take_word(std::string_view& text) noexcept;

/// The next `key=value` of logfmt, a value in quotes without them and as it is escaped. False where
/// there is none; takes it away from `text` otherwise. What is no pair is passed over.
[[nodiscard]] bool take_logfmt(std::string_view& text, std::string_view& key,
                               std::string_view& value) noexcept;

} // namespace sapwood::tools
