#include "task_view.hpp"

#include <fmt/format.h>
#include <string>

namespace sapwood::tools {

namespace {

using index = action_task::index;
using role = action_record::role;
constexpr index none = action_task::none;

std::string numbers_missing(std::uint32_t first, std::uint32_t last) {
    return first == last ? fmt::format("number {} is missing", first)
                         : fmt::format("numbers {} to {} are missing", first, last);
}

/// The way through the places of a task, on a stack of its own: a task may be as deep as it likes.
class walk {
  public:
    walk(const action_task& task, const task_state& state, action_reader& reader, task_view& view)
        : task_(task),
          is_all_(!state.is_cut && state.parts_before == 0),
          follows_complete_(!state.is_cut && state.follows_complete),
          reader_(reader),
          view_(view) {}

    void run() {
        if (is_lone()) {
            level_.push_back(1);
            show_records(task_.at(action_task::root).first, true);
            return;
        }
        enter(action_task::root, true);
        while (!open_.empty()) {
            step();
        }
    }

  private:
    struct place {
        index action = none;
        index next = none;
        /// The number that should come.
        std::uint32_t expected = 1;
        /// What it added to the level.
        std::size_t depth = 0;
    };

    /// A message outside of all actions.
    [[nodiscard]] bool is_lone() const {
        const action_task::node& root = task_.at(action_task::root);
        return task_.records() == 1 && root.start == none && root.end == none &&
               root.first == root.last && task_.at(root.first).number == 1 &&
               !task_.at(root.first).is_action();
    }

    void read(index record) {
        // It was read before, when it came.
        (void)reader_.read_json(task_.json_of(task_.record_at(record)));
    }

    [[nodiscard]] std::size_t pass_unknown(index& which);
    void enter(index which, bool is_last);
    void tell_action(index which, bool is_last, std::size_t unknown);
    void step();
    void leave();
    void show_records(index which, bool is_last);

    /// Of a part of a task what is missing is elsewhere, but not of what was begun behind all else.
    [[nodiscard]] bool tells_missing(const action_task::node& action) const noexcept {
        return is_all_ || (follows_complete_ && action.start != none && action.parent != none);
    }

    [[nodiscard]] bool ends_with_note(const action_task::node& action) const noexcept {
        return action.end == none && tells_missing(action);
    }

    const action_task& task_;
    bool is_all_;
    bool follows_complete_;
    action_reader& reader_;
    task_view& view_;
    std::vector<place> open_;
    std::vector<std::uint32_t> level_;
    const std::vector<record_field> no_fields_{};
};

/// Actions of which nothing is there but one that is in them are one line: how many.
std::size_t walk::pass_unknown(index& which) {
    std::size_t unknown = 0;
    for (const auto* each = &task_.at(which);
         each->start == none && each->end == none && each->first == each->last &&
         task_.at(each->first).is_action() && task_.at(each->first).first_record == none;
         each = &task_.at(which)) {
        which = each->first;
        level_.push_back(task_.at(which).number);
        ++unknown;
    }
    return unknown;
}

void walk::enter(index which, bool is_last) {
    const std::size_t depth = level_.size();
    if (which != action_task::root) {
        level_.push_back(task_.at(which).number);
    }
    const std::size_t unknown = pass_unknown(which);
    const action_task::node& action = task_.at(which);
    open_.push_back({.action = which, .next = action.first, .expected = 1, .depth = depth});
    level_.push_back(1);
    tell_action(which, is_last, unknown);
    level_.pop_back();
    if (action.start == none && tells_missing(action)) {
        view_.note("its start is missing", false);
    }
}

void walk::tell_action(index which, bool is_last, std::size_t unknown) {
    const action_task::node& action = task_.at(which);
    const bool has_start = action.start != none;
    const bool has_end = action.end != none;
    if (has_start || has_end) {
        read(has_start ? action.start : action.end);
    }
    const action_record& record = reader_.record();
    const action_task::node& first = task_.at(action.first);
    const bool starts_first = has_start && first.first_record == action.start && !first.is_action();
    const bool has_rival = starts_first && task_.record_at(action.start).next != none;
    view_.begin_action(
        {.begin = {.type = has_start || has_end ? record.type : std::string_view(),
                   .is = role::start,
                   .importance = {},
                   .level = level_,
                   .time_ns = has_start ? record.time_ns : std::nullopt,
                   .fields = has_start ? reader_.fields() : no_fields_,
                   .is_last = is_last,
                   .is_rival = false},
         .has_start = has_start,
         .has_end = has_end,
         .outcome = has_end ? task_.record_at(action.end).is : role::message,
         .end_ns = has_end ? task_.record_at(action.end).time_ns : std::nullopt,
         .duration_ns = task_.duration_of(action),
         .has_more = !starts_first || first.next != none || has_rival || ends_with_note(action),
         .unknown_around = unknown});
}

void walk::step() {
    place& here = open_.back();
    const action_task::node& action = task_.at(here.action);
    if (here.next == none) {
        leave();
        return;
    }
    const index which = here.next;
    const action_task::node& node = task_.at(which);
    here.next = node.next;
    // A start that is missing has been told.
    const std::uint32_t expected = here.expected == 1 && action.start == none ? 2 : here.expected;
    if (node.number > expected && tells_missing(action)) {
        view_.note(numbers_missing(expected, node.number - 1), false);
    }
    here.expected = node.number + 1;
    const bool is_last = node.next == none && !ends_with_note(action);
    const bool is_start = node.first_record != none && node.first_record == action.start;
    if (is_start && task_.record_at(node.first_record).next == none && !node.is_action()) {
        return; // it was shown
    }
    level_.push_back(node.number);
    show_records(which, is_last && !node.is_action());
    level_.pop_back();
    if (node.is_action()) {
        enter(which, is_last);
    }
}

void walk::leave() {
    const action_task::node& action = task_.at(open_.back().action);
    if (ends_with_note(action)) {
        view_.note("its end is missing", true);
    }
    level_.resize(open_.back().depth);
    open_.pop_back();
    view_.end_action();
}

void walk::show_records(index which, bool is_last) {
    const action_task::node& node = task_.at(which);
    const action_task::node& action = task_.at(node.parent);
    for (index each = node.first_record; each != none; each = task_.record_at(each).next) {
        if (each == action.start) {
            continue;
        }
        read(each);
        const action_record& record = reader_.record();
        const bool is_over = is_last && task_.record_at(each).next == none;
        std::string miscount;
        if (each == action.end && record.children &&
            *record.children + 2 != std::uint64_t{node.number}) {
            miscount = fmt::format(
                "its end says that {} records and actions are in it, and its number says {}",
                *record.children, node.number - std::min(node.number, 2U));
        }
        view_.show({.type = record.type,
                    .is = record.is,
                    .importance = record.importance,
                    .level = level_,
                    .time_ns = record.time_ns,
                    .fields = reader_.fields(),
                    .is_last = is_over && miscount.empty(),
                    .is_rival = each != node.first_record || node.is_action()});
        if (!miscount.empty()) {
            view_.note(miscount, is_over);
        }
    }
}

} // namespace

void walk_task(const action_task& task, const task_state& state, action_reader& reader,
               task_view& view) {
    const action_task::node& top = task.at(action_task::root);
    const index told_by = top.start != none     ? top.start
                          : top.end != none     ? top.end
                          : task.records() == 1 ? 0
                                                : none;
    std::string name;
    if (told_by != none && view.wants_name() &&
        reader.read_json(task.json_of(task.record_at(told_by))) == action_reader::outcome::record) {
        name = reader.record().type;
    }
    view.begin_task(task, state, name);
    walk(task, state, reader, view).run();
    view.end_task();
}

} // namespace sapwood::tools
