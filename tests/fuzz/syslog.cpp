// Any bytes as a message of syslog: each part is one of the message, and the line's head ends where
// it should.
#include "fuzz/target.hpp"

#include <collector/line_form.hpp>
#include <collector/syslog_message.hpp>

#include <sapwood/escape.hpp>

#include <string>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace sapwood::collector;
    const std::string_view bytes = sapwood::test::text_of(data, size);
    const auto message = syslog_message::parse(bytes);
    const std::string_view parts[] = {message.host, message.app,  message.process,
                                      message.kind, message.data, message.text};
    std::string head;
    for (const std::string_view part : parts) {
        if (!part.empty() &&
            (part.data() < bytes.data() || part.data() + part.size() > bytes.data() + size)) {
            sapwood::test::require_none("a part that is none of the message");
        }
        const note notes[] = {{"part", part}};
        head.clear();
        append_text_head(source{0, "udp 127.0.0.1:1"}, notes, head);
        if (head.find("] ") != head.size() - 2 || head.find('\n') != head.npos) {
            sapwood::test::require_none("a head that ends early: " + head);
        }
    }
    return 0;
}
