#include "otlp.hpp"

#include "json_document.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <fmt/format.h>
#include <string>
#include <system_error>

namespace sapwood::collector {

namespace {

namespace dom = simdjson::dom;

constexpr std::string_view too_long_words = "it is longer than ";

constexpr std::string_view own_names[] = {"timestamp", "observed_timestamp", "severity", "message",
                                          "body",      "trace_id",           "span_id",  "flags",
                                          "event_name"};

bool is_own_otlp_name(std::string_view name) noexcept {
    return name.starts_with("resource.") || name.starts_with("scope.") ||
           std::ranges::find(own_names, name) != std::end(own_names);
}

/// What is null is not set, as protobuf's JSON has it.
bool is_set(const dom::object& of, std::string_view name, dom::element& found) noexcept {
    return of.at_key(name).get(found) == simdjson::SUCCESS && !found.is_null();
}

/// A number that protobuf's JSON has as a string, or as a number.
bool integer_of(const dom::element& value, std::int64_t& number) noexcept {
    std::string_view digits;
    if (value.get(digits) == simdjson::SUCCESS) {
        return parse_integer(digits, number);
    }
    if (value.get(number) == simdjson::SUCCESS) {
        return true;
    }
    constexpr double end = 0x1p63;
    double whole = 0; // `5.0` and `5e0` are fives
    if (value.get(whole) != simdjson::SUCCESS || std::trunc(whole) != whole || whole < -end ||
        whole >= end) {
        return false;
    }
    number = static_cast<std::int64_t>(whole);
    return true;
}

/// A number that fixed64 has room for, and a date of ours has not: from the year 2262 on.
bool is_far_time(const dom::element& value) noexcept {
    std::uint64_t number = 0;
    std::string_view digits;
    if (value.get(digits) == simdjson::SUCCESS) {
        const auto [end, error] =
            std::from_chars(digits.data(), digits.data() + digits.size(), number);
        return error == std::errc() && end == digits.data() + digits.size();
    }
    return value.get(number) == simdjson::SUCCESS;
}

/// Appends what an AnyValue is in plain JSON. False where it is none.
bool append_any_value(const dom::element& value, std::string& to);

bool append_array(const dom::object& array, std::string& to) {
    dom::array values;
    to += '[';
    if (array.at_key("values").get(values) == simdjson::SUCCESS) {
        for (const dom::element each : values) {
            to += to.ends_with('[') ? "" : ",";
            if (!append_any_value(each, to)) {
                return false;
            }
        }
    }
    to += ']';
    return true;
}

bool append_list(const dom::object& list, std::string& to) {
    dom::array values;
    to += '{';
    if (list.at_key("values").get(values) == simdjson::SUCCESS) {
        for (const dom::element each : values) {
            dom::object pair;
            std::string_view key;
            dom::element value;
            if (each.get(pair) != simdjson::SUCCESS ||
                pair.at_key("key").get(key) != simdjson::SUCCESS) {
                return false;
            }
            to += to.ends_with('{') ? "" : ",";
            append_json_text(key, to);
            to += ':';
            if (!is_set(pair, "value", value)) {
                to += "null";
            } else if (!append_any_value(value, to)) {
                return false;
            }
        }
    }
    to += '}';
    return true;
}

bool append_any_value(const dom::element& value, std::string& to) {
    dom::object kinds;
    if (value.get(kinds) != simdjson::SUCCESS) {
        return false;
    }
    for (const auto [kind, inner] : kinds) {
        std::int64_t number = 0;
        dom::object nested;
        std::string_view text;
        if (inner.is_null()) {
            continue; // as if it were not there
        }
        if (kind == "stringValue" || kind == "bytesValue") {
            if (inner.get(text) != simdjson::SUCCESS) {
                return false;
            }
            append_json_text(text, to);
            return true;
        }
        if (kind == "intValue") {
            if (!integer_of(inner, number)) {
                return false;
            }
            fmt::format_to(std::back_inserter(to), "{}", number);
            return true;
        }
        if (kind == "boolValue" || kind == "doubleValue") { // "NaN" is a string
            if (inner.is_object() || inner.is_array()) {
                return false;
            }
            to += simdjson::minify(inner);
            return true;
        }
        if (kind == "arrayValue") {
            return inner.get(nested) == simdjson::SUCCESS && append_array(nested, to);
        }
        if (kind == "kvlistValue") {
            return inner.get(nested) == simdjson::SUCCESS && append_list(nested, to);
        }
    }
    to += "null"; // one that is not set
    return true;
}

void append_name(std::string_view name, std::string& to) {
    if (!to.ends_with('{')) {
        to += ',';
    }
    append_json_text(name, to);
    to += ':';
}

/// Appends each of `attributes` of `owner` as a member. False where one is none.
template <class NameOf>
bool append_attributes(const dom::object& owner, const NameOf& name_of, std::string& to) {
    dom::element found;
    dom::array attributes;
    if (!is_set(owner, "attributes", found)) {
        return true;
    }
    if (found.get(attributes) != simdjson::SUCCESS) {
        return false;
    }
    for (const dom::element each : attributes) {
        dom::object pair;
        std::string_view key;
        if (each.get(pair) != simdjson::SUCCESS ||
            pair.at_key("key").get(key) != simdjson::SUCCESS) {
            return false;
        }
        append_name(name_of(key), to);
        dom::element value;
        if (!is_set(pair, "value", value)) {
            to += "null";
        } else if (!append_any_value(value, to)) {
            return false;
        }
    }
    return true;
}

/// Its severity: a number from 1, four for each level.
level level_of_record(const dom::object& record) {
    std::int64_t number = 0;
    std::string_view text;
    dom::element found;
    if (is_set(record, "severityNumber", found) && integer_of(found, number) && number > 0) {
        return static_cast<level>(std::min<std::int64_t>((number - 1) / 4, 5));
    }
    return record.at_key("severityText").get(text) == simdjson::SUCCESS ? level_named(text)
                                                                        : level::info;
}

/// Appends a time that is not 0, if it can be told. False where it is none.
bool append_time_member(const dom::object& record, std::string_view theirs, std::string_view ours,
                        std::string& to) {
    dom::element found;
    std::int64_t nanoseconds = 0;
    if (!is_set(record, theirs, found)) {
        return true;
    }
    if (!integer_of(found, nanoseconds)) {
        return is_far_time(found);
    }
    if (nanoseconds != 0) {
        append_name(ours, to);
        to += '"';
        append_unix_time(nanoseconds, to);
        to += '"';
    }
    return true;
}

void append_text_member(const dom::object& record, std::string_view theirs, std::string_view ours,
                        std::string& to) {
    std::string_view text;
    if (record.at_key(theirs).get(text) == simdjson::SUCCESS && !text.empty()) {
        append_member(ours, text, to);
    }
}

/// Appends a number that is not 0.
void append_number_member(const dom::object& record, std::string_view theirs, std::string_view ours,
                          std::string& to) {
    dom::element found;
    std::int64_t number = 0;
    if (is_set(record, theirs, found) && integer_of(found, number) && number != 0) {
        append_name(ours, to);
        fmt::format_to(std::back_inserter(to), "{}", number);
    }
}

/// The log records of a body that are refused, each by itself.
struct refused_records {
    std::size_t count = 0;
    /// Of the first.
    unsigned status = 0;
    std::string why;

    /// One more, number `number` of all.
    void add(std::size_t number, unsigned with, std::string_view reason) {
        if (++count == 1) {
            status = with;
            why = fmt::format("log record {}: {}", number, reason);
        }
    }

    /// The answer where others are kept: ExportLogsServiceResponse, whose int64 is a string.
    [[nodiscard]] std::string reply() const {
        std::string made = fmt::format(R"({{"partialSuccess":{{"rejectedLogRecords":"{}",)", count);
        append_json_member(
            "errorMessage",
            count == 1 ? why : fmt::format("{}; so much for the first of {}", why, count), made);
        made += "}}";
        return made;
    }
};

/// False where it is none: what is wrong with it is in `why`, which is empty where it is the body
/// that is wrong.
bool take_record(const dom::object& record, std::string_view common, decoded_body& to,
                 std::string& why) {
    std::string& made = to.making();
    const std::size_t begin = made.size();
    const std::size_t longest = to.limits.json.record_bytes_max;
    const auto too_long = [&] {
        why = fmt::format("{}{} bytes", too_long_words, longest);
        return false;
    };
    made += '{';
    if (!append_time_member(record, "timeUnixNano", "timestamp", made) ||
        !append_time_member(record, "observedTimeUnixNano", "observed_timestamp", made)) {
        why = "its time is not nanoseconds since 1970";
        return false;
    }
    append_text_member(record, "severityText", "severity", made);
    append_text_member(record, "eventName", "event_name", made);
    dom::element body;
    if (is_set(record, "body", body)) {
        const auto text = body.at_key("stringValue").get_string();
        if (text.error() == simdjson::SUCCESS) {
            if (text.value_unsafe().size() > longest) { // each of its bytes may become six
                return too_long();
            }
            append_member("message", text.value_unsafe(), made);
        } else {
            append_name("body", made);
            if (!append_any_value(body, made)) {
                why = "its body is not a value";
                return false;
            }
        }
    }
    append_text_member(record, "traceId", "trace_id", made);
    append_text_member(record, "spanId", "span_id", made);
    append_number_member(record, "flags", "flags", made);
    append_number_member(record, "droppedAttributesCount", "dropped_attributes_count", made);
    const auto name_of = [](std::string_view key) {
        return (is_own_otlp_name(key) ? "attributes." : "") + std::string(key);
    };
    if (!append_attributes(record, name_of, made)) {
        why = "its attributes are not keys and values";
        return false;
    }
    if (made.size() - begin + common.size() > longest) {
        return too_long(); // without a copy for each of the many that may be so
    }
    if (!common.empty()) {
        made += made.ends_with('{') ? common.substr(1) : common;
    }
    made += '}';
    return made.size() - begin > longest ? too_long() : to.add_made(level_of_record(record));
}

/// Calls `take` with each object of the array `name`, which need not be there; ends where it
/// returns false, or something is none.
template <class Take>
bool for_each(const dom::object& of, std::string_view name, decoded_body& to, const Take& take) {
    dom::element found;
    dom::array all;
    if (!is_set(of, name, found)) {
        return true;
    }
    if (found.get(all) != simdjson::SUCCESS) {
        return to.fail(400, fmt::format("{} is not an array", name));
    }
    for (const dom::element each : all) {
        dom::object object;
        if (each.get(object) != simdjson::SUCCESS) {
            return to.fail(400, fmt::format("{} has something that is not an object", name));
        }
        if (!take(object)) {
            return false;
        }
    }
    return true;
}

/// What the records of a scope, or of a resource, have in common.
bool append_common(const dom::object& owner, std::string_view name, std::string& to,
                   decoded_body& body) {
    dom::object found;
    if (owner.at_key(name).get(found) != simdjson::SUCCESS) {
        return true;
    }
    const std::string prefix = std::string(name) + ".";
    for (const std::string_view each : {"name", "version"}) { // which a resource has not
        append_text_member(found, each, prefix + std::string(each), to);
    }
    const auto name_of = [&prefix](std::string_view key) { return prefix + std::string(key); };
    return append_attributes(found, name_of, to) ||
           body.fail(400, fmt::format("the attributes of a {} are not keys and values", name));
}

} // namespace

void decode_otlp(std::string_view body, decoded_body& to, std::string& reply) {
    json_document document;
    const auto object = document.parse(body, to);
    if (!object) {
        return;
    }
    std::size_t number = 0;
    refused_records refused;
    std::string common;
    const auto take_one = [&](const dom::object& record) {
        ++number;
        const std::size_t begin = to.making().size();
        std::string why;
        if (take_record(record, common, to, why)) {
            return true;
        }
        to.making().resize(begin);
        if (!why.empty()) {
            refused.add(number, why.starts_with(too_long_words) ? 413 : 400, why);
        }
        return to.is_well();
    };
    const auto take_scope = [&](const dom::object& scope) {
        const std::size_t of_resource = common.size();
        const bool is_well = append_common(scope, "scope", common, to) &&
                             for_each(scope, "logRecords", to, take_one);
        common.resize(of_resource);
        return is_well;
    };
    const bool is_well = for_each(*object, "resourceLogs", to, [&](const dom::object& resource) {
        common.clear();
        return append_common(resource, "resource", common, to) &&
               for_each(resource, "scopeLogs", to, take_scope);
    });
    if (!is_well || refused.count == 0) {
        return;
    }
    if (to.size() == 0) {
        to.fail(refused.status, refused.why);
    } else {
        reply = refused.reply();
    }
}

} // namespace sapwood::collector
