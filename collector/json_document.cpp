#include "json_document.hpp"

#include "syslog_message.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <new>

namespace sapwood::collector {

namespace {

/// How many members and elements it can have at most, by its brackets and commas outside of
/// strings; no more than `max` + 1 are counted.
std::size_t values_of(std::string_view json, std::size_t max) noexcept {
    std::size_t values = 0;
    for (std::size_t i = 0; i < json.size() && values <= max; ++i) {
        switch (json[i]) {
        case '"':
            for (++i; i < json.size() && json[i] != '"'; ++i) {
                i += json[i] == '\\' ? 1 : 0;
            }
            break;
        case ',':
        case '{':
        case '[':
            ++values;
            break;
        default:
            break;
        }
    }
    return values;
}

level level_of_number(std::int64_t number, bool is_python) noexcept {
    constexpr std::int64_t least_step = 10;
    if (!is_python && number >= 0 && number < least_step) {
        // Syslog's severities, which GELF and others have, too; whatever 8 and 9 are.
        return number < 8 ? level_of_severity(static_cast<unsigned>(number)) : level::info;
    }
    // Python counts 10, 20, ... 50 from debug on; pino and bunyan 10, 20, ... 60 from trace on.
    const std::int64_t step = std::clamp<std::int64_t>(number / 10 - (is_python ? 0 : 1), 0, 5);
    return static_cast<level>(step);
}

} // namespace

std::optional<simdjson::dom::object> json_document::parse(std::string_view body, decoded_body& to) {
    if (body.empty()) { // it may be a null pointer
        to.fail(400, "the body is empty");
        return std::nullopt;
    }
    // Fewer bytes than that have fewer values.
    if (body.size() > to.limits.values_max &&
        values_of(body, to.limits.values_max) > to.limits.values_max) {
        to.fail(413, fmt::format("the body has more than {} values", to.limits.values_max));
        return std::nullopt;
    }
    if (body.size() > parser_.capacity() &&
        parser_.allocate(std::max<std::size_t>(body.size(), 4096), to.limits.json.depth_max) !=
            simdjson::SUCCESS) {
        throw std::bad_alloc();
    }
    simdjson::dom::object found;
    const simdjson::error_code error = parser_.parse(body.data(), body.size(), true).get(found);
    if (error == simdjson::MEMALLOC) {
        throw std::bad_alloc();
    }
    if (error != simdjson::SUCCESS) {
        to.fail(400, error == simdjson::INCORRECT_TYPE ? "the body is not an object"
                     : error == simdjson::EMPTY        ? "the body is empty"
                                                       : text_of(error));
        return std::nullopt;
    }
    return found;
}

void append_member(std::string_view name, std::string_view text, std::string& to) {
    if (!to.ends_with('{')) {
        to += ',';
    }
    append_json_member(name, text, to);
}

void append_member(std::string_view name, const simdjson::dom::element& value, std::string& to) {
    std::string_view text;
    if (value.get(text) == simdjson::SUCCESS) {
        append_member(name, text, to);
        return;
    }
    if (!to.ends_with('{')) {
        to += ',';
    }
    append_json_text(name, to);
    to += ':';
    to += simdjson::minify(value);
}

level level_of(const simdjson::dom::object& record) {
    level found = level::info;
    for (const auto [key, value] : record) {
        if (key.empty() || (key.front() != 'l' && key.front() != 's' && key.front() != 'd')) {
            continue;
        }
        if (key == "log") { // as Elastic's agents have it: {"log":{"level":"error"}}
            simdjson::dom::object inner;
            std::string_view name;
            if (value.get(inner) == simdjson::SUCCESS &&
                inner.at_key("level").get(name) == simdjson::SUCCESS) {
                found = level_named(name);
            }
            continue;
        }
        const bool is_number = key == "levelno";
        if (!is_number && key != "level" && key != "levelname" && key != "severity" &&
            key != "lvl" && key != "log.level" && key != "detected_level") {
            continue;
        }
        std::string_view name;
        std::int64_t number = 0;
        if (value.get(name) == simdjson::SUCCESS) {
            return level_named(name);
        }
        if (value.get(number) == simdjson::SUCCESS) {
            found = level_of_number(number, is_number);
        }
    }
    return found;
}

std::string_view text_of(simdjson::error_code error) noexcept {
    switch (error) {
    case simdjson::DEPTH_ERROR:
        return "objects or arrays are nested too deeply";
    case simdjson::UTF8_ERROR:
        return "it is not UTF-8";
    case simdjson::UNESCAPED_CHARS:
        return "a string has a control character in it";
    case simdjson::UNCLOSED_STRING:
        return "a string does not end";
    case simdjson::STRING_ERROR:
        return "a string has an escape that JSON does not know";
    case simdjson::NUMBER_ERROR:
        return "a number is none, or too large";
    default:
        return "it is not JSON";
    }
}

} // namespace sapwood::collector
