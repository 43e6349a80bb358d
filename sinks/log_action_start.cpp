// How a logger begins actions: here, as somebody's child, in somebody's trace.
#include <sapwood/logger.hpp>

#include <sapwood/log_escape.hpp>
#include <sapwood/trace_parent.hpp>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <string>
#include <system_error>
#include <utility>

namespace sapwood {

namespace {

constexpr std::size_t shown_id_bytes_max = 256;

/// `<uuid>@/2/3`, taken apart: the level as log_action has it.
struct parsed_task_id {
    std::string uuid;
    std::string level;
};

bool is_uuid(std::string_view text) noexcept {
    if (text.size() != detail::log_place::uuid_bytes) {
        return false;
    }
    for (std::size_t i = 0; i < text.size(); ++i) {
        const bool is_dash = i == 8 || i == 13 || i == 18 || i == 23;
        const char c = text[i];
        const bool is_digit =
            (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
        if (is_dash ? c != '-' : !is_digit) {
            return false;
        }
    }
    return text.find_first_not_of("0-") != text.npos; // the nil UUID is nobody's
}

/// An empty uuid where it is none.
parsed_task_id parse_task_id(std::string_view id) {
    const std::size_t at = id.find('@');
    // The slash is the level's comma: what serialize_task_id() makes is no longer.
    if (at == id.npos || !is_uuid(id.substr(0, at)) ||
        id.size() - at - 1 > detail::log_place::level_bytes_max) {
        return {};
    }
    std::string level;
    for (std::string_view rest = id.substr(at + 1); !rest.empty();) {
        const std::size_t end = std::min(rest.find('/', 1), rest.size());
        const std::string_view number = rest.substr(0, end);
        std::uint32_t value = 0;
        const char* const number_end = number.data() + number.size();
        const bool is_number = number.size() >= 2 && number[0] == '/' && number[1] != '0' &&
                               std::from_chars(number.data() + 1, number_end, value) ==
                                   std::from_chars_result{number_end, std::errc()};
        if (!is_number) {
            return {};
        }
        level.append(level.empty() ? "" : ",").append(number.substr(1));
        rest.remove_prefix(end);
    }
    if (level.empty()) {
        return {};
    }
    std::string uuid(id.substr(0, at)); // in upper case it would be another task
    std::ranges::transform(uuid, uuid.begin(), [](char c) {
        return c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    return {std::move(uuid), std::move(level)};
}

} // namespace

action logger::begin_action(level importance, const action_name& name,
                            std::string_view fields) const {
    return action(detail::log_action::begin(
        {.core = *core_, .importance = importance, .name = name.text(), .where = name.where()},
        fields));
}

action logger::continue_action(std::string_view task_id, const action_name& name,
                               std::string_view fields) const {
    const parsed_task_id parsed = parse_task_id(task_id);
    if (parsed.uuid.empty()) {
        std::string with_link;
        const std::string_view shown = detail::cut_at_character(task_id, shown_id_bytes_max);
        detail::append_field(with_link, detail::field_text(kv("continues", shown)));
        with_link += fields;
        return action(detail::log_action::begin({.core = *core_,
                                                 .importance = level::info,
                                                 .name = name.text(),
                                                 .where = name.where(),
                                                 .is_task = true},
                                                with_link));
    }
    return action(detail::log_action::begin({.core = *core_,
                                             .importance = level::info,
                                             .name = name.text(),
                                             .where = name.where(),
                                             .uuid = parsed.uuid,
                                             .numbers = parsed.level},
                                            fields));
}

action logger::trace_action(std::string_view header, const action_name& name,
                            std::string_view fields) const {
    const auto parent = trace_parent::parse(header);
    std::string with_trace;
    if (parent) {
        detail::append_field(with_trace, detail::field_text(kv("trace_id", parent->trace_id())));
        detail::append_field(with_trace,
                             detail::field_text(kv("parent_span_id", parent->span_id())));
    }
    with_trace += fields;
    return action(
        detail::log_action::begin({.core = *core_,
                                   .importance = level::info,
                                   .name = name.text(),
                                   .where = name.where(),
                                   .trace = parent ? parent->trace_id() : std::string_view(),
                                   .is_sampled = !parent || parent->is_sampled,
                                   .is_task = true},
                                  with_trace));
}

std::string logger::serialize_task_id() const {
    const auto* const inside = detail::log_action::current_for_others(*core_->backend);
    return inside != nullptr ? inside->take_child_id() : std::string();
}

std::string logger::traceparent() const {
    const auto* const inside = detail::log_action::current_for_others(*core_->backend);
    return inside != nullptr ? inside->traceparent() : std::string();
}

} // namespace sapwood
