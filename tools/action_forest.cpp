#include "action_forest.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace sapwood::tools {

namespace {

/// Tasks that are done with lend their memory to others, if it is little.
constexpr std::size_t spare_max = 64;
constexpr std::size_t spare_bytes_max = 64u << 10;
/// Of tasks that are complete and wait for what comes behind their end, and of those that are done
/// with and tell what is there once more.
constexpr std::size_t kept_bytes_max = 4u << 20;
/// Of the records that claim one place: to read them takes as long as to read a record.
constexpr std::size_t claimants_compared_max = 8;
/// What the list, the index and the allocator take for each.
constexpr std::size_t entry_bytes = 160;

} // namespace

void action_forest::stock::take(entries& from, entries::iterator which) {
    which->memory = which->task.memory() + entry_bytes;
    memory += which->memory;
    all.splice(all.end(), from, which);
}

action_forest::entries action_forest::stock::drop(entries::iterator which) {
    memory -= which->memory;
    entries out;
    out.splice(out.end(), all, which);
    return out;
}

action_forest::action_forest(std::size_t memory_max, taker takes)
    : memory_max_(memory_max),
      taker_(std::move(takes)) {}

action_forest::stock& action_forest::stock_of(const entry& which) noexcept {
    return which.is == entry::stage::growing    ? growing_
           : which.is == entry::stage::complete ? complete_
                                                : done_;
}

void action_forest::add(const action_record& record) {
    entries::iterator which = entry_of(record.task);
    if (is_repeated(which->task, record)) {
        ++repeated_;
        return;
    }
    entries out = stock_of(*which).drop(which);
    if (which->is == entry::stage::done) { // it is too late: the tree is there already
        forget(out);
        which = entry_of(record.task);
        out = growing_.drop(which);
    }
    ++records_;
    which->task.add(record);
    which->is = which->task.is_complete() ? entry::stage::complete : entry::stage::growing;
    // What has had a record just now goes last.
    stock_of(*which).take(out, which);
    make_room();
}

void action_forest::make_room() {
    while (growing_.memory > memory_max_) {
        ++cut_;
        hand_on(growing_, true);
    }
    while (complete_.memory > std::min(kept_bytes_max, memory_max_)) {
        hand_on(complete_, false);
    }
    while (done_.memory > kept_bytes_max) {
        entries out = done_.drop(done_.all.begin());
        forget(out);
    }
}

void action_forest::pause() {
    while (!complete_.all.empty()) {
        hand_on(complete_, false);
    }
    make_room();
}

void action_forest::finish() {
    pause();
    growing_.all.sort([](const entry& one, const entry& other) { return one.begun < other.begun; });
    while (!growing_.all.empty()) {
        hand_on(growing_, false);
    }
}

action_forest::entries::iterator action_forest::entry_of(std::string_view id) {
    // Records that follow each other are often of one task.
    if (!growing_.all.empty() && growing_.all.back().task.id() == id) {
        return std::prev(growing_.all.end());
    }
    const auto known = by_id_.find(id);
    if (known != by_id_.end()) {
        return known->second;
    }
    entries made;
    if (spare_.empty()) {
        made.emplace_back(id);
    } else {
        made.splice(made.end(), spare_, spare_.begin());
        made.back().task.begin_anew(id);
    }
    const entries::iterator which = made.begin();
    which->begun = begun_++;
    which->is = entry::stage::growing;
    which->before = seen_.of(id);
    by_id_.emplace(which->task.id(), which);
    growing_.take(made, which);
    return which;
}

bool action_forest::is_repeated(action_task& task, const action_record& record) {
    const action_task::index first = task.records_at(record.level);
    std::size_t compared = 0;
    for (auto each = first; each != action_task::none && compared < claimants_compared_max;
         each = task.record_at(each).next, ++compared) {
        if (task.json_of(task.record_at(each)) == record.json) {
            return true;
        }
    }
    if (first == action_task::none) {
        return false;
    }
    if (judge_ == nullptr) {
        judge_ = std::make_unique<action_reader>();
    }
    const std::string claim = judge_->claim_of(record.json);
    for (auto each = first; compared-- > 0; each = task.record_at(each).next) {
        if (!claim.empty() && judge_->claim_of(task.json_of(task.record_at(each))) == claim) {
            return true;
        }
    }
    return false;
}

/// The first one of them.
void action_forest::hand_on(stock& from, bool is_cut) {
    // Out of the list first: the taker may throw.
    entries out = from.drop(from.all.begin());
    entry& given = out.front();
    const bool is_whole = given.is == entry::stage::complete;
    const bool is_complete =
        is_whole || (!is_cut && given.before.was_complete && !given.task.lacks_of_begun());
    seen_.add(given.task.id(), is_complete);
    given.task.order();
    taker_(given.task, {.is_complete = is_complete,
                        .is_cut = is_cut,
                        .parts_before = given.before.times,
                        .follows_complete = given.before.was_complete});
    if (is_whole) {
        given.is = entry::stage::done;
        done_.take(out, out.begin());
    } else {
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
