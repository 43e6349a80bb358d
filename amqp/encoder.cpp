#include "codec.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <fmt/format.h>
#include <stdexcept>
#include <vector>

namespace sapwood::amqp::detail {

namespace {

constexpr std::size_t short_bytes_max = 255;

template <class Number>
char* put_big_endian(char* at, Number number) noexcept {
    for (std::size_t i = sizeof number; i > 0; --i) {
        at[i - 1] = static_cast<char>(number & 0xff);
        number = static_cast<Number>(number >> 8);
    }
    return at + sizeof number;
}

/// A frame's head, and `fixed`, numbers that its payload begins with; all by one append.
template <class... Fixed>
void begin_frame(std::string& out, char type, std::uint16_t channel, std::size_t payload,
                 Fixed... fixed) {
    std::array<char, frame_head_bytes + (sizeof(Fixed) + ... + 0)> head; // NOLINT: filled below
    head[0] = type;
    char* at = put_big_endian(head.data() + 1, channel);
    at = put_big_endian(at, static_cast<std::uint32_t>(payload));
    ((at = put_big_endian(at, fixed)), ...);
    out.append(head.data(), head.size());
}

void end_frame(std::string& out) {
    out += static_cast<char>(AMQP_FRAME_END);
}

/// Has `encode(amqp_bytes_t)` write into memory that is large enough, and calls `use` with that.
template <class Encode, class Use>
void with_encoded(Encode encode, Use use) {
    std::array<char, 2048> few; // NOLINT: filled by the library
    int size = encode(amqp_bytes_t{few.size(), few.data()});
    if (size >= 0) [[likely]] {
        use(std::string_view(few.data(), static_cast<std::size_t>(size)));
        return;
    }
    std::vector<char> many(std::size_t{frame_bytes_least} * 16);
    size = encode(amqp_bytes_t{many.size(), many.data()});
    if (size < 0) {
        throw std::invalid_argument("AMQP: the arguments or headers are larger than a frame");
    }
    use(std::string_view(many.data(), static_cast<std::size_t>(size)));
}

void require_short(std::string_view text, const char* what) {
    if (text.size() > short_bytes_max) {
        throw std::invalid_argument(fmt::format("AMQP: the {} has {} bytes, and {} are the most",
                                                what, text.size(), short_bytes_max));
    }
}

void require_short(const publication_parts& parts, const publish_options& options) {
    require_short(parts.exchange, "exchange");
    require_short(parts.routing_key, "routing key");
    require_short(parts.message_id, "message id");
    require_short(options.content_type, "content type");
    require_short(options.content_encoding, "content encoding");
    require_short(options.correlation_id, "correlation id");
    require_short(options.reply_to, "reply address");
    require_short(options.type, "type");
    require_short(options.app_id, "application id");
}

void put_header(std::string& out, const publication_parts& parts, const publish_options& options,
                std::uint32_t frame_bytes_max) {
    amqp_basic_properties_t props{};
    props._flags = AMQP_BASIC_DELIVERY_MODE_FLAG;
    props.delivery_mode =
        options.persistent ? AMQP_DELIVERY_PERSISTENT : AMQP_DELIVERY_NONPERSISTENT;
    const auto give = [&](amqp_flags_t flag, std::string_view what, amqp_bytes_t& to) {
        if (!what.empty()) {
            props._flags |= flag;
            to = bytes(what);
        }
    };
    give(AMQP_BASIC_MESSAGE_ID_FLAG, parts.message_id, props.message_id);
    give(AMQP_BASIC_CONTENT_TYPE_FLAG, options.content_type, props.content_type);
    give(AMQP_BASIC_CONTENT_ENCODING_FLAG, options.content_encoding, props.content_encoding);
    give(AMQP_BASIC_CORRELATION_ID_FLAG, options.correlation_id, props.correlation_id);
    give(AMQP_BASIC_REPLY_TO_FLAG, options.reply_to, props.reply_to);
    give(AMQP_BASIC_TYPE_FLAG, options.type, props.type);
    give(AMQP_BASIC_APP_ID_FLAG, options.app_id, props.app_id);
    std::array<char, 24> digits; // NOLINT: filled below
    if (options.expiration.count() > 0) {
        char* const end =
            std::to_chars(digits.data(), digits.data() + digits.size(), options.expiration.count())
                .ptr;
        give(AMQP_BASIC_EXPIRATION_FLAG,
             {digits.data(), static_cast<std::size_t>(end - digits.data())}, props.expiration);
    }
    if (options.priority != 0) {
        props._flags |= AMQP_BASIC_PRIORITY_FLAG;
        props.priority = options.priority;
    }
    if (options.timestamp != 0) {
        props._flags |= AMQP_BASIC_TIMESTAMP_FLAG;
        props.timestamp = options.timestamp;
    }
    table_builder tables;
    if (options.headers != nullptr && !options.headers->empty()) {
        props._flags |= AMQP_BASIC_HEADERS_FLAG;
        props.headers = tables.build(*options.headers);
    }
    with_encoded(
        [&](amqp_bytes_t into) { return ::amqp_encode_properties(AMQP_BASIC_CLASS, &props, into); },
        [&](std::string_view encoded) {
            constexpr std::size_t fixed_bytes = 12;
            if (fixed_bytes + encoded.size() + frame_head_bytes + frame_end_bytes >
                frame_bytes_max) {
                throw std::invalid_argument("AMQP: the headers are larger than a frame");
            }
            constexpr std::uint16_t weight = 0;
            begin_frame(out, AMQP_FRAME_HEADER, parts.channel, fixed_bytes + encoded.size(),
                        std::uint16_t{AMQP_BASIC_CLASS}, weight, std::uint64_t{parts.body.size()});
            out += encoded;
            end_frame(out);
        });
}

} // namespace

void put_method(std::string& out, std::uint16_t channel, amqp_method_number_t id, const void* it) {
    with_encoded(
        [&](amqp_bytes_t into) { return ::amqp_encode_method(id, const_cast<void*>(it), into); },
        [&](std::string_view encoded) {
            const std::size_t before = out.size();
            try {
                begin_frame(out, AMQP_FRAME_METHOD, channel, sizeof id + encoded.size(), id);
                out += encoded;
                end_frame(out);
            } catch (...) { // a part of a frame would spoil what comes behind it
                out.resize(before);
                throw;
            }
        });
}

void put_heartbeat(std::string& out) {
    begin_frame(out, AMQP_FRAME_HEARTBEAT, 0, 0);
    end_frame(out);
}

bool may_come_back(std::string_view frames, std::string_view exchange,
                   std::string_view routing_key) noexcept {
    // Behind the method's number and a word that is reserved: two strings, each with its size, and
    // bits, of which the first says that it is mandatory.
    constexpr std::size_t names_at = frame_head_bytes + sizeof(amqp_method_number_t) + 2;
    frames.remove_prefix(std::min(names_at, frames.size()));
    for (const std::string_view name : {exchange, routing_key}) {
        if (frames.empty() || static_cast<unsigned char>(frames.front()) != name.size() ||
            !frames.substr(1).starts_with(name)) {
            return false;
        }
        frames.remove_prefix(1 + name.size());
    }
    return !frames.empty() && (frames.front() & 1) != 0;
}

void put_publication(std::string& out, const publication_parts& parts,
                     const publish_options& options, std::uint32_t frame_bytes_max) {
    require_short(parts, options);
    const std::size_t before = out.size();
    // Enough for most, where nothing but a name, a type and an id goes with the body.
    constexpr std::size_t usual_bytes = 192;
    const std::size_t frames = 1 + parts.body.size() / frame_bytes_max;
    out.reserve(before + usual_bytes + parts.body.size() +
                frames * (frame_head_bytes + frame_end_bytes));
    amqp_basic_publish_t publish{};
    publish.exchange = bytes(parts.exchange);
    publish.routing_key = bytes(parts.routing_key);
    publish.mandatory = options.mandatory ? 1 : 0;
    put_method(out, parts.channel, AMQP_BASIC_PUBLISH_METHOD, &publish);
    try {
        put_header(out, parts, options, frame_bytes_max);
    } catch (...) {
        out.resize(before);
        throw;
    }
    const std::size_t most = frame_bytes_max - frame_head_bytes - frame_end_bytes;
    for (std::string_view rest = parts.body; !rest.empty();) {
        const std::string_view piece = rest.substr(0, most);
        begin_frame(out, AMQP_FRAME_BODY, parts.channel, piece.size());
        out += piece;
        end_frame(out);
        rest.remove_prefix(piece.size());
    }
}

} // namespace sapwood::amqp::detail
