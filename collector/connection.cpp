#include "connection.hpp"

#include <sapwood/sleep.hpp>
#include <sapwood/timeout.hpp>

#include <cstdio>
#include <exception>
#include <fmt/format.h>

namespace sapwood::collector {

namespace {

/// Nobody is closed for others who has said something in this time.
constexpr clock::duration idle_min = std::chrono::seconds(1);

} // namespace

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
    alive_.erase(at); // and with it the handle of this task, which nobody awaits
    changed_.set();
    changed_.reset();
}

task<> connections::room() {
    while (alive_.size() >= intake_.limits.connections_max) {
        close_longest_idle();
        co_await changed_.wait(); // or until somebody may have been idle for long enough
    }
}

void connections::close_longest_idle() {
    entry* longest = nullptr;
    entry* slowest = nullptr;
    std::size_t ending = 0;
    for (entry& each : alive_) {
        ending += each.is_cancelled ? 1 : 0;
        if (!each.is_cancelled && each.peer->is_slow() &&
            (slowest == nullptr || each.peer->deadline() < slowest->peer->deadline())) {
            slowest = &each;
        }
        if (!each.is_cancelled && each.peer->is_idle() &&
            (longest == nullptr || each.peer->heard_at() < longest->peer->heard_at())) {
            longest = &each;
        }
    }
    const auto latest = saturating_add(
        longest != nullptr ? longest->peer->heard_at() : clock::time_point::max(), idle_min);
    entry* const chosen = latest <= intake_.now ? longest : slowest;
    if (alive_.size() - ending >= intake_.limits.connections_max && chosen != nullptr) {
        ++intake_.gate.idle_closed;
        cancel(*chosen);
    }
}

void connections::cancel(entry& which) {
    if (!which.is_cancelled) {
        which.is_cancelled = true;
        which.handle.cancel();
    }
}

task<> connections::watch() {
    for (;;) {
        co_await sleep_for(intake::look_every);
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
    for (entry& each : alive_) {
        each.handle.cancel();
    }
    while (!alive_.empty()) {
        co_await changed_.wait();
    }
    co_return left;
}

} // namespace sapwood::collector
