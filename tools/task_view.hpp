// task_view: how the tree of a task is shown, told piece by piece from its root on, so that a view
// holds no more than the way from there. walk_task() tells it, and reads the records for it.
#pragma once

#include "action_forest.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace sapwood::tools {

/// A record, or the start of an action, that may lack one.
struct shown_record {
    std::string_view type;
    action_record::role is = action_record::role::message;
    std::string_view importance;
    std::span<const std::uint32_t> level;
    std::optional<std::int64_t> time_ns;
    const std::vector<record_field>& fields;
    /// Nothing follows in its action.
    bool is_last = false;
    /// Another record claims the same place.
    bool is_rival = false;
};

struct shown_action {
    /// Of its start, or where that is missing of its end; without fields then.
    shown_record begin;
    bool has_start = false;
    bool has_end = false;
    /// By its end.
    action_record::role outcome = action_record::role::message;
    std::optional<std::int64_t> end_ns;
    std::optional<std::int64_t> duration_ns;
    /// Something follows the fields of its start.
    bool has_more = false;
    /// Actions around it of which no record but those of this one is there.
    std::size_t unknown_around = 0;
};

class task_view {
  public:
    virtual ~task_view() = default;

    /// Whether begin_task() is to be told the name, for which a record is read once more.
    [[nodiscard]] virtual bool wants_name() const noexcept { return false; }

    /// `name` is the type of its first action, where that is known.
    virtual void begin_task(const action_task& task, const task_state& state,
                            std::string_view name) = 0;
    virtual void begin_action(const shown_action& action) = 0;
    virtual void show(const shown_record& record) = 0;
    /// What the tree lacks, or has too much of.
    virtual void note(std::string_view text, bool is_last) = 0;
    virtual void end_action() = 0;
    virtual void end_task() = 0;
};

/// Tells `view` all of the task, whose places are ordered. `reader` reads its records.
void walk_task(const action_task& task, const task_state& state, action_reader& reader,
               task_view& view);

/// So deep trees are shown as such; what is deeper stands side by side, and its level tells.
inline constexpr std::size_t depth_shown_max = 100;

} // namespace sapwood::tools
