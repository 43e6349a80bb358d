#include <sapwood/receipts.hpp>

#include <algorithm>
#include <new>

namespace sapwood::detail {

receipt_board::~receipt_board() {
    while (!waiting_.empty()) {
        waiting_.front()->cancel(); // which takes it out of the list
    }
}

void receipt_board::reach(lsn place) noexcept {
    reached_ = place;
    while (auto* const first = static_cast<receipt_waiter*>(waiting_.front())) {
        if (first->awaited() > place) {
            return;
        }
        if (first->next != nullptr) { // with thousands, not in the cache
            __builtin_prefetch(first->next);
            __builtin_prefetch(static_cast<const waiter*>(first->next)->next);
        }
        waiting_.remove(*first);
        first->settled(outcome(first->awaited()));
    }
}

void receipt_board::end(std::error_code reason) noexcept {
    end_ = reason;
    while (!waiting_.empty()) {
        static_cast<receipt_waiter&>(waiting_.pop_front()).settled(reason);
    }
}

void receipt_board::lose(lsn_range range) noexcept {
    if (!lost_.empty() && lost_.back().last + 1 == range.first) {
        lost_.back().last = range.last;
    } else {
        keep_lost(range);
    }
    // They are the newest, or nearly.
    auto* node = static_cast<receipt_waiter*>(waiting_.back());
    while (node != nullptr && node->awaited() >= range.first) {
        auto* const earlier = static_cast<receipt_waiter*>(waiter_list::before(*node));
        if (node->awaited() <= range.last) {
            waiting_.remove(*node);
            node->settled(errc::lost);
        }
        node = earlier;
    }
}

/// What is between two that become one counts as lost, which is told to who asks for it later; what
/// is not reached yet only where there is no memory to keep them apart.
void receipt_board::keep_lost(lsn_range range) noexcept {
    if (lost_.size() >= lost_max && lost_[1].first <= reached_ + 1) {
        lost_[1].first = lost_[0].first;
        lost_.erase(lost_.begin());
    }
    try {
        lost_.push_back(range);
    } catch (const std::bad_alloc&) { // for more than lost_max
        lost_.back().last = range.last;
    }
}

bool receipt_board::is_in_lost(lsn place) const noexcept {
    const auto after =
        std::upper_bound(lost_.begin(), lost_.end(), place,
                         [](lsn wanted, const lsn_range& range) { return wanted < range.first; });
    return after != lost_.begin() && place <= (after - 1)->last;
}

bool receipt_board::has_lost(lsn_range range) const noexcept {
    return std::any_of(lost_.begin(), lost_.end(), [range](const lsn_range& each) {
        return each.first <= range.last && range.first <= each.last;
    });
}

void receipt_board::add(receipt_waiter& node) noexcept {
    // Nearly always the last place: who has just appended waits for it.
    waiter* place = waiting_.back();
    while (place != nullptr && static_cast<receipt_waiter*>(place)->awaited() > node.awaited()) {
        place = waiter_list::before(*place);
    }
    waiting_.insert_after(place, node);
}

} // namespace sapwood::detail
