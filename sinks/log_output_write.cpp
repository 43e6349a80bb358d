// What an output does with a full batch: the coroutine that gives it to the sink, as often as it
// takes, and tells what was lost.
#include <sapwood/log_output.hpp>

#include "log_own_record.hpp"
#include "log_tell.hpp"
#include "retry_delay.hpp"

#include <sapwood/event_loop.hpp>
#include <sapwood/file_sink.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/timeout.hpp>

#include <algorithm>
#include <fmt/format.h>
#include <functional>
#include <iterator>
#include <new>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

namespace sapwood::detail {

namespace {

constexpr clock::duration first_retry_after = std::chrono::milliseconds(50);
constexpr clock::duration last_retry_after = std::chrono::seconds(1);
/// Of a log that ends, as of a pipeline.
constexpr clock::duration give_up_after = std::chrono::seconds(5);
constexpr clock::duration ending_delay_max = std::chrono::milliseconds(100);
/// Without memory for the frame of a close.
constexpr int close_tries_max = 1000;

/// Not the same for two outputs whose disk is one.
std::uint64_t retry_seed(std::string_view of) noexcept {
    const auto now = event_loop::current().now().time_since_epoch().count();
    return std::hash<std::string_view>{}(of) ^ static_cast<std::uint64_t>(now);
}

constexpr std::string_view why_lost[] = {
    "failed, and there was no room to keep them",
    "was to have them, and their form failed or had no memory",
    "could not take them while a signal's handler was at work",
};
static_assert(std::size(why_lost) == static_cast<std::size_t>(log_loss::count));

/// So much of a batch a sink has taken that threw what is being handled.
std::size_t bytes_kept_by_current(std::error_code& failure, bool& is_gone) noexcept {
    try {
        throw;
    } catch (const write_error& error) {
        failure = error.code();
        return error.bytes_kept;
    } catch (const sink_gone& error) {
        failure = error.code();
        is_gone = true;
    } catch (const std::system_error& error) {
        failure = error.code();
    } catch (const std::bad_alloc&) {
        failure = make_error_code(std::errc::not_enough_memory);
    } catch (...) {
        failure = make_error_code(std::errc::io_error);
    }
    return 0;
}

} // namespace

task<> log_output::write_out(event& progress, log_visits& visits) {
    while (true) {
        bool has_memory = true; // of the frames of what is awaited; where not, it is tried again
        try {
            co_await wait_for_work();
            work_.reset();
            if (asked_) {
                co_await tend(visits);
                progress.set();
            }
            while (is_writing_ || sync_due() <= event_loop::current().now()) {
                if (!is_writing_) {
                    co_await sync(progress);
                    continue;
                }
                co_await write_batch(progress, visits);
                const log_visit here(visits);
                if (has_untold_losses() && !is_failing()) {
                    tell_losses();
                }
                if (writing().empty()) {
                    writing().clear();
                    is_writing_ = false;
                    push();
                }
                progress.set();
            }
        } catch (const std::bad_alloc&) {
            has_memory = false;
        }
        if (!has_memory) {
            work_.set();
            co_await yield();
        } else if (is_stopping_) {
            break;
        }
    }
    std::optional<task<>> closing;
    for (int tries = 0; !closing && tries < close_tries_max; ++tries) {
        try {
            closing.emplace(sink_->close());
        } catch (const std::bad_alloc&) { // for its frame
        } catch (...) {
            tell("closing {}: {}", description_, failure_words::of_current().view());
            break;
        }
        if (!closing) {
            co_await yield();
        }
    }
    if (closing) {
        try {
            co_await std::move(*closing);
        } catch (...) {
            tell("closing {}: {}", description_, failure_words::of_current().view());
        }
    }
    tell_summary();
    progress.set();
}

/// Or until the sink is to be synced.
task<> log_output::wait_for_work() {
    const clock::time_point at = sync_due();
    if (at == clock::time_point::max()) {
        co_await work_.wait();
        co_return;
    }
    const auto now = event_loop::current().now();
    (void)co_await as_result(timeout(at > now ? at - now : clock::duration(), work_.wait()));
}

/// When; the end of time where nothing is to be synced. After a failure not before a while is over.
clock::time_point log_output::sync_due() const noexcept {
    const auto at = is_sync_asked_ ? clock::time_point::min() : sink_->sync_at();
    return std::max(at, sync_retry_at_);
}

/// Once: where it fails, it is due again.
task<> log_output::sync(event& progress) {
    std::error_code failure;
    failure_words why;
    bool is_gone = false;
    const bool was_asked = std::exchange(is_sync_asked_, false); // who asks from now on has another
    is_tending_ = true;
    begin_work();
    try {
        co_await sink_->sync();
    } catch (...) {
        (void)bytes_kept_by_current(failure, is_gone);
        why = failure_words::of_current();
    }
    is_tending_ = false;
    failure_ = failure;
    end_work(why.view());
    if (!failure_) {
        sync_retry_after_ = {};
        sync_retry_at_ = clock::time_point::min();
    } else {
        is_sync_asked_ = is_sync_asked_ || was_asked;
        ++counts_.failures;
        if (sync_retry_after_ == clock::duration()) {
            tell("{}: {}; it is tried again", description_, why.view());
        }
        sync_retry_after_ = std::clamp(2 * sync_retry_after_, first_retry_after, last_retry_after);
        retry_delay delay({.first = sync_retry_after_, .longest = sync_retry_after_},
                          retry_seed(description_));
        sync_retry_at_ = saturating_add(event_loop::current().now(), delay.next());
    }
    progress.set();
}

/// Writes what is in the batch, as often as it takes, until it is empty.
task<> log_output::write_batch(event& progress, log_visits& visits) {
    bool is_told = false;
    retry_delay delay({.first = first_retry_after, .longest = last_retry_after},
                      retry_seed(description_));
    while (!writing().empty()) {
        co_await tend(visits);
        const std::string_view text = writing().rest();
        std::size_t written = text.size();
        std::error_code failure;
        failure_words why;
        bool is_gone = false;
        begin_work();
        try {
            co_await sink_->write(std::span(text.data(), text.size()));
        } catch (...) {
            written = bytes_kept_by_current(failure, is_gone);
            why = failure_words::of_current();
        }
        {
            const log_visit here(visits);
            failure_ = failure;
            gives_up_ |= is_gone;
            end_write(written, why.view());
        }
        if (!failure_) {
            continue;
        }
        if (!std::exchange(is_told, true) && !is_stopping_) {
            tell("{}: {}; it is tried again", description_, why.view());
        }
        if (writing().empty()) {
            co_return;
        }
        progress.set();
        co_await wait_for_next_try(delay.next());
    }
}

task<> log_output::wait_for_next_try(clock::duration delay) {
    if (is_ending()) {
        co_await sleep_for(std::min(delay, ending_delay_max));
    } else {
        (void)co_await as_result(timeout(delay, stop_.wait()));
    }
}

void log_output::begin_end() noexcept {
    if (!is_ending()) {
        ends_at_ = saturating_add(event_loop::current().now(), give_up_after);
        stop_.set(); // who waits for the next try
    }
}

/// Of a log that ends: whether what has failed is worth another try, which is not stuck.
bool log_output::failure_may_pass() const noexcept {
    return failure_ && is_ending() && event_loop::current().now() < ends_at_ &&
           !(has_sink_ && waited_ > stuck_after_) &&
           (failure_ == std::errc::not_enough_memory || sink_->may_pass(failure_));
}

void log_output::end_write(std::size_t written, std::string_view why) noexcept {
    counts_.note_write(clock::now() - write_began_);
    end_work(why);
    // What a signal handler has written meanwhile does not come again.
    const std::size_t saved = writing().is_saved ? writing().size() : writing().saved;
    note_written(failure_ ? std::max(written, saved) : written);
    writing().saved = 0;
    if (failure_) {
        ++counts_.failures;
        if (is_stopping_ && !failure_may_pass()) {
            give_batches_up(why);
        }
    }
}

void log_output::note_written(std::size_t bytes) noexcept {
    log_batch& from = writing();
    const bool all = bytes == from.size();
    const std::uint64_t lines = all ? from.lines : lines_in(from.rest().substr(0, bytes));
    counts_.bytes_written += bytes;
    counts_.lines_written += lines;
    from.lines -= lines;
    from.done += bytes;
}

void log_output::give_batches_up(std::string_view why) noexcept {
    for (log_batch* const each : {&writing(), &filling()}) {
        if (each->lines > 0) {
            counts_.lines_lost += each->lines;
            missing_given_up_ += each->missing;
            tell("{}: {} line{} lost: {}", description_, each->lines,
                 each->lines > 1 ? "s are" : " is", why);
        }
        each->clear();
    }
}

/// The sink looks after what it writes to.
task<> log_output::tend(log_visits& visits) {
    const log_sink_requests asked = std::exchange(asked_, {});
    is_tending_ = true;
    begin_work();
    try {
        const log_news news = co_await sink_->tend(asked);
        if (news) {
            const log_visit here(visits);
            put_first(news);
        }
    } catch (const std::bad_alloc&) {
        end_tending();
        asked_.reopen |= asked.reopen;
        asked_.rotate |= asked.rotate;
        throw; // it is asked again
    } catch (...) {
        tell("{}: {}", description_, failure_words::of_current().view());
    }
    end_tending();
}

void log_output::end_tending() noexcept {
    is_tending_ = false;
    has_sink_ = false;
    if (!failure_) {
        health_.heal();
    }
}

/// What the sink tells stands before what is written next.
void log_output::put_first(const log_news& news) noexcept {
    if (news.importance >= level::warning) {
        tell("{}", news.text);
    }
    log_batch& to = writing();
    try {
        log_batch with_news(batch_bytes_ + (64u << 10) + news.text.size());
        form_->append(own_record(news.text, news.importance), with_news.text);
        with_news.text.append(to.rest());
        with_news.lines = to.lines + 1;
        ++counts_.notes;
        to = std::move(with_news);
        is_writing_ = true;
    } catch (...) {
        tell("{}: there is no line for what it tells, \"{}\": {}", description_, news.text,
             failure_words::of_current().view());
    }
}

bool log_output::has_untold_losses() const noexcept {
    return std::ranges::any_of(lost_untold_, [](std::uint64_t each) { return each > 0; });
}

/// A line behind those that came before the losses: what was lost is what did not fit behind them.
void log_output::tell_losses() noexcept {
    for (std::size_t i = 0; i < lost_untold_.size(); ++i) {
        const std::uint64_t lost = std::exchange(lost_untold_[i], 0);
        missing_untold_ = 0; // they are among these
        if (lost == 0) {
            continue;
        }
        char text[512];
        const auto bytes =
            fmt::format_to_n(text, sizeof(text), "{} record{} missing here: {} {}", lost,
                             lost > 1 ? "s are" : " is", description_, why_lost[i])
                .size;
        const std::string_view said(text, std::min(bytes, sizeof(text)));
        if (!note(said, level::warning)) {
            tell("{}", said);
        }
    }
}

void log_output::tell_summary() const noexcept {
    const std::uint64_t untold =
        restraint_ != nullptr ? restraint_->held_back() - restraint_->told() : 0;
    if (counts_.lines_lost == 0 && untold == 0) {
        return;
    }
    char held_back[64] = {};
    if (untold > 0) {
        *fmt::format_to(held_back, ", {} held back and not told", untold) = '\0';
    }
    char missing[96] = {};
    if (const std::uint64_t count = missing_untold_ + missing_given_up_; count > 0) {
        *fmt::format_to(missing, ", and lines that told of up to {} records that were dropped",
                        count) = '\0';
    }
    tell("{}: {} lines written, {} lost{}{}", description_, std::uint64_t{counts_.lines_written},
         std::uint64_t{counts_.lines_lost}, missing, held_back);
}

} // namespace sapwood::detail
