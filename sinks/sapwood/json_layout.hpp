// json_layout: a record as one line of JSON (RFC 8259):
//
//     {"time":"2026-11-21T22:39:56.123456789Z","level":"info","thread":1234,"logger":"app.db",
//      "message":"cache miss","fields":{"key":"a b","age":12}}
//
// Numbers stay numbers and booleans booleans; UTF-8 is kept, except that control characters, and
// what reorders or breaks lines, are \u escapes. Text that is not UTF-8 cannot stand in JSON: it is
// written as escape() has it, and its name ends in "_escaped".
#pragma once

#include <sapwood/log_record.hpp>
#include <sapwood/text_layout.hpp>

namespace sapwood {

class json_layout final : public log_layout {
  public:
    /// Times are RFC 3339's, in UTC with a `Z`, in local time with its offset.
    explicit json_layout(log_time_zone zone = log_time_zone::utc);

    void append(const log_record& record, log_buffer& to) override;

  private:
    text_layout time_;
};

/// logfmt: `time=2026-11-21T22:39:56.123456789Z level=info thread=1234 logger=app.db
/// message="cache miss" key="a b" age=12`. Escaped as text is, in quotes where it must be.
class logfmt_layout final : public log_layout {
  public:
    explicit logfmt_layout(log_time_zone zone = log_time_zone::utc);

    void append(const log_record& record, log_buffer& to) override;

  private:
    text_layout time_;
};

} // namespace sapwood
