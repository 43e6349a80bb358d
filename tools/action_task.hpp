// action_task: the records of one task until it is complete, in the order of their places whatever
// the order in which they came, and what is known of it meanwhile. A record is kept as it stands in
// its line; the tree above them has a node for each place that is taken, and for each action.
#pragma once

#include "action_record.hpp"

#include <sapwood/log_record.hpp>

#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sapwood::tools {

class action_task {
  public:
    using index = std::uint32_t;
    static constexpr index none = std::numeric_limits<index>::max();

    struct record {
        std::size_t offset = 0;
        std::uint32_t bytes = 0;
        action_record::role is = action_record::role::message;
        /// Another one that claims the same place.
        index next = none;
        std::optional<std::int64_t> time_ns;
        std::optional<std::int64_t> duration_ns;
    };

    /// A place: of a record, of an action, or of both where somebody has counted wrong.
    struct node {
        index parent = none;
        /// The next place of the same action.
        index next = none;
        std::uint32_t number = 0;
        index first_record = none;
        index last_record = none;

        // Of an action.
        index first = none;
        index last = none;
        std::uint32_t taken = 0;
        std::uint32_t highest = 0;
        index start = none;
        index end = none;
        bool is_unordered = false;
        bool is_whole = false;

        [[nodiscard]] bool is_action() const noexcept { return first != none; }
    };

    static constexpr index root = 0;

    explicit action_task(std::string_view id);

    /// Becomes another one, with the memory of this one.
    void begin_anew(std::string_view id);

    [[nodiscard]] const std::string& id() const noexcept { return id_; }

    /// The records that claim the place; none where nobody has yet.
    [[nodiscard]] index records_at(std::span<const std::uint32_t> level);

    /// `record` is of this task.
    void add(const action_record& record);

    /// Every action has its end, and all numbers up to it. Also a message that belongs to no
    /// action.
    [[nodiscard]] bool is_complete() const noexcept { return unfinished_ == 0 || is_lone_; }

    /// Of what was begun here, below the task's first action, something is missing: of the rest of
    /// a task nobody can tell by a part that comes behind its end.
    [[nodiscard]] bool lacks_of_begun() const noexcept;

    /// Two records claim one place, or an end counts others than its number does.
    [[nodiscard]] bool is_contradictory() const noexcept { return is_contradictory_; }

    /// The places of every action become ordered.
    void order();

    [[nodiscard]] bool has_failed() const noexcept { return has_failed_; }

    /// Whether one of its actions has taken so long.
    [[nodiscard]] bool has_taken(std::int64_t at_least_ns) const noexcept;

    /// How long an action took: by its end, or by the times of its start and its end.
    [[nodiscard]] std::optional<std::int64_t> duration_of(const node& action) const noexcept;

    [[nodiscard]] const node& at(index place) const noexcept { return nodes_[place]; }

    [[nodiscard]] const record& record_at(index place) const noexcept { return records_[place]; }

    /// line_padding bytes behind it may be read.
    [[nodiscard]] std::string_view json_of(const record& of) const noexcept {
        return text_.text().substr(of.offset, of.bytes);
    }

    [[nodiscard]] std::size_t records() const noexcept { return records_.size(); }

    [[nodiscard]] std::optional<std::int64_t> first_ns() const noexcept { return first_ns_; }

    [[nodiscard]] std::optional<std::int64_t> last_ns() const noexcept { return last_ns_; }

    /// What it takes, about.
    [[nodiscard]] std::size_t memory() const noexcept;

  private:
    [[nodiscard]] index find(index parent, std::uint32_t number);
    index make(index parent, std::uint32_t number);
    void recount(index action) noexcept;
    void index_all();
    void put_in_index(index place);
    [[nodiscard]] std::size_t slot_of(index parent, std::uint32_t number) const;

    std::string id_;
    log_buffer text_{initial_bytes};
    std::vector<record> records_;
    std::vector<node> nodes_;
    /// Places by action and number, once they do not come in order; a power of two of them.
    std::vector<index> slots_;
    /// Actions that lack something.
    std::size_t unfinished_ = 0;
    bool is_lone_ = false;
    bool has_failed_ = false;
    bool is_contradictory_ = false;
    std::optional<std::int64_t> first_ns_;
    std::optional<std::int64_t> last_ns_;

    static constexpr std::size_t initial_bytes = 1024;
};

} // namespace sapwood::tools
