// Whatever stands in a log: its lines are parsed within their bytes, and what is shown of each is
// one line that can do nothing to a terminal.
#include "fuzz/target.hpp"

#include "tools/line_filter.hpp"
#include "tools/line_printer.hpp"
#include "tools/log_files.hpp"

#include <sapwood/escape.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace {

/// One line, of UTF-8 that does nothing.
bool is_shown_line(std::string_view text) {
    if (!text.ends_with('\n') || !sapwood::is_utf8(text)) {
        return false;
    }
    text.remove_suffix(1);
    std::string escaped;
    sapwood::escape(text, escaped);
    std::erase(escaped, '\\');
    std::string shown(text);
    std::erase(shown, '\\');
    return escaped == shown; // nothing was left to be escaped but backslashes
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace sapwood::tools;
    static const line_filter filter({.level = "trace", .where = {"a.b!=c", "user=\\x1b"}}, 0);
    const auto require = [](bool holds, const char* what) {
        sapwood::test::require_none(holds ? "" : what);
    };
    const std::string padded =
        std::string(sapwood::test::text_of(data, size)) + std::string(line_padding, '\0');
    std::string_view lines = std::string_view(padded).substr(0, size);
    line_parser parser;
    sapwood::log_buffer to(1024);
    line_printer as_text(line_style::text, false, to);
    line_printer as_json(line_style::json, false, to);
    while (!lines.empty()) {
        const std::string_view line = take_line(lines);
        const log_line& parsed = parser.parse(line);
        require(parsed.body.size() <= line.size(), "a line has no more than its bytes");
        (void)filter.wants(parsed, parser);
        to.cut(0);
        as_text.print(line, parsed, parser);
        require(is_shown_line(to.text()), "what is shown is one line that does nothing");
        to.cut(0);
        as_json.print(line, parsed, parser);
        if (parsed.is != log_line::form::json && parsed.record.empty()) {
            require(is_shown_line(to.text()), "what is shown as JSON is one line, too");
            require(to.text().starts_with('{') && to.text().ends_with("}\n"), "it is an object");
        }
    }
    return 0;
}
