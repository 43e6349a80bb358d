// log_action_view: what a record says of its place in a tree of actions, for the forms of lines;
// see action.hpp. Borrowed from the record. Any thread; it allocates nothing.
#pragma once

#include <sapwood/log_place.hpp>
#include <sapwood/log_record.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace sapwood::detail {

struct log_action_view {
    /// Empty: the record is in no action.
    std::string_view uuid;
    /// Its numbers, with commas between them.
    std::string_view level;
    /// Empty: it is a message in an action. "started", "succeeded", "failed", "cancelled".
    std::string_view status;
    std::string_view exception;
    std::string_view reason;
    std::string_view source;
    std::int64_t duration_ns = 0;
    std::uint32_t children = 0;

    /// By stores of its own: what a compiler makes of one that it may know beforehand is an
    /// instruction (rep stos) that takes longer to begin than they do.
    log_action_view() noexcept {} // NOLINT(modernize-use-equals-default)

    explicit operator bool() const noexcept { return !uuid.empty(); }

    [[nodiscard]] bool has_ended() const noexcept { return !status.empty() && status != "started"; }

    [[nodiscard]] bool is_cancelled() const noexcept { return status == "cancelled"; }

    /// What the field says of it, if it does.
    void take(const log_field_view& field) noexcept {
        if (field.kind == log_field_kind::place) [[likely]] {
            take_place(field.value);
        } else {
            take_other(field);
        }
    }

    /// Of a record's fields.
    [[nodiscard]] static log_action_view of(std::string_view fields) noexcept;

  private:
    void take_place(std::string_view value) noexcept {
        const std::size_t uuid_bytes = std::min(log_place::uuid_bytes, value.size());
        uuid = {value.data(), uuid_bytes};
        level = {value.data() + uuid_bytes, value.size() - uuid_bytes};
    }

    void take_other(const log_field_view& field) noexcept;
};

/// The action's time in seconds, with nine digits behind the point: into `to`, of at least 40
/// bytes, of which it returns those that are used.
[[nodiscard]] std::string_view put_seconds(std::int64_t ns, char* to) noexcept;

/// Calls `visit` with names and texts of what the view says, for forms that have a name for each:
/// task_uuid, task_level (`/2/3`), action_status, action_exception and so on.
template <class Visit>
void for_each_action_text(const log_action_view& view, Visit&& visit) {
    if (!view) {
        return;
    }
    visit("task_uuid", view.uuid);
    char level[256];
    std::size_t bytes = 0;
    level[bytes++] = '/';
    for (const char c : view.level.substr(0, sizeof(level) - 1)) {
        level[bytes++] = c == ',' ? '/' : c;
    }
    visit("task_level", std::string_view(level, bytes));
    if (view.status.empty()) {
        return;
    }
    visit("action_status", view.status);
    if (!view.has_ended()) {
        return;
    }
    char text[40];
    visit("action_duration", put_seconds(view.duration_ns, text));
    visit("action_children", std::string_view(text, static_cast<std::size_t>(
                                                        put_decimal(text, view.children) - text)));
    if (!view.exception.empty()) {
        visit("action_exception", view.exception);
        visit("action_reason", view.reason);
        visit("action_source", view.source);
    }
}

/// Whether for_each_action_text() has a name like that.
[[nodiscard]] bool is_action_name(std::string_view name) noexcept;

} // namespace sapwood::detail
