// What an output does with a full batch: the coroutine that gives it to the sink, as often as it
// takes, and tells what was lost.
#include <sapwood/log_output.hpp>

#include <sapwood/file_sink.hpp>
#include <sapwood/timeout.hpp>

#include <algorithm>
#include <cstdio>
#include <fmt/format.h>
#include <span>
#include <utility>

namespace sapwood::detail {

namespace {

constexpr clock::duration first_retry_after = std::chrono::milliseconds(50);
constexpr clock::duration last_retry_after = std::chrono::seconds(1);

std::uint64_t lines_in(std::string_view text) noexcept {
    return static_cast<std::uint64_t>(std::count(text.begin(), text.end(), '\n'));
}

void tell(const std::string& message) noexcept {
    std::fprintf(stderr, "sapwood: %s\n", message.c_str());
}

} // namespace

void log_output::push() {
    if (!is_writing_ && filling_.size() > 0) {
        std::swap(filling_, writing_);
        std::swap(filling_lines_, writing_lines_);
        is_writing_ = true;
        is_saved_ = false;
        write_began_ = clock::now();
        work_.set();
    }
}

void log_output::ask(log_sink_requests what) noexcept {
    asked_.reopen |= what.reopen;
    asked_.rotate |= what.rotate;
    work_.set();
}

void log_output::stop() noexcept {
    is_stopping_ = true;
    work_.set();
    stop_.set();
}

task<> log_output::write_out(event& progress) {
    while (true) {
        co_await work_.wait();
        work_.reset();
        if (asked_) {
            co_await tend();
            progress.set();
        }
        while (is_writing_) {
            co_await write_batch(progress);
            if (lines_lost_untold_ > 0 && !is_failing()) {
                tell_losses();
            }
            if (writing_.size() == 0) {
                is_writing_ = false;
                push();
            }
            progress.set();
        }
        if (is_stopping_) {
            break;
        }
    }
    try {
        co_await sink_->close();
    } catch (const std::exception& error) {
        tell(fmt::format("closing {}: {}", sink_->describe(), error.what()));
    }
    if (counts_.lines_lost > 0 ||
        (restraint_ != nullptr && restraint_->told() < restraint_->held_back())) {
        tell(summary_of_losses());
    }
    progress.set();
}

/// Writes what is in writing_, as often as it takes, until it is empty.
task<> log_output::write_batch(event& progress) {
    clock::duration retry_after = first_retry_after;
    while (writing_.size() > 0) {
        co_await tend();
        std::size_t written = writing_.size();
        std::string why;
        const std::string_view text = writing_.text();
        write_began_ = clock::now();
        try {
            co_await sink_->write(std::span(text.data(), text.size()));
            failure_ = {};
        } catch (const write_error& error) {
            written = error.bytes_kept;
            failure_ = error.code();
            why = error.what();
        } catch (const sink_gone& error) {
            written = 0;
            failure_ = error.code();
            why = error.what();
            give_up();
        } catch (const std::system_error& error) {
            written = 0;
            failure_ = error.code();
            why = error.what();
        } catch (const std::exception& error) {
            written = 0;
            failure_ = make_error_code(std::errc::not_enough_memory);
            why = error.what();
        }
        counts_.note_write(clock::now() - write_began_);
        counts_.is_failing.set(failure_ ? 1 : 0);
        note_written(written);
        if (!failure_) {
            continue;
        }
        ++counts_.failures;
        if (is_stopping_) {
            lose(std::exchange(writing_lines_, 0), why);
            writing_.cut(0);
            lose(std::exchange(filling_lines_, 0), why);
            filling_.cut(0);
            co_return;
        }
        if (retry_after == first_retry_after) {
            tell(fmt::format("{}: {}; it is tried again", sink_->describe(), why));
        }
        progress.set();
        (void)co_await as_result(timeout(retry_after, stop_.wait()));
        retry_after = std::min(2 * retry_after, last_retry_after);
    }
}

/// The sink looks after what it writes to.
task<> log_output::tend() {
    is_tending_ = true;
    write_began_ = clock::now();
    try {
        const log_news news = co_await sink_->tend(std::exchange(asked_, {}));
        if (news) {
            put_first(news);
        }
    } catch (const std::exception& error) {
        tell(fmt::format("{}: {}", sink_->describe(), error.what()));
    }
    is_tending_ = false;
}

/// What the sink tells stands before what is written next.
void log_output::put_first(const log_news& news) {
    static const log_thread nobody;
    if (news.importance >= level::warning) {
        tell(news.text);
    }
    log_buffer with_news(batch_bytes_ + (64u << 10) + news.text.size());
    form_->append({.when = wall_clock::now(),
                   .importance = news.importance,
                   .is_known_plain = false,
                   .is_truncated = false,
                   .message = news.text,
                   .logger = log_record::own_name,
                   .logger_id = log_record::own_id,
                   .thread = nobody,
                   .sequence = 0,
                   .fields = {}},
                  with_news);
    with_news.append(writing_.text());
    writing_ = std::move(with_news);
    ++counts_.notes;
    ++writing_lines_;
    is_writing_ = true;
}

void log_output::note_written(std::size_t bytes) noexcept {
    const bool all = bytes == writing_.size();
    const std::uint64_t lines = all ? writing_lines_ : lines_in(writing_.text().substr(0, bytes));
    counts_.bytes_written += bytes;
    counts_.lines_written += lines;
    writing_lines_ -= lines;
    writing_.drop_front(bytes);
}

/// A line behind those that came before the losses: what was lost is what did not fit behind them.
void log_output::tell_losses() {
    const std::string text =
        fmt::format("{} records are missing here: {} failed, and there was no room to keep them",
                    std::exchange(lines_lost_untold_, 0), sink_->describe());
    if (!note(text, level::warning)) {
        tell(text);
    }
}

void log_output::lose(std::uint64_t lines, const std::string& why) {
    if (lines > 0) {
        counts_.lines_lost += lines;
        tell(fmt::format("{}: {} lines are lost: {}", sink_->describe(), lines, why));
    }
}

std::string log_output::summary_of_losses() const {
    std::string untold;
    if (restraint_ != nullptr && restraint_->told() < restraint_->held_back()) {
        untold = fmt::format(", {} held back and not told",
                             restraint_->held_back() - restraint_->told());
    }
    return fmt::format("{}: {} lines written, {} lost{}", sink_->describe(),
                       std::uint64_t{counts_.lines_written}, std::uint64_t{counts_.lines_lost},
                       untold);
}

} // namespace sapwood::detail
