#include "action_forest.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace sapwood::tools {

namespace {

/// Tasks that are done with lend their memory to others, if it is little.
constexpr std::size_t spare_max = 64;
constexpr std::size_t spare_bytes_max = 64u << 10;
/// Of tasks that are done with, to tell what is there once more.
constexpr std::size_t done_bytes_max = 4u << 20;
/// What the list, the index and the allocator take for each.
constexpr std::size_t entry_bytes = 160;

} // namespace

action_forest::action_forest(std::size_t memory_max, taker takes)
    : memory_max_(memory_max),
      taker_(std::move(takes)) {}

void action_forest::add(const action_record& record) {
    entries::iterator which = entry_of(record.task);
    if (is_repeated(which->task, record)) {
        ++repeated_;
        return;
    }
    if (which->is_done) { // more of it than its end has said
        entries out;
        out.splice(out.end(), done_, which);
        done_memory_ -= out.front().memory;
        forget(out);
        which = entry_of(record.task);
    }
    action_task& task = which->task;
    ++records_;
    task.add(record);
    if (task.is_complete()) {
        hand_on(which, false);
        return;
    }
    const std::size_t memory = task.memory() + entry_bytes;
    memory_ = memory_ - which->memory + memory;
    which->memory = memory;
    // What has had a record just now goes last.
    all_.splice(all_.end(), all_, which);
    while (memory_ > memory_max_) {
        ++cut_;
        hand_on(all_.begin(), true);
    }
    memory_highest_ = std::max(memory_highest_, memory_);
}

void action_forest::finish() {
    all_.sort([](const entry& one, const entry& other) { return one.begun < other.begun; });
    while (!all_.empty()) {
        hand_on(all_.begin(), false);
    }
}

action_forest::entries::iterator action_forest::entry_of(std::string_view id) {
    // Records that follow each other are often of one task.
    if (!all_.empty() && all_.back().task.id() == id) {
        return std::prev(all_.end());
    }
    const auto known = by_id_.find(id);
    if (known != by_id_.end()) {
        return known->second;
    }
    if (spare_.empty()) {
        all_.emplace_back(id);
    } else {
        all_.splice(all_.end(), spare_, spare_.begin());
        all_.back().task.begin_anew(id);
    }
    entry& made = all_.back();
    made.begun = begun_++;
    made.memory = 0;
    made.is_done = false;
    made.parts_before = seen_.times(id);
    by_id_.emplace(made.task.id(), std::prev(all_.end()));
    return std::prev(all_.end());
}

bool action_forest::is_repeated(action_task& task, const action_record& record) {
    const action_task::index there = task.records_at(record.level);
    if (there == action_task::none) {
        return false;
    }
    const std::string_view json = task.json_of(task.record_at(there));
    if (json == record.json) {
        return true;
    }
    if (judge_ == nullptr) {
        judge_ = std::make_unique<action_reader>();
    }
    return judge_->are_the_same(json, record.json);
}

void action_forest::hand_on(entries::iterator which, bool is_cut) {
    const bool is_complete = which->task.is_complete();
    // Out of the list first: the taker may throw.
    entries out;
    out.splice(out.end(), all_, which);
    memory_ -= which->memory;
    seen_.add(which->task.id());
    which->task.order();
    taker_(which->task,
           {.is_complete = is_complete, .is_cut = is_cut, .parts_before = which->parts_before});
    if (is_complete) {
        keep_done(out);
    } else {
        forget(out);
    }
}

void action_forest::keep_done(entries& which) {
    entry& done = which.front();
    done.is_done = true;
    done.memory = done.task.memory();
    done_memory_ += done.memory;
    done_.splice(done_.end(), which);
    while (done_memory_ > done_bytes_max) {
        done_memory_ -= done_.front().memory;
        entries out;
        out.splice(out.end(), done_, done_.begin());
        forget(out);
    }
}

void action_forest::forget(entries& which) {
    by_id_.erase(which.front().task.id());
    if (spare_.size() < spare_max && which.front().task.memory() < spare_bytes_max) {
        spare_.splice(spare_.end(), which);
    }
    which.clear();
}

} // namespace sapwood::tools
