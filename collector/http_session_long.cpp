// The part of a session that deals with bodies that take long: decompressed and decoded on a
// thread, one of all sessions at a time, and given to their log in slices, so that others are
// served all the while.
#include "http_session.hpp"

#include <sapwood/run_blocking.hpp>
#include <sapwood/sleep.hpp>

#include <algorithm>
#include <exception>
#include <limits>
#include <span>
#include <system_error>

namespace sapwood::collector {

namespace {

/// Of a slice: what the loop does in some 0.1 ms.
constexpr std::size_t slice_bytes = 64u << 10;
constexpr std::size_t slice_records = 256;

/// The first one of what is left of `items`; it is taken from them.
std::span<const json_item> next_slice(std::span<const json_item>& items) noexcept {
    const std::size_t most = std::min(slice_records, items.size());
    std::size_t count = 0;
    for (std::size_t bytes = 0; count < most && bytes < slice_bytes; ++count) {
        bytes += items[count].json.size();
    }
    const auto slice = items.first(count);
    items = items.subspan(count);
    return slice;
}

} // namespace

task<> http_session::take_long() {
    stage_ = stage::reading;
    set_deadline(intake_.limits.body);
    const auto turn = co_await intake_.long_body_turn.lock();
    // What comes behind has a deadline of its own, and a thread cannot be broken off.
    stage_ = stage::settling;
    forget_deadline();
    if (refused_by_now()) {
        co_return;
    }
    body_decoding& with = intake_.long_body;
    std::exception_ptr failure;
    try {
        co_await decode_long(with);
    } catch (...) {
        failure = std::current_exception();
    }
    // Megabytes take milliseconds to give back, too.
    forget_deadline();
    try {
        co_await run_blocking([&with] { with.forget(); });
    } catch (...) {
        with.forget();
        failure = failure ? failure : std::current_exception();
    }
    if (failure) {
        std::rethrow_exception(failure);
    }
}

task<> http_session::decode_long(body_decoding& with) {
    const std::size_t bytes = co_await run_blocking(
        [this, &with] { return decode(with, std::numeric_limits<std::size_t>::max()); });
    if (pending_answer* const answer = answer_to(with.decoded, bytes)) {
        stage_ = stage::settling;
        set_deadline(intake_.limits.acknowledgement);
        co_await give_slices(with.decoded.items, *answer);
    }
}

/// Where its log has no room for some, those and all behind them are blocked.
task<> http_session::give_slices(std::span<const json_item> items, pending_answer& answer) {
    while (!items.empty()) {
        if (!give(next_slice(items), answer)) {
            break;
        }
        co_await yield();
    }
    if (blocked_.empty()) {
        answer.is_given = answer.status == 0;
        co_return;
    }
    while (!items.empty()) {
        const auto when = wall_clock::now();
        for (const json_item& each : next_slice(items)) {
            blocked_.emplace_back(
                answer.log->encode_json(source_, each.importance, each.json, when));
        }
        count_blocked(answer.log);
        co_await yield();
    }
}

} // namespace sapwood::collector
