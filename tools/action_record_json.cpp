#include "action_record_json.hpp"

#include <sapwood/escape.hpp>

#include <cmath>
#include <cstring>
#include <fmt/format.h>
#include <iterator>

namespace sapwood::tools {

std::unique_ptr<action_reader::json_state> action_reader::json_state::make() {
    return std::make_unique<json_state>();
}

#ifdef SAPWOOD_HAS_SIMDJSON

namespace {

namespace dom = simdjson::dom;

/// Seconds, as JSON has them, as nanoseconds. None where they are no number that a time or a span
/// can be: what is here, two of them have a difference.
std::optional<std::int64_t> nanoseconds_in(const dom::element& value) noexcept {
    constexpr double seconds_max = 9.2e9;
    double seconds = 0;
    if (value.get(seconds) != simdjson::SUCCESS || !(seconds >= 0 && seconds < seconds_max)) {
        return std::nullopt;
    }
    return std::llround(seconds * 1e9);
}

/// Seconds since 1970, of which a double has no more than the microseconds: 1795752000.017 is a
/// little less than that.
std::optional<std::int64_t> moment_in(const dom::element& value) noexcept {
    const auto ns = nanoseconds_in(value);
    return ns ? std::optional((*ns + 500) / 1000 * 1000) : std::nullopt;
}

/// A line whose bytes that are no UTF-8 are `\xHH`, as escape() has them, in texts of JSON.
void repair_utf8(std::string_view line, std::string& to) {
    to.clear();
    while (!line.empty()) {
        std::size_t size = static_cast<unsigned char>(line.front()) < 0x80 ? 1 : 2;
        while (size > 1 && size < 5 && !is_utf8(line.substr(0, size))) {
            ++size;
        }
        if (size == 5 || !is_utf8(line.substr(0, size))) {
            fmt::format_to(std::back_inserter(to), "\\\\x{:02x}",
                           static_cast<unsigned char>(line.front()));
            size = 1;
        } else {
            size = std::min(size, line.size());
            to += line.substr(0, size);
        }
        line.remove_prefix(size);
    }
}

} // namespace

void action_reader::json_state::members::find(const dom::object& in) {
    all = in;
    for (const auto [key, value] : in) {
        if (key.size() >= 9) {
            note_place(key, value);
        } else {
            note_other(key, value);
        }
    }
}

/// By length first: most keys are none of these.
void action_reader::json_state::members::note_place(std::string_view key,
                                                    const dom::element& value) {
    switch (key.size()) {
    case 9:
        if (is_key(key, "task_uuid")) {
            task = value;
        } else if (is_key(key, "timestamp")) {
            timestamp = value;
        }
        return;
    case 10:
        if (is_key(key, "task_level")) {
            level = value;
        }
        return;
    case 11:
        if (is_key(key, "action_type")) {
            is_action = true;
            action_type = text_in(value);
        }
        return;
    case 12:
        message_type = is_key(key, "message_type") ? text_in(value) : message_type;
        return;
    case 13:
        action_status = is_key(key, "action_status") ? text_in(value) : action_status;
        return;
    default:
        return;
    }
}

void action_reader::json_state::members::note_other(std::string_view key,
                                                    const dom::element& value) {
    dom::object inner;
    switch (key.size()) {
    case 3:
        text = is_key(key, "msg") ? text_in(value) : text;
        return;
    case 4:
        if (is_key(key, "time")) {
            time = value;
        }
        return;
    case 5:
        if (is_key(key, "level")) {
            importance = text_in(value);
            importance = parse_level(importance) ? importance : std::string_view();
        }
        return;
    case 6:
        if ((is_key(key, "record") || is_key(key, "fields")) &&
            value.get(inner) == simdjson::SUCCESS) {
            (is_key(key, "record") ? record : fields) = inner;
        }
        return;
    case 7:
        text = is_key(key, "message") ? text_in(value) : text;
        outcome = is_key(key, "outcome") ? text_in(value) : outcome;
        return;
    case 8:
        if (is_key(key, "duration")) {
            duration = value;
        } else if (is_key(key, "children")) {
            children = value;
        }
        return;
    default:
        return;
    }
}

action_reader::outcome action_reader::read_json(std::string_view json) {
    json_state& state = *json_;
    std::vector<std::uint32_t> level = std::move(record_.level);
    level.clear();
    record_ = action_record();
    record_.level = std::move(level);
    record_.json = json;
    why_ = {};
    dom::object all;
    auto error = state.parser.parse(json.data(), json.size(), false).get(all);
    if (error != simdjson::SUCCESS && json.size() <= line_bytes_max && !is_utf8(json)) {
        repair_utf8(json, state.repaired);
        state.repaired.reserve(state.repaired.size() + line_padding);
        record_.json = state.repaired;
        error = state.parser.parse(record_.json.data(), record_.json.size(), false).get(all);
    }
    if (error != simdjson::SUCCESS) {
        why_ = simdjson::error_message(error);
        return outcome::broken;
    }
    state.found = json_state::members();
    state.found.find(all);
    if (!state.found.task && state.found.record) {
        // What the collector says of it stays, where the record says nothing itself.
        const auto time = state.found.time;
        const dom::object inner = *state.found.record;
        state.found = json_state::members();
        state.found.time = time;
        state.found.find(inner);
    }
    state.is_place_nested = !state.found.task && state.found.fields;
    if (state.is_place_nested) {
        const dom::object outer = state.found.all;
        const dom::object inner = *state.found.fields;
        state.found.find(inner);
        state.found.all = outer;
    }
    if (!state.found.task) {
        return outcome::none;
    }
    const outcome what = read_members();
    // Who calls a field of a record so, which has no place, has broken nothing.
    return what == outcome::broken && state.is_place_nested ? outcome::none : what;
}

action_reader::outcome action_reader::read_members() {
    json_state& state = *json_;
    const json_state::members& found = state.found;
    state.has_account = state.is_text_name = state.is_cancelled = state.is_sapwoods =
        state.is_text_type = false;
    record_.task = text_in(*found.task);
    if (record_.task.empty()) {
        why_ = "its task_uuid is no text";
        return outcome::broken;
    }
    const bool is_ended = found.action_status == "succeeded" || found.action_status == "failed";
    if (found.action_status == "started") {
        record_.is = action_record::role::start;
    } else if (is_ended) {
        record_.is = found.action_status == "succeeded" ? action_record::role::success
                     : found.outcome == "cancelled"     ? action_record::role::cancelled
                                                        : action_record::role::failure;
    }
    if (found.is_action || record_.is != action_record::role::message) {
        record_.type = found.action_type;
    } else {
        record_.type = found.message_type.empty() ? found.text : found.message_type;
        record_.importance = found.importance;
        state.is_text_name = found.message_type.empty();
    }
    state.has_known_status = record_.is != action_record::role::message;
    state.is_cancelled = record_.is == action_record::role::cancelled;
    if (found.timestamp) {
        record_.time_ns = moment_in(*found.timestamp);
        state.is_sapwoods = found.time && !text_in(*found.time).empty();
        state.is_text_type = found.text == record_.type;
    }
    for (const auto& each : {found.timestamp, found.time}) {
        if (each && !record_.time_ns) {
            std::string_view text = text_in(*each);
            record_.time_ns = text.empty() ? moment_in(*each) : state.times.take(text);
        }
    }
    // One of them alone is a field that somebody has called so.
    std::uint64_t children = 0;
    if (is_ended && found.duration && found.children &&
        found.children->get(children) == simdjson::SUCCESS) {
        record_.duration_ns = nanoseconds_in(*found.duration);
        state.has_account = record_.duration_ns.has_value();
        record_.children = state.has_account ? std::optional(children) : std::nullopt;
    }
    return read_place();
}

action_reader::outcome action_reader::read_place() {
    dom::array level;
    if (!json_->found.level || json_->found.level->get(level) != simdjson::SUCCESS) {
        why_ = "its task_level is no array";
        return outcome::broken;
    }
    for (const dom::element each : level) {
        std::uint64_t number = 0;
        if (each.get(number) != simdjson::SUCCESS || number == 0 || number > number_max) {
            why_ = "its task_level has something else than numbers from 1 to 4,294,967,295";
            return outcome::broken;
        }
        if (record_.level.size() == depth_max) {
            why_ = "its task_level is deeper than 1,000,000";
            return outcome::broken;
        }
        record_.level.push_back(static_cast<std::uint32_t>(number));
    }
    if (record_.level.empty()) {
        why_ = "its task_level is empty";
        return outcome::broken;
    }
    return outcome::record;
}

std::string action_reader::claim_of(std::string_view json) {
    std::string padded(json);
    padded.resize(json.size() + line_padding);
    return read_json(std::string_view(padded).substr(0, json.size())) == outcome::record
               ? simdjson::minify(json_->found.all)
               : std::string();
}

#else

action_reader::outcome action_reader::read_json(std::string_view) {
    return outcome::none;
}

action_reader::outcome action_reader::read_members() {
    return outcome::none;
}

action_reader::outcome action_reader::read_place() {
    return outcome::none;
}

std::string action_reader::claim_of(std::string_view) {
    return {};
}

#endif

} // namespace sapwood::tools
