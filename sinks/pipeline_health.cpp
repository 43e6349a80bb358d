// How a pipeline stands with its disk: when it tries again, and what it says of itself meanwhile.
#include "pipeline_consumer.hpp"

#include <algorithm>
#include <new>
#include <system_error>
#include <utility>

namespace sapwood {

namespace {

/// A disk that has had an operation for so long is told of.
constexpr clock::duration stall_after = std::chrono::seconds(1);

/// And once more, for a loop that was late itself: what its disk has answered it sees in between.
constexpr clock::duration look_again_after = std::chrono::milliseconds(50);

/// Between attempts of a log that is to end.
constexpr clock::duration ending_delay_max = std::chrono::milliseconds(100);

} // namespace

bool pipeline::consumer::tries_again() const noexcept {
    return refused_ != when_refused::end && (!is_ending_ || loop_.now() < ends_at_);
}

clock::duration pipeline::consumer::next_delay() noexcept {
    const auto delay = delay_.next();
    return is_ending_ ? std::min(delay, ending_delay_max) : delay;
}

void pipeline::consumer::watch_disk() noexcept {
    if (refused_ != when_refused::end) {
        has_rung_ = false;
        set_alarm(stall_alarm_, stall_after);
    }
}

void pipeline::consumer::stalled() noexcept {
    if (!std::exchange(has_rung_, true)) {
        set_alarm(stall_alarm_, look_again_after);
        return;
    }
    degrade(std::make_error_code(std::errc::timed_out),
            "the log's disk has not answered for a second");
}

void pipeline::consumer::set_alarm(alarm& which, clock::duration after) noexcept {
    if (which.armed()) {
        return;
    }
    try {
        loop_.arm(which, saturating_add(loop_.now(), after));
    } catch (const std::bad_alloc&) {
        if (&which == &sync_alarm_) {
            sync_is_due(); // rather too early than never
        }
    }
}

void pipeline::consumer::unset(alarm& which) noexcept {
    if (which.armed()) {
        loop_.disarm(which);
    }
}

void pipeline::consumer::degrade(std::error_code why, const char* text) noexcept {
    may_drop_ = refused_ == when_refused::drop;
    if (refused_ == when_refused::refuse) {
        queue.refuse_waiting(why); // as those are that come now
    }
    if (health_.is_degraded() && health_.reason == why) {
        return;
    }
    health_.is = log_health::state::degraded;
    health_.reason = why;
    if (refused_ != when_refused::block) {
        batch_taken_.set(); // what comes now is dropped or refused: who waits for room looks again
    }
    try {
        health_.text = text;
    } catch (const std::bad_alloc&) {
        health_.text.clear();
    }
    tell_health();
}

void pipeline::consumer::succeeded() noexcept {
    if (!health_.is_degraded()) [[likely]] {
        return;
    }
    delay_.reset();
    may_drop_ = false;
    health_ = {};
    tell_health();
}

void pipeline::consumer::tell_health() noexcept {
    if (on_health_) {
        on_health_(health_);
    }
}

} // namespace sapwood
