// json_layout: a record as one line of JSON (RFC 8259):
//
//     {"time":"2026-11-21T22:39:56.123456789Z","level":"info","thread":1234,"logger":"app.db",
//      "message":"cache miss","fields":{"key":"a b","age":12}}
//
// Numbers stay numbers and booleans booleans; UTF-8 is kept, except that control characters, and
// what escape() holds to be deceptive, are \u escapes. Text that is not UTF-8 cannot stand in JSON:
// it is written as escape() has it, and its name ends in "_escaped"; text whose key ends so by
// itself, too, so that every name that ends so can be turned back. Keys are always as escape() has
// them.
// `"cut":true` and `"own":true` (what the log says itself, of gaps for example) are outside of
// "fields", where no user can write.
#pragma once

#include <sapwood/log_record.hpp>
#include <sapwood/text_layout.hpp>

namespace sapwood {

class json_layout final : public log_layout {
  public:
    /// Times are RFC 3339's, in UTC with a `Z`, in local time with its offset.
    explicit json_layout(log_time_zone zone = log_time_zone::utc);

    void append(const log_record& record, log_buffer& to) override;

    [[nodiscard]] crash_form in_crash() const noexcept override { return crash_form::json; }

  private:
    text_layout time_;
};

/// logfmt: `time=2026-11-21T22:39:56.123456789Z level=info thread=1234 logger=app.db
/// message="cache miss" key="a b" age=12`. Escaped as text is, in quotes where it must be. What the
/// record says of itself (location, function, task, `cut=true`, `own=true`) stands before the
/// message; a user's key that is one of these names, or begins with `fields.`, has `fields.` put
/// before it.
class logfmt_layout final : public log_layout {
  public:
    explicit logfmt_layout(log_time_zone zone = log_time_zone::utc);

    void append(const log_record& record, log_buffer& to) override;

    [[nodiscard]] crash_form in_crash() const noexcept override { return crash_form::logfmt; }

  private:
    text_layout time_;
};

} // namespace sapwood
