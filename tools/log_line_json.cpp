#include "log_line_json.hpp"

#include <algorithm>
#include <charconv>

namespace sapwood::tools {

std::unique_ptr<line_parser::json_state> line_parser::json_state::make() {
    return std::make_unique<json_state>();
}

#ifdef SAPWOOD_HAS_SIMDJSON

namespace {

namespace dom = simdjson::dom;

/// What a member of a line is, by the names that loggers give it.
enum class meaning : std::uint8_t { field, time, level, thread, logger, from, tag, message, nest };

/// A text that is not UTF-8 stands behind a name that ends so, as escape() has it.
constexpr std::string_view escaped_ending = "_escaped";

meaning meaning_of(std::string_view key) noexcept {
    // By length first: most keys are none of these.
    switch (key.size()) {
    case 2:
        return key == "ts" ? meaning::time : meaning::field;
    case 3:
        return key == "msg"                   ? meaning::message
               : key == "tag" || key == "app" ? meaning::tag
               : key == "lvl"                 ? meaning::level
                                              : meaning::field;
    case 4:
        return key == "time" ? meaning::time : key == "from" ? meaning::from : meaning::field;
    case 5:
        return key == "level" ? meaning::level : meaning::field;
    case 6:
        return key == "thread"                      ? meaning::thread
               : key == "logger"                    ? meaning::logger
               : key == "fields" || key == "record" ? meaning::nest
                                                    : meaning::field;
    case 7:
        return key == "message"   ? meaning::message
               : key == "asctime" ? meaning::time
                                  : meaning::field;
    case 8:
        return key == "severity" ? meaning::level : meaning::field;
    case 9:
        return key == "timestamp"                         ? meaning::time
               : key == "levelname" || key == "log.level" ? meaning::level
                                                          : meaning::field;
    default:
        return key == "@timestamp"                               ? meaning::time
               : key == "logger_name" || key == "logger_escaped" ? meaning::logger
               : key == "message_escaped"                        ? meaning::message
               : key == "thread_name"                            ? meaning::thread
                                                                 : meaning::field;
    }
}

std::optional<std::int64_t> time_of(const dom::element& value, time_reader& reader) {
    std::string_view text;
    if (value.get(text) == simdjson::SUCCESS) {
        const std::string_view whole = text;
        const auto time = reader.take(text);
        return time ? time : time_since_epoch(whole);
    }
    double number = 0;
    if (value.get(number) != simdjson::SUCCESS) {
        return std::nullopt;
    }
    return time_since_epoch(number);
}

/// `otherwise` where it is none.
std::string_view text_of(const dom::element& value, std::string_view otherwise) {
    std::string_view text;
    return value.get(text) == simdjson::SUCCESS ? text : otherwise;
}

/// That of an object; `otherwise` where it has none.
std::string_view tag_of(const dom::element& value, std::string_view otherwise) {
    dom::object members;
    std::string_view tag = otherwise;
    if (value.get(members) == simdjson::SUCCESS) {
        for (const auto [key, inner] : members) {
            tag = meaning_of(key) == meaning::tag ? text_of(inner, tag) : tag;
        }
    }
    return tag;
}

std::optional<level> json_level_of(const dom::element& value) {
    std::string_view text;
    if (value.get(text) != simdjson::SUCCESS) {
        return std::nullopt;
    }
    const auto found = parse_level(text);
    return found == level::off ? std::nullopt : found;
}

} // namespace

void line_parser::parse_json(std::string_view body) {
    json_state& state = *json_;
    if (state.parser.parse(body.data(), body.size(), false).get(state.members) !=
        simdjson::SUCCESS) {
        line_.message = body;
        return;
    }
    line_.is = log_line::form::json;
    for (const auto [key, value] : state.members) {
        std::string_view text;
        switch (meaning_of(key)) {
        case meaning::time:
            line_.time_ns = line_.time_ns ? line_.time_ns : time_of(value, times_);
            break;
        case meaning::level:
            line_.importance = line_.importance ? line_.importance : json_level_of(value);
            break;
        case meaning::thread:
            if (value.get(text) == simdjson::SUCCESS) {
                line_.thread = text;
            } else if (std::uint64_t number = 0; value.get(number) == simdjson::SUCCESS) {
                const auto written =
                    std::to_chars(state.thread, state.thread + sizeof(state.thread), number);
                line_.thread = {state.thread, written.ptr};
            }
            break;
        case meaning::logger:
            line_.logger = text_of(value, line_.logger);
            break;
        case meaning::from:
            line_.from = line_.from.empty() ? text_of(value, {}) : line_.from;
            break;
        case meaning::message:
            line_.message = text_of(value, line_.message);
            break;
        case meaning::tag:
            line_.tag = text_of(value, line_.tag);
            break;
        case meaning::nest:
            line_.tag = tag_of(value, line_.tag);
            break;
        case meaning::field:
            break;
        }
    }
}

void line_parser::parse_record() {
    json_state& state = *json_;
    if (state.parser.parse(line_.record.data(), line_.record.size(), false).get(state.members) !=
        simdjson::SUCCESS) {
        line_.record = {};
    }
}

void line_parser::collect_json() {
    json_state& state = *json_;
    state.texts.clear();
    const auto add = [&](std::string_view key, const dom::element& value) {
        std::string_view text;
        if (value.get(text) == simdjson::SUCCESS) {
            const bool is_escaped = key.ends_with(escaped_ending);
            fields_.push_back({is_escaped ? key.substr(0, key.size() - escaped_ending.size()) : key,
                               text,
                               is_escaped ? line_field::kind::escaped : line_field::kind::text});
        } else {
            state.texts.push_back(simdjson::minify(value));
            fields_.push_back({key, state.texts.back(), line_field::kind::bare});
        }
    };
    const auto collect = [&](const auto& self, const dom::object& members, bool is_inner) -> void {
        for (const auto [key, value] : members) {
            const meaning is = meaning_of(key);
            std::string_view text;
            dom::object inner;
            if (is == meaning::message && message_.value.data() == nullptr &&
                value.get(text) == simdjson::SUCCESS) {
                message_ = {key, text,
                            key.ends_with(escaped_ending) ? line_field::kind::escaped
                                                          : line_field::kind::text};
            } else if (is == meaning::nest && !is_inner && value.get(inner) == simdjson::SUCCESS) {
                self(self, inner, true);
            } else if (is == meaning::field || is == meaning::nest || is == meaning::tag ||
                       (is_inner && is != meaning::level && is != meaning::time)) {
                add(key, value);
            }
        }
    };
    collect(collect, state.members, !line_.record.empty());
}

std::optional<std::string_view> line_parser::json_field(std::string_view key) {
    json_state& state = *json_;
    const auto text_of = [&](const dom::element& value) {
        std::string_view text;
        if (value.get(text) == simdjson::SUCCESS) {
            return text;
        }
        if (state.texts.size() > 100) {
            state.texts.clear();
        }
        state.texts.push_back(simdjson::minify(value));
        return std::string_view(state.texts.back());
    };
    dom::element value;
    const auto find = [&](const auto& self, const dom::object& in, std::string_view name) -> bool {
        if (in.at_key(name).get(value) == simdjson::SUCCESS) {
            return true;
        }
        const std::size_t dot = name.find('.');
        dom::object inner;
        return dot != name.npos && in.at_key(name.substr(0, dot)).get(inner) == simdjson::SUCCESS &&
               self(self, inner, name.substr(dot + 1));
    };
    if (find(find, state.members, key)) {
        return text_of(value);
    }
    for (const std::string_view nest : {"fields", "record"}) {
        dom::object inner;
        if (state.members.at_key(nest).get(inner) == simdjson::SUCCESS && find(find, inner, key)) {
            return text_of(value);
        }
    }
    return std::nullopt;
}

#else

void line_parser::parse_json(std::string_view body) {
    line_.message = body;
    has_met_unreadable_ = true;
}

void line_parser::parse_record() {
    line_.record = {};
    has_met_unreadable_ = true;
}

void line_parser::collect_json() {}

std::optional<std::string_view> line_parser::json_field(std::string_view) {
    return std::nullopt;
}

#endif

} // namespace sapwood::tools
