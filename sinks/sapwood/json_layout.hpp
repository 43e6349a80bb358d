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
// "fields", where no user can write. So are the members by which a record in an action says where
// it belongs, which are eliot's: "task_uuid", "task_level", "timestamp", "action_type",
// "action_status" and so on (docs/actions.md).
#pragma once

#include <sapwood/log_record.hpp>
#include <sapwood/text_layout.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace sapwood {

namespace detail {
struct log_action_view;
struct log_field_view;

/// What the lines of actions of one second have in common: from behind the level to the time
/// stamp's point.
struct json_stamp {
    char bytes[32] = {};
    std::size_t size = 0;

    /// And six digits of the fraction, of which eight are given and put.
    [[gnu::always_inline]] char* put(char* to, std::uint64_t digits) const noexcept {
        std::memcpy(to, bytes, sizeof(bytes)); // a fixed size needs no call
        std::memcpy(to + size, &digits, sizeof(digits));
        return to + size + 6;
    }
};

} // namespace detail

class json_layout final : public log_layout {
  public:
    /// Times are RFC 3339's, in UTC with a `Z`, in local time with its offset.
    explicit json_layout(log_time_zone zone = log_time_zone::utc);

    void append(const log_record& record, log_buffer& to) override;

    void become_childs() override;

    [[nodiscard]] crash_form in_crash() const noexcept override { return crash_form::json; }

  private:
    /// What stands between the digits of the time and the message: who logs, at which level.
    struct source {
        std::uint64_t key = ~std::uint64_t{0};
        std::uint32_t size = 0;
        char bytes[128] = {};
    };

    void begin_second(const log_record& record, std::int64_t second);
    [[nodiscard]] std::string_view make_source(const log_record& record, source& kept);

    // These write at `at`, which to.room() gave, and return the end.
    char* put_source(const log_record& record, char* at, log_buffer& to);
    std::string_view put_parts(const log_record& record, bool is_plain_text, std::uint64_t digits,
                               char*& at, log_buffer& to);
    char* put_action(const detail::log_action_view& action, const log_record& record,
                     bool is_plain_text, std::uint64_t digits, char* at, log_buffer& to);
    static char* put_odd_field(const detail::log_field_view& field, char* at, std::size_t room,
                               log_buffer& to);
    static char* put_users(std::string_view fields, char* at, log_buffer& to);

    text_layout time_;
    std::int64_t second_ = -1;
    /// Of all lines of this second: what stands before the digits of the time, and before those of
    /// an action's time stamp. Fixed sizes need no call to be copied.
    char before_digits_[32] = {};
    std::size_t before_bytes_ = 0;
    detail::json_stamp stamp_;
    std::string after_digits_;
    std::vector<source> sources_;
    std::string long_source_;
};

/// logfmt: `time=2026-11-21T22:39:56.123456789Z level=info thread=1234 logger=app.db
/// message="cache miss" key="a b" age=12`. Escaped as text is, in quotes where it must be. What the
/// record says of itself (location, function, task, `cut=true`, `own=true`; in an action task_uuid,
/// task_level, action_status and so on) stands before the message; a user's key that is one of
/// these names, or begins with `fields.`, has `fields.` put before it.
class logfmt_layout final : public log_layout {
  public:
    explicit logfmt_layout(log_time_zone zone = log_time_zone::utc);

    void append(const log_record& record, log_buffer& to) override;

    [[nodiscard]] crash_form in_crash() const noexcept override { return crash_form::logfmt; }

  private:
    text_layout time_;
};

} // namespace sapwood
