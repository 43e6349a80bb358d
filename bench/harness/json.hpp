// Writes JSON text, front to back. Commas and escapes are handled here; nesting is the caller's.
//
//     json_writer out;
//     out.begin_object().member("unit",
//     "ns").key("rows").begin_array()....end_array().end_object();
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "harness/summary.hpp"

namespace bench {

class json_writer {
  public:
    json_writer& begin_object();
    json_writer& end_object();
    json_writer& begin_array();
    json_writer& end_array();

    json_writer& key(std::string_view name);
    json_writer& value(std::string_view text);
    json_writer& value(double number); // JSON has no infinity and no NaN: they become null.
    json_writer& value(std::uint64_t number);
    json_writer& value(const summary& samples);

    template <typename Value>
    json_writer& member(std::string_view name, const Value& content) {
        return key(name).value(content);
    }

    [[nodiscard]] const std::string& text() const { return text_; }

    // Throws std::system_error naming the path.
    void write_file(const std::string& path) const;

  private:
    void separate();

    std::string text_;
    bool needs_comma_ = false;
};

} // namespace bench
