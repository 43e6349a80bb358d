#include <sapwood/log_output.hpp>

#include <sapwood/event_loop.hpp>
#include <sapwood/file_sink.hpp>
#include <sapwood/text_layout.hpp>
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

/// The number of the logger that gaps are told by, and other lines of the log's own.
constexpr std::uint16_t own_logger_id = 0xffff;

std::uint64_t lines_in(std::string_view text) noexcept {
    return static_cast<std::uint64_t>(std::count(text.begin(), text.end(), '\n'));
}

std::unique_ptr<log_layout> form_of(log_output_options& options) {
    auto form = options.form != nullptr ? std::move(options.form) : options.sink->default_form();
    return form != nullptr ? std::move(form) : std::make_unique<text_layout>();
}

void tell(const std::string& message) noexcept {
    std::fprintf(stderr, "sapwood: %s\n", message.c_str());
}

} // namespace

log_output::log_output(log_output_options options, bool may_block)
    : form_(form_of(options)),
      sink_(std::move(options.sink)),
      filter_(std::move(options.filter)),
      batch_bytes_(options.batch_bytes),
      stuck_after_(options.stuck_after),
      at_least_(options.at_least),
      keep_at_least_(options.recent.at_least),
      dump_from_(options.recent.trigger),
      wants_site_(options.limits.each_call_site.records > 0),
      may_block_(may_block),
      // Records still come in when it is full: what one visit to the rings may bring.
      filling_(batch_bytes_ + (64u << 10)),
      writing_(batch_bytes_ + (64u << 10)) {
    if (options.recent.records_max > 0) {
        recent_ =
            std::make_unique<recent_lines>(options.recent.records_max, options.recent.bytes_max);
    }
    if (options.limits.any()) {
        restraint_ = std::make_unique<log_restraint>(options.limits);
    }
}

task<> log_output::open() {
    return sink_->open();
}

void log_output::take(const log_record& record) {
    if (filter_ && !filter_(record)) {
        return;
    }
    if (has_no_room()) [[unlikely]] {
        ++lines_lost_untold_;
        ++counts_.lines_lost;
        return;
    }
    if (restraint_ != nullptr && restrains(record)) [[unlikely]] {
        return;
    }
    if (recent_ != nullptr && record.importance >= dump_from_) [[unlikely]] {
        dump_recent();
    }
    if (!render(record)) {
        ++lines_lost_untold_;
        ++counts_.lines_lost;
    }
}

/// False, and nothing has changed, where there is no memory.
bool log_output::render(const log_record& record) {
    const std::size_t before = filling_.size();
    try {
        form_->append(record, filling_);
    } catch (const std::exception&) {
        filling_.cut(before);
        return false;
    }
    ++filling_lines_;
    return true;
}

// --- what is kept, and what is held back ---

void log_output::keep(const log_record& record) {
    if (filter_ && !filter_(record)) {
        return;
    }
    try {
        kept_line_.cut(0);
        form_->append(record, kept_line_);
        recent_->add(kept_line_.text());
    } catch (const std::exception&) { // no memory: it was not to be written in any case
    }
}

void log_output::dump_recent() {
    if (recent_ == nullptr || recent_->lines() == 0 || has_no_room()) {
        return;
    }
    const std::size_t before = filling_.size();
    const std::uint64_t lines_before = filling_lines_;
    try {
        const std::size_t lines = recent_->lines();
        const std::string older = recent_->forgotten() > 0
                                      ? fmt::format(", and {} before them", recent_->forgotten())
                                      : std::string();
        if (note(fmt::format("kept until now, too low to be written: {} record{}{}", lines,
                             lines > 1 ? "s" : "", older),
                 level::info)) {
            filling_.append(recent_->text());
            filling_lines_ += lines;
            if (note("end of what was kept", level::info)) {
                recent_->clear();
                return;
            }
        }
    } catch (const std::exception&) { // no memory: they are kept on
    }
    filling_.cut(before);
    filling_lines_ = lines_before;
}

bool log_output::restrains(const log_record& record) {
    if (record.logger_id == own_logger_id) {
        return false; // what the log itself has to say
    }
    try {
        const bool admitted = restraint_->admits(record, event_loop::current().now(), *this);
        counts_.records_held_back = restraint_->held_back();
        return !admitted;
    } catch (const std::bad_alloc&) {
        return false;
    }
}

void log_output::tell_held_back(clock::time_point now) {
    if (restraint_ != nullptr) {
        try {
            restraint_->tell_due(now, *this);
        } catch (const std::bad_alloc&) { // later
        }
    }
}

bool log_output::tell_held_back(const std::string& text, level importance) {
    return !has_no_room() && note(text, importance);
}

/// A line of the log's own.
bool log_output::note(const std::string& text, level importance) {
    static const log_thread nobody;
    return render({.when = wall_clock::now(),
                   .importance = importance,
                   .is_known_plain = false,
                   .is_truncated = false,
                   .message = text,
                   .logger = "sapwood",
                   .logger_id = own_logger_id,
                   .thread = nobody,
                   .sequence = 0,
                   .fields = {}});
}

void log_output::push() {
    if (!is_writing_ && filling_.size() > 0) {
        std::swap(filling_, writing_);
        std::swap(filling_lines_, writing_lines_);
        is_writing_ = true;
        write_began_ = clock::now();
        work_.set();
    }
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
        note_written(written);
        if (!failure_) {
            continue;
        }
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

void log_output::note_written(std::size_t bytes) noexcept {
    const bool all = bytes == writing_.size();
    const std::uint64_t lines = all ? writing_lines_ : lines_in(writing_.text().substr(0, bytes));
    counts_.bytes_written += bytes;
    counts_.lines_written += lines;
    ++counts_.batches_written;
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
    return fmt::format("{}: {} lines written, {} lost{}", sink_->describe(), counts_.lines_written,
                       counts_.lines_lost,
                       restraint_ != nullptr && restraint_->told() < restraint_->held_back()
                           ? fmt::format(", {} held back and not told",
                                         restraint_->held_back() - restraint_->told())
                           : std::string());
}

} // namespace sapwood::detail
