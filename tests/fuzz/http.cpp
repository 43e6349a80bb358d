// Any bytes as a connection's, cut in pieces of a size that the first byte tells: the same requests
// come out as from the bytes in one piece, and their records are one line each.
#include "fuzz/target.hpp"

#include <collector/http_parser.hpp>
#include <collector/json_decoder.hpp>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace sapwood::collector;

std::vector<std::string> bodies_of(std::string_view bytes, std::size_t piece) {
    http_parser parser({.head_bytes_max = 1024, .fields_max = 16, .body_bytes_max = 2048});
    std::vector<std::string> bodies;
    std::string pending;
    while (!bytes.empty()) {
        pending += bytes.substr(0, piece);
        bytes.remove_prefix(std::min(piece, bytes.size()));
        std::string_view input = pending;
        for (auto step = parser.next(input); step != http_parser::step::need_more;
             step = parser.next(input)) {
            if (step == http_parser::step::failed) {
                return bodies;
            }
            if (step == http_parser::step::done) {
                bodies.emplace_back(parser.body());
            }
        }
        if (parser.is_in_request()) {
            parser.keep_body();
        }
        pending = std::string(input);
    }
    return bodies;
}

void check_records(std::string_view body) {
    static json_decoder decoder;
    static json_decoder again;
    for (const auto framing : {json_framing::any, json_framing::lines}) {
        for (const json_item& each : decoder.decode(body, framing)) {
            std::string line;
            append_json_line(each.json, line);
            if (std::ranges::any_of(line, [](char c) {
                    return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
                })) {
                sapwood::test::require_none("a line with a control character: " + line);
            }
            if (again.decode(line, json_framing::any).size() != 1) {
                sapwood::test::require_none("a line that is no record: " + line);
            }
        }
    }
    (void)decoder.decode_form(body);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view bytes = sapwood::test::text_of(data, size);
    if (bytes.empty()) {
        return 0;
    }
    const std::size_t piece = 1 + static_cast<unsigned char>(bytes.front());
    const std::string_view stream = bytes.substr(1);
    const auto whole = bodies_of(stream, std::max<std::size_t>(stream.size(), 1));
    const auto pieces = bodies_of(stream, piece);
    if (whole != pieces) {
        sapwood::test::require_none("in pieces of " + std::to_string(piece) + " there are " +
                                    std::to_string(pieces.size()) + " requests, in one " +
                                    std::to_string(whole.size()));
    }
    for (const std::string& body : whole) {
        check_records(body);
    }
    check_records(stream);
    return 0;
}
