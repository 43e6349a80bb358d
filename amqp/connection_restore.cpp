// What a connection_state does on a new link, so that all is on it that was on the one before.
#include "connection_state.hpp"

#include <sapwood/amqp/errors.hpp>

#include <sapwood/event_loop.hpp>

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace sapwood::amqp::detail {

namespace {

/// So long at least an exclusive queue of ours may be taken for the lost connection's.
constexpr clock::duration known_for = std::chrono::minutes(1);

} // namespace

/// All that was on the link before.
task<> connection_state::restore() {
    for (auto next = channels_to_open(); !next.empty(); next = channels_to_open()) {
        co_await restore(next);
    }
    is_restored_ = true;
    ++times_up_;
    tell(connection_event::kind::up, options_.to.to_string());
}

/// What was declared is there again before somebody consumes or publishes, on whichever channel.
task<> connection_state::restore(const channel_list& channels) {
    for (const auto& each : channels) {
        if (each->number() > link_->channel_max()) {
            constexpr const char* why = "this broker has fewer channels than the one before";
            each->end(errc::no_channel_left, why);
            tell(connection_event::kind::down,
                 fmt::format("a channel could not be opened again: {}", why));
        }
        co_await unless_over(each, each->open());
    }
    co_await declare_again(channels);
    for (const auto& each : channels) {
        co_await unless_over(each, each->consume_again());
    }
    for (const auto& each : channels) {
        if (!each->is_over()) {
            each->become_ready();
        }
    }
}

/// In the order in which it was declared first.
task<> connection_state::declare_again(const channel_list& on) {
    for (std::uint64_t place = 0;;) {
        std::shared_ptr<channel_state> of;
        const channel_state::declared* next = nullptr;
        for (const auto& each : on) {
            const auto* const one = each->declared_behind(place);
            if (one != nullptr && (next == nullptr || one->place < next->place)) {
                next = one;
                of = each;
            }
        }
        if (next == nullptr) {
            co_return;
        }
        place = next->place;
        co_await unless_over(of, of->declare_again(next->frames, next->expected));
    }
}

/// What fails because the broker closes the channel, or its owner, is the channel's end alone.
task<> connection_state::unless_over(std::shared_ptr<channel_state> of, task<> what) {
    if (of->is_over()) {
        co_return;
    }
    try {
        co_await std::move(what);
    } catch (const std::system_error& failure) {
        if (!of->is_over()) {
            throw;
        }
        tell(connection_event::kind::down,
             fmt::format("a channel could not be opened again: {}", failure.what()));
    }
}

connection_state::channel_list connection_state::channels_to_open() const {
    channel_list all;
    for (const auto& [number, each] : channels_) {
        if (!each->is_over() && !each->is_ready()) {
            all.push_back(each);
        }
    }
    return all;
}

bool connection_state::may_be_known_still() const {
    // It notices behind two heartbeats or three.
    const clock::duration notices = 4 * clock::duration(options_.heartbeat);
    return event_loop::current().now() - lost_at_ < std::max<clock::duration>(known_for, notices);
}

} // namespace sapwood::amqp::detail
