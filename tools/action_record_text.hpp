// action_record_text: records of actions in sapwood's lines of text and of logfmt, made to what its
// lines of JSON would have been:
//
//     2026-11-27 04:11:54.526 17 info save order=17 task_uuid=3232af72-... task_level=/2/1
//     action_status=started
//
// In text a message is not told from the fields behind it, nor what a program says of itself from
// what it was told to log: fields are the pairs that reach to the place. Any thread.
#pragma once

#include "log_line.hpp"

#include <string>

namespace sapwood::tools {

/// Puts the object into `to`, what was there before is gone; false where the line, which `parser`
/// has parsed last, names no task. line_padding bytes behind the object may be read.
[[nodiscard]] bool make_json_of(const log_line& line, line_parser& parser, std::string& to);

} // namespace sapwood::tools
