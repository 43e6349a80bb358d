#include "connection.hpp"

#include <sapwood/sleep.hpp>
#include <sapwood/timeout.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <exception>
#include <fmt/format.h>
#include <new>
#include <span>
#include <utility>

namespace sapwood::collector {

namespace {

/// Nobody is closed for others who has said something in this time.
constexpr clock::duration idle_min = std::chrono::seconds(1);

/// For so long others wait for those who were told to end. One whose log is full may take longer.
constexpr clock::duration ending_max = std::chrono::seconds(1);

/// How many are looked for at once.
constexpr std::size_t closable_max = 64;

/// Those of the earliest times among all that were added.
template <class Item>
class oldest_ones {
  public:
    void add(clock::time_point since, Item& what) noexcept {
        ++seen_;
        if (count_ == items_.size()) {
            if (since >= items_.front().since) {
                return;
            }
            std::ranges::pop_heap(items_, {}, &candidate::since);
            --count_;
        }
        items_[count_++] = {since, &what};
        std::ranges::push_heap(std::span(items_).first(count_), {}, &candidate::since);
    }

    [[nodiscard]] std::size_t seen() const noexcept { return seen_; }

    /// `to` has room for them.
    void give_newest_first(std::vector<Item*>& to) noexcept {
        for (; count_ != 0; --count_) {
            std::ranges::pop_heap(std::span(items_).first(count_), {}, &candidate::since);
            to.push_back(items_[count_ - 1].which);
        }
    }

  private:
    struct candidate {
        clock::time_point since;
        Item* which = nullptr;
    };

    /// A heap, the latest in front.
    std::array<candidate, closable_max> items_{};
    std::size_t count_ = 0;
    std::size_t seen_ = 0;
};

bool is_long_idle(const connection& peer, clock::time_point now) noexcept {
    return peer.is_idle() && saturating_add(peer.heard_at(), idle_min) <= now;
}

bool may_be_closed(const connection& peer, clock::time_point now) noexcept {
    return is_long_idle(peer, now) || peer.is_slow();
}

} // namespace

connections::connections(intake& of) : intake_(of) {
    closable_.reserve(closable_max);
}

void connections::add(std::unique_ptr<connection> peer, peer_id who) {
    const auto at = alive_.emplace(alive_.end());
    bool is_counted = false;
    try {
        at->peer = std::move(peer);
        at->who = who;
        shares_.add(who);
        is_counted = true;
        at->handle = spawn(run_one(at));
    } catch (...) {
        if (is_counted) {
            shares_.remove(who);
        }
        alive_.erase(at);
        throw;
    }
    ++intake_.counts.connections_opened;
}

void connections::hand_over(std::unique_ptr<connection> peer, peer_id who) {
    add(std::move(peer), who);
    // They are one.
    --intake_.counts.connections_opened;
    --intake_.counts.connections_closed;
}

bool connections::has_its_share(peer_id who, std::string_view name) {
    const std::size_t share = intake_.limits.connections_of_a_peer();
    if (shares_.of(who) < share) {
        return false;
    }
    ++intake_.gate.over_share;
    intake_.tell(fmt::format("{} was not let in: its address or user has {} connections, and may "
                             "have no more (the limit connections_per_peer)",
                             name, share));
    return true;
}

task<> connections::run_one(place at) {
    try {
        co_await at->peer->run();
    } catch (const cancelled&) {
        // It was told to end.
    } catch (const std::exception&) {
        // A peer that is gone, or no memory: that is the end of this connection only.
    }
    ++intake_.counts.connections_closed;
    shares_.remove(at->who);
    ending_ -= at->is_cancelled ? 1 : 0;
    moved_at_ = intake_.now;
    std::erase(closable_, &*at);
    alive_.erase(at); // and with it the handle of this task, which nobody awaits
    changed_.set();
    changed_.reset();
}

task<> connections::room() {
    while (alive_.size() >= intake_.limits.connections_max) {
        make_room();
        co_await changed_.wait(); // or until somebody may have been idle for long enough
    }
}

/// Closes one, unless enough of them are about to end, and do.
void connections::make_room() {
    if (alive_.size() - ending_ < intake_.limits.connections_max &&
        intake_.now < saturating_add(moved_at_, ending_max)) {
        return;
    }
    if (entry* const chosen = next_to_close()) {
        ++intake_.gate.idle_closed;
        cancel(*chosen);
    }
}

/// Null where nobody has been idle, or slow, for long enough. All of them are looked at seldom:
/// there are thousands, and somebody may come as often as he likes.
connections::entry* connections::next_to_close() noexcept {
    if (looked_at_ != intake_.now) {
        look_for_closable();
    }
    for (;;) {
        while (!closable_.empty()) {
            entry* const next = closable_.back();
            closable_.pop_back();
            if (!next->is_cancelled && may_be_closed(*next->peer, intake_.now)) {
                return next;
            }
        }
        if (!are_more_closable_) {
            return nullptr;
        }
        look_for_closable();
    }
}

/// Of those that have said nothing for long the ones that have for longest; where there is none, of
/// the slow ones those who have had most time. Takes no memory, of which there may be little.
void connections::look_for_closable() noexcept {
    oldest_ones<entry> idle;
    oldest_ones<entry> slow;
    for (entry& each : alive_) {
        if (each.is_cancelled) {
            continue;
        }
        if (is_long_idle(*each.peer, intake_.now)) {
            idle.add(each.peer->heard_at(), each);
        } else if (each.peer->is_slow()) {
            slow.add(each.peer->deadline(), each);
        }
    }
    auto& found = idle.seen() != 0 ? idle : slow;
    closable_.clear();
    found.give_newest_first(closable_);
    are_more_closable_ = idle.seen() + slow.seen() > closable_.size();
    looked_at_ = intake_.now;
}

void connections::cancel(entry& which) {
    if (!which.is_cancelled) {
        which.is_cancelled = true;
        ++ending_;
        moved_at_ = intake_.now;
        which.handle.cancel();
    }
}

task<> connections::watch() {
    for (;;) {
        try {
            co_await sleep_for(intake::look_every);
            look_at_deadlines();
            continue;
        } catch (const std::bad_alloc&) { // there may be memory for the next look
        }
        co_await yield();
    }
}

void connections::look_at_deadlines() {
    intake_.look_at_clock();
    const auto now = event_loop::current().now();
    for (entry& each : alive_) {
        if (each.peer->deadline() <= now && !each.is_cancelled) {
            each.peer->expire();
            cancel(each);
        }
    }
    if (alive_.size() >= intake_.limits.connections_max) {
        changed_.set();
        changed_.reset();
    }
}

task<std::size_t> connections::drain(clock::time_point until) {
    co_await yield(); // one that has not begun could not take itself out of the list
    for (entry& each : alive_) {
        if (each.peer->is_idle()) {
            cancel(each);
        }
    }
    while (!alive_.empty()) {
        const auto waited = co_await as_result(deadline(until, changed_.wait()));
        if (!waited) {
            break;
        }
    }
    const std::size_t left = alive_.size();
    clock::time_point again = clock::time_point::min();
    while (!alive_.empty()) {
        // Who was told so while he waited for one thing may wait for another by now: a line that
        // was taken, for example, for room in its log.
        if (const auto now = event_loop::current().now(); again <= now) {
            for (entry& each : alive_) {
                each.handle.cancel();
            }
            again = now + intake::look_every;
        }
        (void)co_await as_result(deadline(again, changed_.wait()));
    }
    co_return left;
}

} // namespace sapwood::collector
