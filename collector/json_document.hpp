// json_document: a body that is one document of JSON, looked at in full. Its parser lives as long
// as it does, so that memory for a long one is given back. One thread.
#pragma once

#include "decoded_body.hpp"

#include <optional>
#include <simdjson.h>
#include <string_view>

namespace sapwood::collector {

class json_document {
  public:
    /// The body's object. None where it is no JSON, is nested too deeply or has too many values,
    /// which `to` has been told. Throws std::bad_alloc.
    [[nodiscard]] std::optional<simdjson::dom::object> parse(std::string_view body,
                                                             decoded_body& to);

  private:
    simdjson::dom::parser parser_;
};

/// Appends `,"name":value`, a string as text and everything else as JSON; without the comma behind
/// an opening bracket.
void append_member(std::string_view name, const simdjson::dom::element& value, std::string& to);

/// The same of a text that is UTF-8.
void append_member(std::string_view name, std::string_view text, std::string& to);

/// What is wrong, for whoever sent it.
[[nodiscard]] std::string_view text_of(simdjson::error_code error) noexcept;

/// What a record says of how important it is; info where it says nothing.
[[nodiscard]] level level_of(const simdjson::dom::object& record);

} // namespace sapwood::collector
