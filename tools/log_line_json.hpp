// The part of line_parser that reads JSON, by simdjson where the build has it; without it a line of
// JSON is no record.
#pragma once

#include "log_line.hpp"

#ifdef SAPWOOD_HAS_SIMDJSON
#include <deque>
#include <simdjson.h>
#endif

namespace sapwood::tools {

struct line_parser::json_state {
    [[nodiscard]] static std::unique_ptr<json_state> make();

#ifdef SAPWOOD_HAS_SIMDJSON
    simdjson::dom::parser parser;
    simdjson::dom::object members;
    /// Of members of text that are no text.
    std::deque<std::string> texts;
    /// Of a thread that is a number.
    char thread[24];
#endif
};

} // namespace sapwood::tools
