// Any bytes as a record: as an object, if they are one, and as text. In each form it is one line of
// nothing but what shows, and reads back as the same.
#include "fuzz/target.hpp"

#include <collector/json_decoder.hpp>
#include <collector/line_form.hpp>

#include <sapwood/escape.hpp>

#include <algorithm>
#include <simdjson.h>
#include <string>
#include <string_view>

namespace {

using namespace sapwood::collector;
using sapwood::test::require_none;

void require_shown(std::string_view line, const char* what) {
    std::string escaped;
    sapwood::escape(line, escaped);
    std::string doubled;
    for (const char c : line) {
        doubled.append(c == '\\' ? 2 : 1, c);
    }
    if (escaped != doubled) {
        require_none(std::string(what) + " hides something: " + escaped);
    }
}

/// Without white space, and with every escape in the same form.
std::string canonical(std::string_view json) {
    static simdjson::dom::parser parser;
    simdjson::dom::element value;
    if (parser.parse(json.data(), json.size(), true).get(value) != simdjson::SUCCESS) {
        require_none("no JSON: " + std::string(json));
    }
    return simdjson::minify(value);
}

void check_object(std::string_view json) {
    std::string line;
    append_json_line(json, line);
    require_shown(line, "a line");
    if (canonical(line) != canonical(json)) {
        require_none("a line is another record: " + line);
    }
    std::string again;
    append_json_line(line, again);
    if (again != line) {
        require_none("a line of a line is another: " + again);
    }
    std::string logfmt;
    append_logfmt_members(json, logfmt);
    require_shown(logfmt, "logfmt");
}

void check_text(std::string_view text) {
    std::string object = "{";
    append_json_member("message", text, object);
    object += '}';
    require_shown(object, "a member");
    static simdjson::dom::parser parser;
    simdjson::dom::object members;
    std::string_view found;
    std::string escaped;
    sapwood::escape(text, escaped);
    if (parser.parse(object).get(members) != simdjson::SUCCESS || members.size() != 1) {
        require_none("a text is no member: " + object);
    }
    const bool is_whole = members["message"].get(found) == simdjson::SUCCESS && found == text;
    const bool is_escaped =
        members["message_escaped"].get(found) == simdjson::SUCCESS && found == escaped;
    if (is_whole == is_escaped) {
        require_none("a text is another: " + object);
    }
    std::string logfmt;
    append_logfmt_text(text, logfmt);
    require_shown(logfmt, "logfmt's text");
    std::string named = "{";
    append_json_member(text, text, named);
    (void)canonical(named + "}");
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view bytes = sapwood::test::text_of(data, size);
    static json_decoder decoder;
    std::string object;
    for (const json_item& each : decoder.decode(bytes, json_framing::any)) {
        object = each.json;
        check_object(object);
    }
    check_text(bytes);
    return 0;
}
