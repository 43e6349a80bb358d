// Text from users on its way into a line. Any thread.
#pragma once

#include <sapwood/escape.hpp>
#include <sapwood/log_record.hpp>

#include <string>
#include <string_view>

namespace sapwood::detail {

/// As escape(), into a line.
inline void append_escaped(std::string_view text, log_buffer& to) {
    if (is_plain(text)) [[likely]] {
        to.append(text);
    } else {
        std::string escaped;
        escape(text, escaped);
        to.append(escaped);
    }
}

/// ` key=value` for each field of the record that users gave it, as logfmt has them: a value that
/// is empty or holds a space, a quote or an equals sign stands in quotes, in which a quote is `\"`.
void append_logfmt_fields(std::string_view fields, log_buffer& to);

/// The same of what a record in an action says of its place, if it is in one: ` task_uuid=...`.
void append_action_texts(std::string_view fields, log_buffer& to);

/// A value, quoted where it must be.
void append_logfmt_value(std::string_view value, log_buffer& to);

/// A key: as escape() has it, and besides a space, a quote and an equals sign become `\xHH`. An
/// empty one is `_`, and that is `\x5f`.
void append_logfmt_key(std::string_view key, log_buffer& to);

/// At most `bytes` of the text, without a cut character.
[[nodiscard]] std::string_view cut_at_character(std::string_view text, std::size_t bytes) noexcept;

} // namespace sapwood::detail
