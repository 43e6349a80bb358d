// action_forest: the tasks whose records are coming in. A task that is complete is handed on and
// forgotten; so is the one that has had no record for longest, incomplete as it is, when all of
// them take more memory than they may. One thread.
#pragma once

#include "action_task.hpp"
#include "seen_tasks.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace sapwood::tools {

/// How a task is when it is handed on.
struct task_state {
    bool is_complete = false;
    /// It had to make room: more of it may come, as another part.
    bool is_cut = false;
    /// Parts of it that were handed on before; of a task that was complete, too.
    std::uint32_t parts_before = 0;
};

class action_forest {
  public:
    using taker = std::function<void(action_task&, const task_state&)>;

    /// `takes` is given each task once it is done with, and may throw.
    action_forest(std::size_t memory_max, taker takes);

    void add(const action_record& record);

    /// Hands on what is left, in the order in which the tasks began.
    void finish();

    [[nodiscard]] std::uint64_t records() const noexcept { return records_; }

    /// Records that were there already, which at-least-once delivery has.
    [[nodiscard]] std::uint64_t repeated() const noexcept { return repeated_; }

    /// Tasks that were handed on to make room.
    [[nodiscard]] std::uint64_t cut() const noexcept { return cut_; }

    /// What unfinished tasks took at most.
    [[nodiscard]] std::size_t memory_highest() const noexcept { return memory_highest_; }

  private:
    struct entry {
        action_task task;
        std::uint64_t begun = 0;
        std::size_t memory = 0;
        std::uint32_t parts_before = 0;
        bool is_done = false;

        explicit entry(std::string_view id) : task(id) {}
    };

    /// The one that had no record for longest is the first.
    using entries = std::list<entry>;

    entries::iterator entry_of(std::string_view id);
    [[nodiscard]] bool is_repeated(action_task& task, const action_record& record);
    void hand_on(entries::iterator which, bool is_cut);
    void keep_done(entries& which);
    void forget(entries& which);

    std::size_t memory_max_;
    taker taker_;
    entries all_;
    /// The last ones that were complete: what is delivered once more often comes soon.
    entries done_;
    std::size_t done_memory_ = 0;
    entries spare_;
    std::unordered_map<std::string_view, entries::iterator> by_id_;
    seen_tasks seen_;
    /// Looks at two records that claim one place.
    std::unique_ptr<action_reader> judge_;
    std::size_t memory_ = 0;
    std::size_t memory_highest_ = 0;
    std::uint64_t begun_ = 0;
    std::uint64_t records_ = 0;
    std::uint64_t repeated_ = 0;
    std::uint64_t cut_ = 0;
};

} // namespace sapwood::tools
