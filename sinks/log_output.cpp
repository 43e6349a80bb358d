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
      description_(sink_->describe()),
      filter_(std::move(options.filter)),
      batch_bytes_(options.batch_bytes),
      stuck_after_(options.stuck_after),
      at_least_(options.at_least),
      recent_options_(options.recent),
      limits_(options.limits),
      may_block_(may_block),
      // Records still come in when it is full: what one visit to the rings may bring.
      filling_(batch_bytes_ + (64u << 10)),
      writing_(batch_bytes_ + (64u << 10)) {
    if (recent_options_.records_max > 0) {
        recent_ =
            std::make_unique<recent_lines>(recent_options_.records_max, recent_options_.bytes_max);
    }
    if (limits_.any()) {
        restraint_ = std::make_unique<log_restraint>(limits_);
    }
}

task<> log_output::open() {
    return sink_->open();
}

task<> log_output::open_in_child() {
    return sink_->open_in_child();
}

log_output_options log_output::hand_over() noexcept {
    return {.sink = std::move(sink_),
            .form = std::move(form_),
            .at_least = at_least_,
            .filter = std::move(filter_),
            .batch_bytes = batch_bytes_,
            .stuck_after = stuck_after_,
            .recent = recent_options_,
            .limits = limits_};
}

void log_output::write_batches_in_crash() noexcept {
    const auto write_whole_lines = [this](std::string_view text) {
        const std::size_t whole = text.rfind('\n') + 1; // npos + 1 is 0
        if (whole > 0) {
            write_in_crash({text.data(), whole});
        }
    };
    if (!is_saved_) {
        write_whole_lines(writing_.text());
        is_saved_ = true;
    }
    // What is half done is made anew of the records.
    write_whole_lines(filling_.text().substr(0, rendered_to_));
    filling_.cut(0);
    filling_lines_ = 0;
}

/// Whether there is nothing to be asked of each of them.
bool log_output::takes_all(std::span<const log_record> records) const noexcept {
    return !filter_ && !full() && recent_ == nullptr && restraint_ == nullptr &&
           std::ranges::all_of(records, [this](const log_record& each) { return takes(each); });
}

void log_output::append(std::span<const log_record> records) {
    taken_ = 0;
    rendered_to_ = filling_.size();
    if (takes_all(records)) [[likely]] {
        const std::size_t before = filling_.size();
        try {
            form_->append_all(records, filling_);
            filling_lines_ += records.size();
            taken_ = records.size();
            rendered_to_ = nowhere;
            return;
        } catch (const std::exception&) { // no memory: as many of them as it takes
            filling_.cut(before);
        }
    }
    append_one_by_one(records);
    rendered_to_ = nowhere;
}

void log_output::append_one_by_one(std::span<const log_record> records) {
    for (; taken_ < records.size(); ++taken_, rendered_to_ = filling_.size()) {
        const log_record& each = records[taken_];
        if (takes(each)) {
            take(each);
            continue;
        }
        ++counts_.lines_unwanted;
        if (keeps(each)) {
            keep(each);
        }
    }
}

void log_output::take(const log_record& record) {
    if (filter_ && !filter_(record)) {
        ++counts_.lines_unwanted;
        return;
    }
    // Where it is to be waited for, what has been taken from the rings already is kept.
    if (has_no_room() && !must_wait()) [[unlikely]] {
        ++lines_lost_untold_;
        ++counts_.lines_lost;
        return;
    }
    if (restraint_ != nullptr && restrains(record)) [[unlikely]] {
        return;
    }
    if (recent_ != nullptr && record.importance >= recent_options_.trigger) [[unlikely]] {
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
    forget_saved();
    try {
        kept_line_.cut(0);
        form_->append(record, kept_line_);
        recent_->add(kept_line_.text());
    } catch (const std::exception&) { // no memory: it was not to be written in any case
    }
}

/// The program has survived its signal.
void log_output::forget_saved() noexcept {
    if (std::exchange(is_recent_saved_, false)) [[unlikely]] {
        recent_->clear();
    }
}

void log_output::dump_recent() {
    forget_saved();
    if (recent_ == nullptr || recent_->lines() == 0 || has_no_room()) {
        return;
    }
    const std::size_t before = filling_.size();
    const std::uint64_t lines_before = filling_lines_;
    const std::uint64_t notes_before = counts_.notes;
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
                counts_.notes += lines; // they had been unwanted
                recent_->clear();
                return;
            }
        }
    } catch (const std::exception&) { // no memory: they are kept on
    }
    counts_.notes.set(notes_before);
    filling_.cut(before);
    filling_lines_ = lines_before;
}

bool log_output::restrains(const log_record& record) {
    if (record.is_own()) {
        return false; // what the log itself has to say
    }
    try {
        const bool admitted = restraint_->admits(record, event_loop::current().now(), *this);
        counts_.lines_held_back.set(restraint_->held_back());
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
    const bool is_there = render({.when = wall_clock::now(),
                                  .importance = importance,
                                  .is_known_plain = false,
                                  .is_truncated = false,
                                  .message = text,
                                  .logger = log_record::own_name,
                                  .logger_id = log_record::own_id,
                                  .thread = nobody,
                                  .sequence = 0,
                                  .fields = {}});
    if (is_there) {
        ++counts_.notes;
    }
    return is_there;
}

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

void log_output_counts::note_write(clock::duration took) noexcept {
    const auto bound = std::ranges::lower_bound(log_write_times::bounds, took);
    ++write_times[static_cast<std::size_t>(bound - log_write_times::bounds.begin())];
    const auto ns = static_cast<std::uint64_t>(std::chrono::nanoseconds(took).count());
    write_ns_sum += ns;
    write_ns_max.raise_to(ns);
}

log_output_stats log_output::stats() const {
    log_output_stats made{
        .sink = description_,
        .written = counts_.lines_written,
        .unwanted = counts_.lines_unwanted,
        .held_back = counts_.lines_held_back,
        .lost = counts_.lines_lost,
        .notes = counts_.notes,
        .bytes_written = counts_.bytes_written,
        .failures = counts_.failures,
        .is_failing = counts_.is_failing != 0,
        .write_times = {},
    };
    for (std::size_t i = 0; i < counts_.write_times.size(); ++i) {
        made.write_times.counts[i] = counts_.write_times[i];
    }
    made.write_times.sum = std::chrono::nanoseconds(counts_.write_ns_sum);
    made.write_times.max = std::chrono::nanoseconds(counts_.write_ns_max);
    return made;
}

} // namespace sapwood::detail
