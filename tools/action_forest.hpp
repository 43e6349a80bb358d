// action_forest: the tasks whose records are coming in. A task that is complete is handed on and
// forgotten; so is the one that has had no record for longest, incomplete as it is, when all of
// them take more memory than they may. One thread.
#pragma once

#include "action_task.hpp"
#include "seeded_hash.hpp"
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
    /// Nothing is missing; of a part that follows a complete task, nothing of what was begun in it.
    bool is_complete = false;
    /// It had to make room: more of it may come, as another part.
    bool is_cut = false;
    /// Parts of it that were handed on before; of a task that was complete, too.
    std::uint32_t parts_before = 0;
    /// The part before left nothing open.
    bool follows_complete = false;
};

class action_forest {
  public:
    using taker = std::function<void(action_task&, const task_state&)>;

    /// `takes` is given each task once it is done with, and may throw.
    action_forest(std::size_t memory_max, taker takes);

    void add(const action_record& record);

    /// Hands on what is complete, because nothing comes for a while.
    void pause();

    /// Hands on what is left, in the order in which the tasks began.
    void finish();

    [[nodiscard]] std::uint64_t records() const noexcept { return records_; }

    /// Records that were there already, which at-least-once delivery has.
    [[nodiscard]] std::uint64_t repeated() const noexcept { return repeated_; }

    /// Tasks that were handed on to make room.
    [[nodiscard]] std::uint64_t cut() const noexcept { return cut_; }

  private:
    struct entry {
        action_task task;
        std::uint64_t begun = 0;
        std::size_t memory = 0;
        seen_tasks::account before;
        /// Which of the lists it is in.
        enum class stage : std::uint8_t { growing, complete, done };
        stage is = stage::growing;

        explicit entry(std::string_view id) : task(id) {}
    };

    using entries = std::list<entry>;

    /// What the tasks of a list take together.
    struct stock {
        entries all;
        std::size_t memory = 0;

        void take(entries& from, entries::iterator which);
        entries drop(entries::iterator which);
    };

    entries::iterator entry_of(std::string_view id);
    [[nodiscard]] stock& stock_of(const entry& which) noexcept;
    [[nodiscard]] bool is_repeated(action_task& task, const action_record& record);
    void make_room();
    void hand_on(stock& from, bool is_cut);
    void forget(entries& which);

    std::size_t memory_max_;
    taker taker_;
    /// The one that had no record for longest is the first.
    stock growing_;
    /// Not handed on yet.
    stock complete_;
    /// Handed on: what is delivered once more often comes soon.
    stock done_;
    entries spare_;
    std::unordered_map<std::string_view, entries::iterator, seeded_text_hash> by_id_;
    seen_tasks seen_;
    /// Looks at two records that claim one place.
    std::unique_ptr<action_reader> judge_;
    std::uint64_t begun_ = 0;
    std::uint64_t records_ = 0;
    std::uint64_t repeated_ = 0;
    std::uint64_t cut_ = 0;
};

} // namespace sapwood::tools
