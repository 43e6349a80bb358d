#include "message_encoder.hpp"

#include "message_ids.hpp"
#include "queue_options.hpp"

#include <array>
#include <string>

namespace sapwood::collector {

namespace {

content_coding encoding_named(std::string_view name) noexcept {
    if (name == "gzip" || name == "x-gzip") {
        return content_coding::gzip;
    }
    return name == "zstd" ? content_coding::zstd : content_coding::identity;
}

} // namespace

message_encoder::message_encoder(intake& shared, named_log& to, std::string_view queue)
    : intake_(shared),
      log_(to),
      from_{.producer = 0, .name = std::string(queue_source_prefix) + std::string(queue)} {}

std::string_view message_encoder::body_of(const amqp::delivery& message) {
    const content_coding coding = encoding_named(message.props().content_encoding);
    if (coding == content_coding::identity) {
        return message.body();
    }
    if (message.is_cut()) {
        return {};
    }
    intake_.usual.plain.trim();
    // A byte more than a record may have says that it is too long.
    const std::size_t most = intake_.limits.json.record_bytes_max + 1;
    const auto undone = intake_.usual.plain.undo(coding, message.body(), most);
    return undone.status == 0 ? undone.text : message.body();
}

record_view message_encoder::encode(const amqp::delivery& message, std::string_view body) {
    std::array<note, 3> notes;
    std::size_t count = 0;
    const auto add = [&](std::string_view name, std::string_view value) {
        if (!value.empty()) {
            notes[count++] = {name, value};
        }
    };
    add(message_id_name, message.props().message_id); // where message_id_of looks for it
    add("app", message.props().app_id);
    add("cut", is_too_long(message, body) ? "true" : "");
    const std::span<const note> all = std::span(notes).first(count);
    if (const auto items = items_of(message, body); items.size() == 1) {
        return log_.encode_json(from_, items.front().importance, items.front().json,
                                wall_clock::now(), all);
    }
    body = body.substr(0, intake_.limits.json.record_bytes_max);
    return log_.encode_text(from_, level::info, body, all);
}

/// The object that it is; otherwise not one.
std::span<const json_item> message_encoder::items_of(const amqp::delivery& message,
                                                     std::string_view body) {
    const auto first = body.find_first_not_of(" \t\r\n");
    if (is_too_long(message, body) || first == body.npos || body[first] != '{') {
        return {};
    }
    const auto& items = intake_.usual.decoder.decode(body, json_framing::any);
    return traces_.added_to(items, amqp::text_of(message.props().headers, "traceparent"));
}

} // namespace sapwood::collector
