// Any bytes as a body of one of the other programs' interfaces, which the first byte chooses, and
// as a compressed one: what comes out are objects, one for each record, within the limits.
#include "fuzz/target.hpp"

#include <collector/decoded_body.hpp>
#include <collector/decompressor.hpp>
#include <collector/elasticsearch.hpp>
#include <collector/json_decoder.hpp>
#include <collector/loki.hpp>
#include <collector/otlp.hpp>
#include <collector/splunk.hpp>

#include <string>
#include <string_view>

namespace {

using namespace sapwood::collector;
using sapwood::test::require_none;

void decode(char which, std::string_view text, decoded_body& body) {
    std::string reply;
    switch (which) {
    case 'l':
        decode_loki(text, body);
        break;
    case 'o':
        decode_otlp(text, body, reply);
        break;
    case 's':
        decode_splunk_events(text, body);
        break;
    case 'r': {
        const auto end = text.find('\n');
        decode_splunk_raw(text.substr(end == text.npos ? text.size() : end + 1),
                          text.substr(0, end), body);
        break;
    }
    default:
        decode_bulk(text, "app", body, reply);
        if (body.is_well()) {
            json_decoder decoder;
            if (decoder.decode(reply, json_framing::lines).size() != 1) {
                require_none("an answer that is no object: " + reply);
            }
        }
        break;
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view bytes = sapwood::test::text_of(data, size);
    if (bytes.empty()) {
        return 0;
    }
    const std::string_view text = bytes.substr(1);
    if (bytes.front() == 'g' || bytes.front() == 'z') {
        static decompressor undo({.bytes_max = 65536});
        const auto got =
            undo.undo(bytes.front() == 'g' ? content_coding::gzip : content_coding::zstd, text);
        if ((got.status != 0) != got.text.empty() && got.status != 0) {
            require_none("a refusal with a text");
        }
        if (got.text.size() > 65536) {
            require_none("more than the limit");
        }
        return 0;
    }
    static decoded_body body({.json = {.record_bytes_max = 4096}, .made_bytes_max = 65536});
    body.clear();
    decode(bytes.front(), text, body);
    json_decoder decoder;
    for (std::size_t i = 0; i < body.size(); ++i) {
        const std::string record(body[i].json);
        if (record.size() > 4096 || !body.is_well()) {
            require_none("a record that should not be");
        }
        if (decoder.decode(record, json_framing::any).size() != 1) {
            require_none("a record that is no object: " + record);
        }
    }
    return 0;
}
