#include <sapwood/rotating_log_sink.hpp>

#include "compress_file.hpp"
#include "durable_writer.hpp"
#include "parts_kept.hpp"
#include "passing_failures.hpp"
#include "rotated_files.hpp"
#include "rotation_schedule.hpp"

#include <sapwood/assert.hpp>
#include <sapwood/event_loop.hpp>
#include <sapwood/file_log_sink.hpp>
#include <sapwood/run_blocking.hpp>
#include <sapwood/say.hpp>
#include <sapwood/shield.hpp>
#include <sapwood/sleep.hpp>

#include <algorithm>
#include <cerrno>
#include <exception>
#include <fmt/format.h>
#include <new>
#include <optional>
#include <stdexcept>
#include <string_view>
#include <utility>

namespace sapwood {

namespace {

/// After a rotation that failed. The file is longer then than it should be, which does no harm.
constexpr clock::duration first_retry_after = std::chrono::seconds(1);
constexpr clock::duration last_retry_after = std::chrono::minutes(1);

/// So many names that are taken are passed over, each of a millisecond later.
constexpr int names_tried_max = 1000;

/// A failure comes again with each rotation, and one line is told with each batch.
constexpr std::size_t untold_max = 64;

detail::durable_writer_options durable_options(const rotating_log_sink_options& options) {
    return {.level = options.durable,
            .numbered = options.numbered,
            .unsynced_bytes_max = options.unsynced_bytes_max,
            .writeback_bytes = options.writeback_bytes};
}

bool looks_after(const rotating_log_sink_options& options) noexcept {
    return options.compress || options.keep_files > 0 || options.keep_bytes > 0 ||
           options.keep_for.count() > 0;
}

const rotating_log_sink_options& validated(const rotating_log_sink_options& options) {
    const auto require = [](bool holds, const char* what) {
        if (!holds) {
            throw std::invalid_argument(fmt::format("rotating_log_sink_options: {}", what));
        }
    };
    require(!options.path.empty() && options.path.back() != '/', "path must name a file");
    require(options.every.count() >= 0, "every must not be negative");
    require(options.keep_for.count() >= 0, "keep_for must not be negative");
    if (options.daily_at) {
        require(options.daily_at->hour >= 0 && options.daily_at->hour <= 23,
                "daily_at.hour must be 0 to 23");
        require(options.daily_at->minute >= 0 && options.daily_at->minute <= 59,
                "daily_at.minute must be 0 to 59");
    }
    require(options.compression_level >= 1 && options.compression_level <= 22,
            "compression_level must be 1 to 22");
    require(!options.compress || detail::can_compress(),
            "compress: this sapwood was built without zstd; install libzstd-dev and build it with "
            "-Dzstd=enabled");
    durable_options(options).validate("rotating_log_sink_options");
    return options;
}

} // namespace

rotating_log_sink::rotating_log_sink(rotating_log_sink_options options)
    : options_((validated(options), std::move(options))),
      schedule_(std::make_unique<detail::rotation_schedule>(options_.every, options_.daily_at)) {}

rotating_log_sink::~rotating_log_sink() = default;

std::chrono::system_clock::time_point rotating_log_sink::now() const {
    return options_.now ? options_.now() : std::chrono::system_clock::now();
}

const file_sink& rotating_log_sink::present() const noexcept {
    SAPWOOD_ASSERT(file_ != nullptr, "a rotating_log_sink was used before it was opened");
    return *file_;
}

file_sink& rotating_log_sink::present() noexcept {
    SAPWOOD_ASSERT(file_ != nullptr, "a rotating_log_sink was used before it was opened");
    return *file_;
}

task<> rotating_log_sink::open() {
    const file_sink_options options{.path = options_.path,
                                    .mode = options_.mode,
                                    .group = options_.group,
                                    .make_directories = options_.make_directories,
                                    .directory_mode = options_.directory_mode,
                                    .may_be_link = false,
                                    .sync_directory = options_.sync || is_durable(),
                                    .numbered = durable_options(options_).numbers(),
                                    .has_segments = is_durable()};
    file_ = std::make_unique<file_sink>(co_await file_sink::open(options));
    if (is_durable()) {
        durable_ =
            std::make_unique<detail::durable_writer>(*file_, crash_, durable_options(options_));
    }
    if (log_news torn = present().torn_news()) {
        tell(torn.importance, std::move(torn.text));
    }
    stop_house_.store(false, std::memory_order_relaxed);
    retry_after_ = {};
    is_asked_to_rotate_ = options_.rotate_at_open;
    house_is_due_ = looks_after(options_);
    present().note_in(crash_);
    note_file();
    if (house_is_due_) {
        co_await find_last_name();
    }
}

/// Names go on behind the last one also where the clock has been set back since an earlier run:
/// what is rotated now would otherwise be the oldest, and be removed as such.
task<> rotating_log_sink::find_last_name() {
    try {
        const auto newest =
            co_await run_blocking([this] { return detail::newest_rotated(options_.path); });
        last_name_ =
            std::max(last_name_, newest.value_or(detail::log_milliseconds{}).time_since_epoch());
    } catch (const std::system_error&) { // the files are looked after later, which says why not
    }
}

task<> rotating_log_sink::open_in_child() {
    // The parent's objects may have been in the middle of anything: they are left as they are.
    const auto& parents = *file_.release();
    (void)durable_.release();
    std::construct_at(&house_);
    std::construct_at(&untold_);
    untold_more_ = 0;
    house_is_due_ = is_asked_to_rotate_ = false;
    crash_.begin_in_child();
    file_ = std::make_unique<file_sink>(co_await file_sink::share(parents, crash_.fd()));
    present().note_in(crash_);
    if (is_durable()) {
        durable_ = detail::durable_writer::of_child(*file_, crash_, durable_options(options_));
    }
    note_file();
}

// --- when ---

/// The file that is open now is another one than before.
void rotating_log_sink::note_file() {
    crash_.note(present());
    reopened_seen_ = present().counts().reopened;
    begin_period();
}

/// From the last line in the file, or, where it has none, from now on.
void rotating_log_sink::begin_period() {
    asked_time_ = now();
    due_ = schedule_->next(present().size() > 0 ? std::min(present().modified(), asked_time_)
                                                : asked_time_);
}

bool rotating_log_sink::time_is_due() {
    const auto time = now();
    if (time < std::exchange(asked_time_, time)) { // somebody has set the clock back
        due_ = std::min(due_, schedule_->next(time));
    }
    return time >= due_;
}

bool rotating_log_sink::may_rotate() const noexcept {
    // In a child that was forked it is the parent's affair.
    return !present().is_inherited() &&
           (retry_after_ == clock::duration::zero() || event_loop::current().now() >= retry_at_);
}

/// How many bytes of `lines`, whole lines, a file of that size has room for.
std::size_t rotating_log_sink::fitting(std::span<const char> lines, std::uint64_t size) const {
    const std::uint64_t limit = options_.bytes_max;
    if (limit == 0) {
        return lines.size();
    }
    const std::uint64_t room = limit - std::min(size, limit);
    if (durable_ != nullptr) {
        return durable_->fitting({lines.data(), lines.size()}, room);
    }
    if (lines.size() <= room) {
        return lines.size();
    }
    return std::string_view(lines.data(), room).rfind('\n') + 1; // npos + 1 is 0
}

/// The same of a new one. A line that is longer than a file may be has one of its own.
std::size_t rotating_log_sink::begins_with(std::span<const char> lines) const {
    const std::size_t piece = fitting(lines, 0);
    if (piece > 0) {
        return piece;
    }
    const std::size_t line = std::string_view(lines.data(), lines.size()).find('\n') + 1;
    return line == 0 ? lines.size() : line;
}

// --- writing and rotating ---

/// When a write is over, for a handler of crashes.
struct rotating_log_sink::noting {
    rotating_log_sink& sink;

    ~noting() {
        sink.crash_.note(sink.present());
        sink.crash_.end_write();
        if (sink.durable_ != nullptr) {
            sink.durable_->end_batch();
        } else {
            sink.crash_.settle_if_alone();
        }
    }
};

task<> rotating_log_sink::write(std::span<const char> lines) {
    const auto shielded = co_await shield();
    const noting note_at_end{*this};
    std::optional<detail::parts_kept> kept; // where more than one piece is to come
    if (fitting(lines, present().size()) < lines.size()) {
        kept.emplace(options_.path);
    }
    for (std::size_t done = 0; done < lines.size();) {
        // A rotation may come before the next piece.
        if (durable_ != nullptr) {
            durable_->begin_batch(lines.data(), done);
        } else {
            crash_.begin_write(lines.data(), done);
        }
        try {
            const std::size_t piece = co_await write_piece(lines.subspan(done));
            done += piece;
            if (kept) {
                kept->go_on(piece);
            }
        } catch (write_error& error) {
            error.bytes_kept += done;
            throw;
        } catch (const std::bad_alloc&) {
            if (kept) {
                kept->rethrow();
            }
            throw;
        }
        crash_.note(present());
    }
}

/// As many of `lines` as are to go into the file that is open, or into a new one.
task<std::size_t> rotating_log_sink::write_piece(std::span<const char> lines) {
    std::size_t piece = fitting(lines, present().size());
    const bool has_lines = present().size() > 0;
    // What is durable begins a new file together with its first lines, and so only here.
    const bool is_asked = durable_ != nullptr && is_asked_to_rotate_;
    if (has_lines && (piece == 0 || is_asked) && !is_poisoned()) {
        const std::size_t first = begins_with(lines);
        const rotation done = co_await rotate(lines.first(first));
        if (done != rotation::none) {
            co_return done == rotation::done_with_lines ? first : 0;
        }
        piece = piece == 0 ? lines.size() : piece; // better too long than not at all
    }
    piece = piece == 0 ? begins_with(lines) : piece;
    co_await append(lines.first(piece));
    co_return piece;
}

/// What it has at its end comes again in a file that is begun anyway.
bool rotating_log_sink::is_poisoned() const noexcept {
    return durable_ != nullptr && durable_->is_poisoned();
}

task<> rotating_log_sink::append(std::span<const char> lines) {
    if (durable_ != nullptr) {
        co_await durable_->write(lines);
    } else {
        co_await present().write(lines);
    }
}

/// Goes on in a new file, which `first` begin where it is durable.
task<rotating_log_sink::rotation> rotating_log_sink::rotate(std::span<const char> first) {
    if (!may_rotate()) {
        co_return rotation::none;
    }
    std::string why;
    std::error_code failure;
    for (int tries = 0; tries < names_tried_max; ++tries) {
        last_name_ =
            std::max(std::chrono::floor<std::chrono::milliseconds>(now().time_since_epoch()),
                     last_name_ + std::chrono::milliseconds(1));
        try {
            co_await begin_file(
                detail::rotated_name(options_.path, detail::log_milliseconds(last_name_)), first);
            failure = {};
        } catch (const std::system_error& error) {
            failure = error.code();
            why = error.what();
        }
        if (failure != std::errc::file_exists || present().is_unnamed()) {
            break;
        }
    }
    if (failure.value() == ESTALE || failure == std::errc::no_such_file_or_directory) {
        // Somebody has renamed it just now: what has the name is perhaps not full.
        const log_news news = co_await follow(true);
        if (present().counts().reopened != reopened_seen_) {
            tell(level::info, fmt::format("{} was renamed or removed; the log goes on in this file",
                                          options_.path));
            note_file();
            is_asked_to_rotate_ = false;
            co_return rotation::other_file;
        }
        why = news ? news.text : why;
    }
    if (failure) {
        ++counts_.rotations_failed;
        if (retry_after_ == clock::duration::zero()) {
            tell(level::warning,
                 fmt::format("{} is not rotated, and goes on: {}; it is tried again", options_.path,
                             why));
        }
        retry_after_ = std::clamp(2 * retry_after_, first_retry_after, last_retry_after);
        retry_at_ = event_loop::current().now() + retry_after_;
        co_return rotation::none;
    }
    retry_after_ = {};
    is_asked_to_rotate_ = false;
    ++counts_.rotated;
    house_is_due_ = looks_after(options_);
    note_file();
    start_housekeeping();
    co_return durable_ != nullptr ? rotation::done_with_lines : rotation::done;
}

task<> rotating_log_sink::begin_file(std::string aside, std::span<const char> first) {
    if (durable_ != nullptr) {
        co_await durable_->begin_file(first, std::move(aside));
    } else {
        co_await present().rotate(std::move(aside), options_.sync);
    }
}

task<log_news> rotating_log_sink::follow(bool asked) {
    log_news news;
    if (durable_ != nullptr) {
        news = co_await durable_->follow(asked);
    } else if (asked) {
        news = co_await present().reopen();
    } else if (present().follow_is_due()) {
        news = co_await present().follow();
    }
    co_return news;
}

task<log_news> rotating_log_sink::tend(log_sink_requests asked) {
    log_news news = co_await follow(asked.reopen);
    if (present().counts().reopened != reopened_seen_) {
        note_file();
    }
    is_asked_to_rotate_ = is_asked_to_rotate_ || asked.rotate;
    if (present().size() == 0) {
        is_asked_to_rotate_ = false;
        begin_period();
    } else if (is_asked_to_rotate_ || time_is_due()) {
        if (durable_ != nullptr) {
            is_asked_to_rotate_ = true; // with the next line
            if (asked.rotate && !news && may_rotate()) {
                news = {level::info,
                        fmt::format("{} begins anew, as was asked for", options_.path)};
            }
        } else {
            const auto shielded = co_await shield();
            (void)co_await rotate({});
        }
    }
    start_housekeeping();
    if (!news && !untold_.empty()) {
        news = std::move(untold_.front());
        untold_.erase(untold_.begin());
    } else if (!news && untold_more_ > 0) {
        news = news_of_more();
        untold_more_ = 0;
    }
    co_return news;
}

void rotating_log_sink::tell(level importance, std::string text) {
    if (untold_.size() < untold_max) {
        untold_.emplace_back(importance, std::move(text));
    } else {
        ++untold_more_;
    }
}

log_news rotating_log_sink::news_of_more() const {
    return {level::warning,
            fmt::format("{}: {} more of what its rotations had to tell {} left out", options_.path,
                        untold_more_, untold_more_ == 1 ? "is" : "are")};
}

void rotating_log_sink::say_untold() noexcept {
    for (const auto& each : std::exchange(untold_, {})) {
        detail::say(each.text);
    }
    try {
        if (untold_more_ > 0) {
            detail::say(news_of_more().text);
            untold_more_ = 0;
        }
    } catch (const std::bad_alloc&) { // those before it were told
    }
}

task<> rotating_log_sink::sync() {
    if (durable_ != nullptr) {
        co_await durable_->sync();
    }
}

clock::time_point rotating_log_sink::sync_at() const noexcept {
    return durable_ != nullptr ? durable_->sync_at() : clock::time_point::max();
}

bool rotating_log_sink::may_pass(std::error_code why) const noexcept {
    return detail::may_pass_for_file(why);
}

bool rotating_log_sink::write_in_crash(std::span<const char> lines) noexcept {
    return durable_ != nullptr ? durable_->write_in_crash(lines) : crash_.write(lines);
}

std::uint64_t rotating_log_sink::lines_stranded() const noexcept {
    return durable_ != nullptr ? durable_->stranded() : 0;
}

std::size_t rotating_log_sink::kept_in_crash() const noexcept {
    return durable_ != nullptr ? durable_->kept_in_crash() : crash_.kept();
}

task<> rotating_log_sink::close() {
    stop_house_.store(true, std::memory_order_relaxed);
    start_housekeeping();
    if (house_) { // not by a call, for whose frame there may be no memory: it uses this
        co_await *house_;
        house_.reset();
    }
    say_untold();
    std::exception_ptr failure;
    bool is_over = false;
    for (int tries = 1; !is_over; ++tries) {
        try {
            co_await sync();
            is_over = true;
        } catch (const std::bad_alloc&) { // it can be called again, and nobody else will
            if (tries == detail::last_sync_tries_max) {
                failure = std::current_exception();
                is_over = true;
            }
        } catch (const std::exception&) {
            failure = std::current_exception();
            is_over = true;
        }
        if (is_over) {
            break;
        }
        co_await yield(); // others may give back what is wanted
        try {
            co_await sleep_for(detail::last_sync_retry_after);
        } catch (const std::bad_alloc&) { // for a timer: then at once
        }
    }
    crash_.note_closed();
    co_await present().close();
    if (failure) {
        std::rethrow_exception(failure);
    }
}

} // namespace sapwood
