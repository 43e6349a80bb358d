#include "crash_action.hpp"

#include <algorithm>
#include <cstdint>

namespace sapwood::detail {

namespace {

/// At worst six bytes for one.
constexpr std::size_t json_growth = 6;
constexpr std::size_t names_bytes = 512;

void put_text_member(std::string_view member, std::string_view text, crash_text& to) noexcept {
    to.put(member);
    to.put('"');
    to.put_json(text);
    to.put('"');
}

void put_end(const log_action_view& action, crash_text& to) noexcept {
    char text[40];
    to.put(",\"duration\":");
    to.put(put_seconds(action.duration_ns, text));
    to.put(",\"children\":");
    to.put_decimal(action.children);
    if (!action.exception.empty()) {
        put_text_member(",\"exception\":", action.exception, to);
        put_text_member(",\"reason\":", action.reason, to);
        put_text_member(",\"source\":", action.source, to);
    }
}

} // namespace

void put_crash_action_members(const log_record& record, crash_text& to) noexcept {
    const auto action = log_action_view::of(record.fields);
    const std::size_t texts = record.message.size() + action.exception.size() +
                              action.reason.size() + action.source.size();
    if (!action || to.room() < names_bytes + action.level.size() + json_growth * texts) {
        return;
    }
    const auto ns = static_cast<std::uint64_t>(
        std::max<std::int64_t>(record.when.time_since_epoch().count(), 0));
    put_text_member(",\"task_uuid\":", action.uuid, to);
    to.put(",\"task_level\":[");
    to.put(action.level);
    to.put("],\"timestamp\":");
    to.put_decimal(ns / 1'000'000'000);
    to.put('.');
    to.put_decimal(ns / 1'000 % 1'000'000, 6);
    if (action.status.empty()) {
        put_text_member(",\"message_type\":", record.message, to);
        return;
    }
    put_text_member(",\"action_type\":", record.message, to);
    put_text_member(",\"action_status\":", action.is_cancelled() ? "failed" : action.status, to);
    if (action.is_cancelled()) {
        to.put(",\"outcome\":\"cancelled\"");
    }
    if (action.has_ended()) {
        put_end(action, to);
    }
}

} // namespace sapwood::detail
