// How a pipeline stands with its disk: when it tries again, and what it says of itself meanwhile.
#include "pipeline_consumer.hpp"

#include <sapwood/say.hpp>

#include <algorithm>
#include <chrono>
#include <fmt/format.h>
#include <new>
#include <string>
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

/// After a segment that could not be begun. The file is longer then than it should be, which does
/// no harm.
constexpr clock::duration first_segment_retry_after = std::chrono::seconds(1);
constexpr clock::duration last_segment_retry_after = std::chrono::minutes(1);

} // namespace

/// That there is no memory passes, and says nothing of the disk.
bool pipeline::consumer::tries_again(std::error_code why) const noexcept {
    const bool may_pass = refused_ != when_refused::end || why == std::errc::not_enough_memory;
    return may_pass && (!is_ending_ || loop_.now() < ends_at_);
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

/// Without a sync, and without the batch.
task<> pipeline::consumer::rotate() {
    co_await sink_.rotate(next_in_file());
    ++counts_.segments_begun;
    segment_retry_after_ = {};
    segment_at_ = {};
}

/// The file has as much as it should have, and takes more: where none can be begun beside it, it
/// goes on. Whether the batch has been delivered.
task<bool> pipeline::consumer::begin_next_segment() {
    if (const file_end end = look_at_end(); wants_sync_above(end)) {
        co_await sync_above(end); // of the file that is set aside
    }
    const std::uint64_t begun = counts_.segments_begun;
    bool has_failed = false;
    bool has_memory = true;
    std::string why;
    try {
        if (durable_.is_none()) {
            co_await rotate();
        } else {
            co_await begin_segment();
        }
    } catch (const std::system_error& error) {
        if (sink_.is_unnamed() || is_poisoned_ || counts_.segments_begun != begun) {
            throw;
        }
        has_failed = true;
        why = error.what();
    } catch (const std::bad_alloc&) {
        if (!durable_.is_none()) {
            throw;
        }
        has_memory = false;
    }
    if (!has_memory) { // nor for a line that tells it
        segment_at_ = saturating_add(loop_.now(), first_segment_retry_after);
        co_return false;
    }
    if (!has_failed) {
        co_return !durable_.is_none();
    }
    const bool is_told = segment_retry_after_ != clock::duration();
    segment_retry_after_ =
        std::clamp(2 * segment_retry_after_, first_segment_retry_after, last_segment_retry_after);
    segment_at_ = saturating_add(loop_.now(), segment_retry_after_);
    if (!is_told) {
        const log_news news(level::warning, fmt::format("{}: {} goes on, and is longer than a "
                                                        "segment should be; it is tried again",
                                                        why, sink_.path()));
        co_await tell(news);
    }
    co_return false;
}

/// In a line before the next batch, if lines are ours to make; what is wrong on standard error,
/// too.
task<> pipeline::consumer::tell(const log_news& news) {
    if (form_ == layout::verbatim || news.importance >= level::warning) {
        detail::say(news.text);
    }
    if (form_ != layout::verbatim) {
        co_await write_own_line(news.importance, news.text);
    }
}

} // namespace sapwood
