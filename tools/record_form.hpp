// How sapwood send puts a line on its way: as it is, as an object of JSON, or as a message of
// syslog (RFC 5424 by octet counting, RFC 6587). One thread.
#pragma once

#include "log_line.hpp"

#include <sapwood/level.hpp>

#include <optional>
#include <string>
#include <string_view>

namespace sapwood::tools {

struct record_form_options {
    enum class kind : std::uint8_t { line, json, syslog };

    kind as = kind::line;
    /// Empty: none; of syslog, the program's name then.
    std::string tag;
    std::optional<level> importance;
};

class record_form {
  public:
    /// Throws std::invalid_argument where the tag cannot be syslog's.
    explicit record_form(record_form_options options);

    /// Appends a record. A line that is an object of JSON is one already: it gets the tag and the
    /// level where it has none. line_padding bytes behind `line` may be read.
    void append(std::string_view line, std::string& to);

  private:
    void append_json(std::string_view line, std::string& to);
    void append_syslog(std::string_view line, std::string& to) const;

    record_form_options options_;
    std::string host_;
    line_parser parser_;
};

} // namespace sapwood::tools
