// json_decoder: records out of a body. Every record is looked at in full (simdjson) before any of
// them is given: a body is taken whole or not at all. Keeps its memory from body to body, so one
// of them serves all connections of a loop. One thread.
#pragma once

#include <sapwood/level.hpp>

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace sapwood::collector {

/// A record of a body: a JSON object, as it was sent.
struct json_item {
    level importance = level::info;
    std::string_view json;
};

/// How records stand in a body.
enum class json_framing : std::uint8_t {
    /// An object, an array of objects, or objects one after the other.
    any,
    /// An object a line.
    lines,
};

struct json_limits {
    /// Objects and arrays in each other.
    unsigned depth_max = 64;
    std::size_t record_bytes_max = 1u << 20;
    /// In a body. A record has 128 bytes of memory, were it `{}`, and a body of 8 MiB has room for
    /// 2.8 million of those.
    std::size_t records_max = 1u << 17;
};

class json_decoder {
  public:
    explicit json_decoder(const json_limits& limits = {});
    json_decoder(const json_decoder&) = delete;
    json_decoder& operator=(const json_decoder&) = delete;
    ~json_decoder();

    /// The records of `body`, until the next call. Empty where something is wrong, which error()
    /// says, with the record that it is wrong in; also where there is none. Throws std::bad_alloc.
    [[nodiscard]] const std::vector<json_item>& decode(std::string_view body, json_framing framing);

    /// The same of `name=value&name=value`, which becomes one object of strings. A name or value
    /// that is not UTF-8 stands under a name that ends in `_escaped`, as escape() has it.
    [[nodiscard]] const std::vector<json_item>& decode_form(std::string_view form);

    /// The error is that there are too many records, or that one is too long.
    [[nodiscard]] bool is_too_large() const noexcept { return is_too_large_; }

    /// Of the last call; empty where all was well.
    [[nodiscard]] const std::string& error() const noexcept { return error_; }

    /// The records are not needed any more: memory that a long body took is given back.
    void forget() noexcept;

    /// Memory for bodies and their records, without the parser's.
    [[nodiscard]] std::size_t kept_bytes() const noexcept;

  private:
    class parser;

    void begin(std::string_view body);
    bool take(std::string_view slice);
    void take_array(std::string_view body);
    void take_lines(std::string_view body);
    bool take_lines_at_once(std::string_view lines);
    std::string_view take_lines_together(std::string_view body);
    void take_objects(std::string_view body);
    void take_sequence(std::string_view body);
    void fail(std::string_view what);
    void fail_too_long();
    const std::vector<json_item>& finish();

    const json_limits limits_;
    std::unique_ptr<parser> parser_;
    std::unique_ptr<char[]> memory_;
    std::size_t capacity_ = 0;
    std::string_view body_;
    std::string built_;
    std::vector<json_item> items_;
    std::string error_;
    bool is_too_large_ = false;
};

/// Appends a valid object as one line that cannot be taken for anything else: as it is, if it is
/// one line of printable characters; otherwise without its white space, and with an escape for each
/// character that reorders, breaks or hides text.
void append_json_line(std::string_view json, std::string& to);

/// Appends `text`, which need not be UTF-8, as `"name":"text"`; `"name_escaped"` where it is not.
void append_json_member(std::string_view name, std::string_view text, std::string& to);

/// Appends `text`, which is UTF-8, as a string of JSON with its quotes.
void append_json_text(std::string_view text, std::string& to);

/// Whether it is printable ASCII: then it is one line, as it is.
[[nodiscard]] bool is_printable(std::string_view text) noexcept;

/// What `a+b%20c` stands for in a form. A per cent sign without two digits stands for itself.
[[nodiscard]] std::string unquoted_form_text(std::string_view text);

/// As logs of many kinds name it: `warn`, `notice`, `emerg`, ...
[[nodiscard]] level level_named(std::string_view name) noexcept;

} // namespace sapwood::collector
