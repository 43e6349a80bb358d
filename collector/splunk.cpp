#include "splunk.hpp"

#include "http_interface.hpp"
#include "json_document.hpp"
#include "json_slices.hpp"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <string>

namespace sapwood::collector {

namespace {

namespace dom = simdjson::dom;

/// Seconds, as a number or as the text of one.
bool is_time(const dom::element& time) noexcept {
    std::string_view text;
    if (time.get(text) != simdjson::SUCCESS) {
        return time.is_number();
    }
    double seconds = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
    return error == std::errc() && end == text.data() + text.size();
}

/// Splunk's words for what is wrong with an event's envelope; empty where nothing is.
std::string_view wrong_with(const dom::object& envelope) {
    dom::element event;
    dom::element other;
    std::string_view text;
    if (envelope.at_key("event").get(event) != simdjson::SUCCESS) {
        return splunk_words::required;
    }
    if (event.is_null() || (event.get(text) == simdjson::SUCCESS && text.empty())) {
        return splunk_words::blank;
    }
    if (envelope.at_key("time").get(other) == simdjson::SUCCESS && !is_time(other)) {
        return splunk_words::invalid;
    }
    dom::object fields;
    if (envelope.at_key("fields").get(other) == simdjson::SUCCESS) {
        if (other.get(fields) != simdjson::SUCCESS) {
            return splunk_words::fields;
        }
        for (const auto [name, value] : fields) {
            if (value.is_object()) { // they are to be flat
                return splunk_words::fields;
            }
        }
    }
    return {};
}

/// What the event says of itself, or its fields.
level level_of_event(const dom::object& envelope) {
    dom::object inner;
    for (const std::string_view name : {"event", "fields"}) {
        if (envelope.at_key(name).get(inner) == simdjson::SUCCESS) {
            if (const level found = level_of(inner); found != level::info) {
                return found;
            }
        }
    }
    return level_of(envelope);
}

} // namespace

void decode_splunk_events(std::string_view body, decoded_body& to) {
    json_document document;
    decoded_body one(to.limits);
    body = without_space(body);
    if (body.empty()) {
        to.fail(400, splunk_words::no_data);
    }
    while (!body.empty()) {
        const std::string_view slice = first_json_value(body);
        const auto fail = [&to](std::string_view words, std::string_view detail) {
            to.fail(400, fmt::format("{}: event {}{}", words, to.size() + 1, detail));
        };
        if (slice.size() > to.limits.json.record_bytes_max) {
            to.fail(413, fmt::format("event {}: it is longer than {} bytes", to.size() + 1,
                                     to.limits.json.record_bytes_max));
            return;
        }
        const auto envelope = document.parse(slice, one);
        if (!envelope) {
            fail(splunk_words::invalid, ": " + one.error());
            return;
        }
        if (const std::string_view words = wrong_with(*envelope); !words.empty()) {
            fail(words, "");
            return;
        }
        if (!to.add(level_of_event(*envelope), slice)) {
            return;
        }
        body = without_space(body.substr(slice.size()));
    }
}

void decode_splunk_raw(std::string_view body, std::string_view query, decoded_body& to) {
    std::string common;
    for (const std::string_view name : {"time", "host", "source", "sourcetype", "index"}) {
        if (const std::string_view value = parameter(query, name); !value.empty()) {
            common += ',';
            append_json_member(name, unquoted_form_text(value), common);
        }
    }
    while (!body.empty()) {
        const auto end = std::min(body.find('\n'), body.size());
        std::string_view line = body.substr(0, end);
        body.remove_prefix(std::min(end + 1, body.size()));
        if (line.ends_with('\r')) {
            line.remove_suffix(1);
        }
        if (line.empty()) {
            continue;
        }
        if (!to.has_room(line.size())) {
            return;
        }
        std::string& made = to.making();
        made += '{';
        append_json_member("message", line, made);
        made += common;
        made += '}';
        if (!to.add_made(level::info)) {
            return;
        }
    }
    if (to.size() == 0) {
        to.fail(400, splunk_words::no_data);
    }
}

} // namespace sapwood::collector
