// What a record says besides its place: its members, flat.
#include "action_record_json.hpp"

#include <fmt/format.h>

namespace sapwood::tools {

#ifdef SAPWOOD_HAS_SIMDJSON

namespace {

namespace dom = simdjson::dom;

constexpr std::string_view not_utf8_ending = "_escaped";
/// Objects in objects are members of their own down to here, and text below.
constexpr std::uint32_t nests_max = 16;

/// As JSON has it; in `memory`, where it is no word of its own.
std::string_view bare_text_of(const dom::element& value, std::string& memory) {
    switch (value.type()) {
    case dom::element_type::INT64:
        memory = fmt::format_int(std::int64_t(value)).str();
        return memory;
    case dom::element_type::BOOL:
        return bool(value) ? "true" : "false";
    case dom::element_type::NULL_VALUE:
        return "null";
    default:
        memory = simdjson::minify(value);
        return memory;
    }
}

} // namespace

bool action_reader::json_state::is_named(std::string_view key) const noexcept {
    switch (key.size()) {
    case 3:
        return is_text_name && is_key(key, "msg");
    case 4:
        return is_sapwoods && is_key(key, "time");
    case 5:
        return (is_sapwoods || !found.importance.empty()) && is_key(key, "level");
    case 6:
        return is_sapwoods && is_key(key, "thread");
    case 7:
        return (is_cancelled && is_key(key, "outcome")) ||
               ((is_text_name || (is_sapwoods && is_text_type)) && is_key(key, "message"));
    case 8:
        return has_account && (is_key(key, "duration") || is_key(key, "children"));
    case 9:
        return is_key(key, "task_uuid") || is_key(key, "timestamp");
    case 10:
        return is_key(key, "task_level");
    case 11:
        return is_key(key, "action_type");
    case 12:
        return is_key(key, "message_type");
    case 13:
        return has_known_status && is_key(key, "action_status");
    case 15:
        return is_sapwoods && is_key(key, "message_escaped");
    default:
        return false;
    }
}

bool action_reader::json_state::leaves_out(const std::vector<record_field>& of) noexcept {
    if (of.size() < fields_max) {
        return false;
    }
    ++left_out;
    return true;
}

void action_reader::json_state::add_field(std::string_view key, const dom::element& value,
                                          std::uint32_t depth, std::vector<record_field>& to) {
    using kind = record_field::kind;
    if (leaves_out(to)) {
        return;
    }
    std::string_view text;
    dom::object object;
    dom::array array;
    if (value.get(text) == simdjson::SUCCESS) {
        const bool is_escaped = key.ends_with(not_utf8_ending);
        to.push_back({depth, is_escaped ? key.substr(0, key.size() - not_utf8_ending.size()) : key,
                      text, is_escaped ? kind::escaped : kind::text});
        return;
    }
    if (depth < nests_max && value.get(object) == simdjson::SUCCESS && object.size() != 0) {
        to.push_back({depth, key, {}, kind::nest});
        for (const auto [name, inner] : object) {
            add_field(name, inner, depth + 1, to);
        }
        return;
    }
    if (depth < nests_max && value.get(array) == simdjson::SUCCESS) {
        bool has_nests = false;
        for (const dom::element each : array) {
            has_nests = has_nests || each.is_object() || each.is_array();
        }
        if (has_nests) {
            to.push_back({depth, key, {}, kind::nest});
            std::size_t index = 0;
            for (const dom::element each : array) {
                if (leaves_out(to)) {
                    continue;
                }
                add_field(texts.emplace_back(std::to_string(index++)), each, depth + 1, to);
            }
            return;
        }
    }
    to.push_back({depth, key, bare_text_of(value, texts.emplace_back()), kind::bare});
}

void action_reader::json_state::add_fields(const dom::object& of, std::uint32_t depth,
                                           std::vector<record_field>& to) {
    for (const auto [key, value] : of) {
        if (dom::object inner;
            key == "fields" && found.fields && value.get(inner) == simdjson::SUCCESS) {
            for (const auto [name, each] : inner) {
                if (!is_place_nested || !is_named(name)) {
                    add_field(name, each, depth, to);
                }
            }
        } else if (!is_named(key)) {
            add_field(key, value, depth, to);
        }
    }
}

const std::vector<record_field>& action_reader::fields() {
    fields_.clear();
    json_->texts.clear();
    json_->left_out = 0;
    if (json_->found.task) {
        json_->add_fields(json_->found.all, 0, fields_);
    }
    if (const std::uint64_t more = json_->left_out; more > 0) {
        const std::string& told = json_->texts.emplace_back(
            fmt::format("{} more field{} left out", more, more == 1 ? " is" : "s are"));
        fields_.push_back({0, {}, told, record_field::kind::left_out});
    }
    return fields_;
}

#else

const std::vector<record_field>& action_reader::fields() {
    return fields_;
}

#endif

} // namespace sapwood::tools
