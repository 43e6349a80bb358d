// Any bytes as what a broker sends, in pieces of any size: they are frames, methods, headers of
// messages and tables, or they are refused. What was decoded can be copied and encoded again.
#include "fuzz/target.hpp"

#include <amqp/codec.hpp>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

namespace {

using sapwood::amqp::detail::decoder;
using sapwood::amqp::detail::frame;
using sapwood::amqp::detail::frame_splitter;

void encode_again(const sapwood::amqp::properties& props) {
    sapwood::amqp::publish_options options;
    options.headers = &props.headers;
    std::string out;
    try {
        sapwood::amqp::detail::put_publication(out, {1, "", "key", "body", props.message_id},
                                               options, 128u << 10);
    } catch (const std::invalid_argument&) { // longer than it was, with numbers of 64 bits
    }
}

void decode(decoder& it, const frame& one) {
    if (one.type == AMQP_FRAME_METHOD) {
        const auto said = it.decode_method(one.channel, one.payload);
        if (said.id == AMQP_CONNECTION_START_METHOD) {
            (void)sapwood::amqp::detail::to_table(
                said.as<amqp_connection_start_t>().server_properties);
        }
    } else if (one.type == AMQP_FRAME_HEADER) {
        sapwood::amqp::properties props;
        sapwood::amqp::detail::copy_properties(it.decode_header(one.payload), props);
        encode_again(props);
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    std::string_view bytes = sapwood::test::text_of(data, size);
    const std::size_t piece_bytes = bytes.empty() ? 1 : std::size_t{data[0]} + 1;
    frame_splitter splitter(4096);
    decoder it;
    try {
        for (; !bytes.empty(); bytes.remove_prefix(std::min(piece_bytes, bytes.size()))) {
            std::string_view piece = bytes.substr(0, piece_bytes);
            for (frame one; splitter.next(piece, one);) {
                decode(it, one);
            }
        }
    } catch (const std::system_error&) { // refused
    }
    // What comes in whole payloads, without the luck of a frame around it.
    for (const int type : {AMQP_FRAME_METHOD, AMQP_FRAME_HEADER}) {
        try {
            decode(it, {static_cast<std::uint8_t>(type), static_cast<std::uint16_t>(size & 1),
                        sapwood::test::text_of(data, size)});
        } catch (const std::system_error&) { // refused
        }
    }
    return 0;
}
