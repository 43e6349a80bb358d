#include <sapwood/log_output.hpp>

#include "log_own_record.hpp"
#include "log_tell.hpp"

#include <sapwood/event_loop.hpp>
#include <sapwood/text_layout.hpp>

#include <algorithm>
#include <fmt/format.h>
#include <span>
#include <utility>

namespace sapwood::detail {

namespace {

std::unique_ptr<log_layout> form_of(log_output_options& options) {
    auto form = options.form != nullptr ? std::move(options.form) : options.sink->default_form();
    return form != nullptr ? std::move(form) : std::make_unique<text_layout>();
}

std::string_view whole_lines(std::string_view text) noexcept {
    return text.substr(0, text.rfind('\n') + 1); // npos + 1 is 0
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
      may_block_(may_block || sink_->is_durable()),
      // Records still come in when it is full: what one visit to the rings may bring.
      batches_{log_batch(batch_bytes_ + (64u << 10)), log_batch(batch_bytes_ + (64u << 10))} {
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
    form_->become_childs();
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

/// Whether there is nothing to be asked of each of them.
bool log_output::takes_all(std::span<const log_record> records) const noexcept {
    return !filter_ && !full() && recent_ == nullptr && restraint_ == nullptr &&
           std::ranges::all_of(records, [this](const log_record& each) { return takes(each); });
}

void log_output::append(std::span<const log_record> records) noexcept {
    log_batch& to = filling();
    taken_ = 0;
    rendered_to_ = to.text.size();
    if (takes_all(records)) [[likely]] {
        const std::size_t before = to.text.size();
        try {
            form_->append_all(records, to.text);
            if (taken_ == 0) [[likely]] {
                to.lines += records.size();
                to.missing += records.front().missing; // one that tells of some is alone
                taken_ = records.size();
                rendered_to_ = nowhere;
                return;
            }
        } catch (...) { // no memory: as many of them as it takes
        }
        to.cut(before);
    }
    append_one_by_one(records);
    rendered_to_ = nowhere;
}

void log_output::append_one_by_one(std::span<const log_record> records) noexcept {
    for (; taken_ < records.size(); ++taken_, rendered_to_ = filling().text.size()) {
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

bool log_output::passes_filter(const log_record& record) noexcept {
    try {
        return !filter_ || record.missing > 0 || filter_(record);
    } catch (...) {
        if (!std::exchange(has_told_filter_, true)) {
            tell("{}: its filter threw, and the record is written: {}", description_,
                 failure_words::of_current().view());
        }
        return true;
    }
}

void log_output::take(const log_record& record) noexcept {
    const bool is_wanted = passes_filter(record);
    if (taken_ >= stopped) [[unlikely]] {
        return;
    }
    if (!is_wanted) {
        ++counts_.lines_unwanted;
        return;
    }
    // Where it is to be waited for, what has been taken from the rings already is kept.
    if (has_no_room() && !must_wait()) [[unlikely]] {
        count_lost(log_loss::no_room, record);
        return;
    }
    if (restraint_ != nullptr && restrains(record)) [[unlikely]] {
        return;
    }
    if (recent_ != nullptr && record.importance >= recent_options_.trigger) [[unlikely]] {
        dump_recent();
    }
    if (!render(record)) {
        count_lost(log_loss::no_form, record);
    }
}

void log_output::count_lost(log_loss why, const log_record& record) noexcept {
    ++counts_.lines_lost;
    if (!record.is_own()) {
        ++lost_untold_[static_cast<std::size_t>(why)];
        return;
    }
    // What it would have told is told with what else is missing there.
    lost_untold_[static_cast<std::size_t>(why)] += record.missing;
    missing_untold_ += record.missing;
}

/// False, and nothing has changed, where there is no memory, or the form fails.
bool log_output::render(const log_record& record) noexcept {
    log_batch& to = filling();
    const std::size_t before = to.text.size();
    try {
        form_->append(record, to.text);
    } catch (...) {
        to.cut(before);
        if (!std::exchange(has_told_form_, true)) {
            tell("{}: a record has no line, and counts as lost: {}", description_,
                 failure_words::of_current().view());
        }
        return false;
    }
    if (taken_ >= stopped) [[unlikely]] {
        to.cut(before);
        return true;
    }
    ++to.lines;
    to.missing += record.missing;
    return true;
}

// --- what is kept, and what is held back ---

void log_output::keep(const log_record& record) noexcept {
    if (!passes_filter(record)) {
        return;
    }
    forget_saved();
    try {
        kept_line_.cut(0);
        form_->append(record, kept_line_);
        recent_->add(kept_line_.text());
    } catch (...) { // no memory: it was not to be written in any case
    }
}

/// The program has survived its signal.
void log_output::forget_saved() noexcept {
    if (std::exchange(is_recent_saved_, false)) [[unlikely]] {
        recent_->clear();
    }
}

void log_output::dump_recent() noexcept {
    forget_saved();
    if (recent_ == nullptr || recent_->lines() == 0 || has_no_room()) {
        return;
    }
    log_batch& to = filling();
    const std::size_t before = to.text.size();
    const std::uint64_t lines_before = to.lines;
    const std::uint64_t notes_before = counts_.notes;
    try {
        const std::size_t lines = recent_->lines();
        const std::string older = recent_->forgotten() > 0
                                      ? fmt::format(", and {} before them", recent_->forgotten())
                                      : std::string();
        if (note(fmt::format("kept until now, too low to be written: {} record{}{}", lines,
                             lines > 1 ? "s" : "", older),
                 level::info)) {
            to.text.append(recent_->text());
            to.lines += lines;
            if (note("end of what was kept", level::info)) {
                counts_.notes += lines; // they had been unwanted
                recent_->clear();
                return;
            }
        }
    } catch (const std::exception&) { // no memory: they are kept on
    }
    counts_.notes.set(notes_before);
    to.cut(before);
    to.lines = lines_before;
}

bool log_output::restrains(const log_record& record) noexcept {
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

void log_output::tell_held_back(clock::time_point now) noexcept {
    if (restraint_ != nullptr) {
        restraint_->tell_due(now, *this);
    }
}

bool log_output::tell_held_back(std::string_view text, level importance) noexcept {
    return !has_no_room() && note(text, importance);
}

/// A line of the log's own.
bool log_output::note(std::string_view text, level importance) noexcept {
    const bool is_there = render(own_record(text, importance));
    if (is_there) {
        ++counts_.notes;
    }
    return is_there;
}

void log_output::push() noexcept {
    if (!is_writing_ && !filling().empty()) {
        filling_ ^= 1U;
        is_writing_ = true;
        begin_work();
        work_.set();
    }
}

void log_output::begin_work() noexcept {
    write_began_ = clock::now();
    looked_ = event_loop::current().now();
    waited_ = {};
    has_sink_ = true;
}

/// For other threads: how it stands now, where failure_ is set for the reason `why`.
void log_output::end_work(std::string_view why) noexcept {
    has_sink_ = false;
    if (failure_) {
        health_.degrade(failure_, why);
    } else {
        health_.heal();
    }
}

void log_output::note_stuck() noexcept {
    health_.degrade(std::make_error_code(std::errc::timed_out), "it does not answer");
}

void log_output::ask(log_sink_requests what) noexcept {
    asked_.reopen |= what.reopen;
    asked_.rotate |= what.rotate;
    work_.set();
}

void log_output::give_up() noexcept {
    gives_up_ = true;
    begin_end();
}

void log_output::stop() noexcept {
    is_stopping_ = true;
    begin_end();
    work_.set();
}

// --- crash ---

void log_output::write_batches_in_crash(bool is_exit) noexcept {
    log_batch& sinks = writing();
    // It stays as it is: perhaps its write goes on, and its lines are counted then.
    if (!sinks.is_saved) {
        const std::string_view whole = whole_lines(sinks.rest());
        sinks.is_saved = whole.empty() || sink_->write_in_crash(whole) || is_exit;
        sinks.saved = sinks.is_saved ? 0 : sink_->kept_in_crash();
    }
    // What is half done is made anew of the records.
    log_batch& own = filling();
    const std::size_t end = std::max(std::min(rendered_to_, own.text.size()), own.done);
    const std::string_view whole = whole_lines(own.text.text().substr(own.done, end - own.done));
    if (whole.empty()) {
        return;
    }
    const std::size_t kept = sink_->write_in_crash(whole) ? whole.size() : sink_->kept_in_crash();
    const std::uint64_t lines = std::min(lines_in(whole), own.lines);
    const std::uint64_t written = std::min(lines_in(whole.substr(0, kept)), lines);
    counts_.lines_written += written;
    counts_.bytes_written += kept;
    counts_.lines_lost += is_exit ? lines - written : 0;
    own.lines -= is_exit ? lines : written;
    own.done += is_exit ? whole.size() : kept;
}

void log_output::write_in_crash(std::span<const char> text, std::uint64_t lines) noexcept {
    const std::string_view all(text.data(), text.size());
    const std::size_t kept = sink_->write_in_crash(text) ? text.size() : sink_->kept_in_crash();
    const std::uint64_t written =
        kept == text.size() ? lines : std::min(lines_in(all.substr(0, kept)), lines);
    counts_.lines_written += written;
    counts_.bytes_written += kept;
    counts_.lines_lost += lines - written;
    lost_untold_[static_cast<std::size_t>(log_loss::no_handler)] += lines - written;
}

// --- counts ---

void log_output_counts::note_write(clock::duration took) noexcept {
    const auto bound = std::ranges::lower_bound(log_write_times::bounds, took);
    ++write_times[static_cast<std::size_t>(bound - log_write_times::bounds.begin())];
    const auto ns = static_cast<std::uint64_t>(std::chrono::nanoseconds(took).count());
    write_ns_sum += ns;
    write_ns_max.raise_to(ns);
}

log_output_stats log_output::stats() const {
    log_health health = health_.now();
    log_output_stats made{
        .sink = description_,
        .written = counts_.lines_written,
        .unwanted = counts_.lines_unwanted,
        .held_back = counts_.lines_held_back,
        .lost = counts_.lines_lost,
        .notes = counts_.notes,
        .bytes_written = counts_.bytes_written,
        .failures = counts_.failures,
        .is_failing = health.is_degraded(),
        .health = std::move(health),
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
