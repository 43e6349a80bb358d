#include "loki.hpp"

#include "json_document.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <fmt/format.h>
#include <string>
#include <vector>

namespace sapwood::collector {

namespace {

namespace dom = simdjson::dom;

/// What the values of a stream have in common.
struct stream_labels {
    level importance = level::info;
    /// `,"app":"shop"`, as it stands in each record.
    std::string members;
    /// Sorted.
    std::vector<std::string_view> names;
};

bool is_own_name(std::string_view name) noexcept {
    return name == "timestamp" || name == "message";
}

stream_labels labels_of(const dom::object& labels) {
    stream_labels made;
    made.importance = level_of(labels);
    for (const auto [name, value] : labels) {
        append_member(is_own_name(name) ? "labels." + std::string(name) : std::string(name), value,
                      made.members);
        made.names.push_back(name);
    }
    std::ranges::sort(made.names);
    return made;
}

void append_metadata(const dom::object& metadata, const stream_labels& labels, std::string& to) {
    for (const auto [name, value] : metadata) {
        const bool is_taken = is_own_name(name) || std::ranges::binary_search(labels.names, name);
        append_member(is_taken ? "metadata." + std::string(name) : std::string(name), value, to);
    }
}

/// False where it is none; what is wrong is in `why`.
bool take_value(const dom::element& value, const stream_labels& labels, decoded_body& to,
                std::string_view& why) {
    dom::array parts;
    if (value.get(parts) != simdjson::SUCCESS) {
        why = "it is not an array of time and line";
        return false;
    }
    std::array<dom::element, 3> part;
    std::size_t count = 0;
    for (const dom::element each : parts) {
        if (count == part.size()) {
            why = "it has more than time, line and structured metadata";
            return false;
        }
        part[count++] = each;
    }
    std::string_view time;
    std::string_view line;
    std::int64_t nanoseconds = 0;
    if (count < 2 || part[0].get(time) != simdjson::SUCCESS || !parse_integer(time, nanoseconds)) {
        why = "its time is not nanoseconds since 1970, as a string";
        return false;
    }
    if (part[1].get(line) != simdjson::SUCCESS) {
        why = "its line is not a string";
        return false;
    }
    dom::object metadata;
    if (count == 3 && part[2].get(metadata) != simdjson::SUCCESS) {
        why = "its structured metadata is not an object";
        return false;
    }
    if (!to.has_room(line.size())) {
        return false;
    }
    std::string& record = to.making();
    record += R"({"timestamp":")";
    append_unix_time(nanoseconds, record);
    record += '"';
    append_member("message", line, record);
    record += labels.members;
    level importance = labels.importance;
    if (count == 3) {
        append_metadata(metadata, labels, record);
        const level own = level_of(metadata);
        importance = own == level::info ? importance : own;
    }
    record += '}';
    return to.add_made(importance);
}

void take_stream(const dom::element& stream, std::size_t number, decoded_body& to) {
    dom::object members;
    dom::object labels;
    dom::array values;
    if (stream.get(members) != simdjson::SUCCESS ||
        members.at_key("stream").get(labels) != simdjson::SUCCESS ||
        members.at_key("values").get(values) != simdjson::SUCCESS) {
        to.fail(400,
                fmt::format("stream {}: it has no object \"stream\" and array \"values\"", number));
        return;
    }
    const stream_labels common = labels_of(labels);
    std::size_t place = 0;
    for (const dom::element value : values) {
        ++place;
        std::string_view why;
        if (!take_value(value, common, to, why)) {
            to.fail(400, fmt::format("stream {}, value {}: {}", number, place, why));
            return;
        }
    }
}

} // namespace

void decode_loki(std::string_view body, decoded_body& to) {
    json_document document;
    const auto object = document.parse(body, to);
    if (!object) {
        return;
    }
    dom::array streams;
    if (object->at_key("streams").get(streams) != simdjson::SUCCESS) {
        to.fail(400, "the body has no array \"streams\"");
        return;
    }
    std::size_t number = 0;
    for (const dom::element stream : streams) {
        take_stream(stream, ++number, to);
        if (!to.is_well()) {
            return;
        }
    }
}

} // namespace sapwood::collector
