#include <sapwood/rotating_log_sink.hpp>

#include "compress_file.hpp"
#include "rotated_files.hpp"
#include "rotation_schedule.hpp"

#include <sapwood/assert.hpp>
#include <sapwood/event_loop.hpp>
#include <sapwood/file_log_sink.hpp>
#include <sapwood/run_blocking.hpp>
#include <sapwood/shield.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <fmt/format.h>
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
                                    .sync_directory = options_.sync};
    file_ = std::make_unique<file_sink>(co_await file_sink::open(options));
    stop_house_.store(false, std::memory_order_relaxed);
    retry_after_ = {};
    is_asked_to_rotate_ = options_.rotate_at_open;
    house_is_due_ = options_.compress || options_.keep_files > 0 || options_.keep_bytes > 0 ||
                    options_.keep_for.count() > 0;
    present().note_in(crash_);
    note_file();
}

task<> rotating_log_sink::open_in_child() {
    // The parent's objects may have been in the middle of anything: they are left as they are.
    const auto& parents = *file_.release();
    std::construct_at(&house_);
    std::construct_at(&untold_);
    house_is_due_ = house_is_running_ = is_asked_to_rotate_ = false;
    crash_.end_write();
    file_ = std::make_unique<file_sink>(co_await file_sink::share(parents, crash_.fd()));
    present().note_in(crash_);
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

/// How many bytes of `lines`, whole lines, the file has room for.
std::size_t rotating_log_sink::fitting(std::span<const char> lines) const noexcept {
    const std::uint64_t limit = options_.bytes_max;
    const std::uint64_t size = present().size();
    if (limit == 0 || lines.size() <= limit - std::min(size, limit)) {
        return lines.size();
    }
    const std::string_view room(lines.data(), limit - std::min(size, limit));
    return room.rfind('\n') + 1; // npos + 1 is 0
}

// --- writing and rotating ---

/// When a write is over, for a handler of crashes.
struct rotating_log_sink::noting {
    rotating_log_sink& sink;

    ~noting() {
        sink.crash_.note(sink.present());
        sink.crash_.end_write();
    }
};

task<> rotating_log_sink::write(std::span<const char> lines) {
    const auto shielded = co_await shield();
    const noting note_at_end{*this};
    for (std::size_t done = 0; done < lines.size();) {
        const auto rest = lines.subspan(done);
        std::size_t piece = fitting(rest);
        if (piece == 0 && present().size() > 0) {
            if (co_await rotate()) {
                continue;
            }
            piece = rest.size(); // better too long than not at all
        }
        if (piece == 0) { // a line that is longer than a file may be has one of its own
            piece = std::string_view(rest.data(), rest.size()).find('\n') + 1;
            piece = piece == 0 ? rest.size() : piece;
        }
        crash_.begin_write(lines.data(), done);
        try {
            co_await present().write(rest.first(piece));
        } catch (const write_error& error) {
            throw write_error(error.code(), fmt::format("cannot write {}", options_.path),
                              done + error.bytes_kept);
        }
        done += piece;
        crash_.note(present());
        crash_.begin_write(lines.data(), done); // a rotation may come before the next piece
    }
}

/// False where the file stays as it is.
task<bool> rotating_log_sink::rotate() {
    if (!may_rotate()) {
        co_return false;
    }
    std::string why;
    std::error_code failure;
    for (int tries = 0; tries < names_tried_max; ++tries) {
        last_name_ =
            std::max(std::chrono::floor<std::chrono::milliseconds>(now().time_since_epoch()),
                     last_name_ + std::chrono::milliseconds(1));
        try {
            co_await present().rotate(
                detail::rotated_name(options_.path, detail::log_milliseconds(last_name_)),
                options_.sync);
            failure = {};
        } catch (const std::system_error& error) {
            failure = error.code();
            why = error.what();
        }
        if (failure != std::errc::file_exists) {
            break;
        }
    }
    if (failure.value() == ESTALE || failure == std::errc::no_such_file_or_directory) {
        // Somebody has renamed it just now: what has the name is perhaps not full.
        const log_news news = co_await present().reopen();
        if (present().counts().reopened != reopened_seen_) {
            tell(level::info, fmt::format("{} was renamed or removed; the log goes on in this file",
                                          options_.path));
            note_file();
            is_asked_to_rotate_ = false;
            co_return true;
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
        co_return false;
    }
    retry_after_ = {};
    is_asked_to_rotate_ = false;
    ++counts_.rotated;
    house_is_due_ = options_.compress || options_.keep_files > 0 || options_.keep_bytes > 0 ||
                    options_.keep_for.count() > 0;
    note_file();
    start_housekeeping();
    co_return true;
}

task<log_news> rotating_log_sink::tend(log_sink_requests asked) {
    log_news news;
    if (asked.reopen) {
        news = co_await present().reopen();
    } else if (present().follow_is_due()) {
        news = co_await present().follow();
    }
    if (present().counts().reopened != reopened_seen_) {
        note_file();
    }
    is_asked_to_rotate_ = is_asked_to_rotate_ || asked.rotate;
    if (present().size() == 0) {
        is_asked_to_rotate_ = false;
        begin_period();
    } else if (is_asked_to_rotate_ || time_is_due()) {
        const auto shielded = co_await shield();
        (void)co_await rotate();
    }
    start_housekeeping();
    if (!news && !untold_.empty()) {
        news = std::move(untold_.front());
        untold_.erase(untold_.begin());
    }
    co_return news;
}

void rotating_log_sink::tell(level importance, std::string text) {
    untold_.emplace_back(importance, std::move(text));
}

bool rotating_log_sink::write_in_crash(std::span<const char> lines) noexcept {
    return crash_.write(lines);
}

task<> rotating_log_sink::close() {
    stop_house_.store(true, std::memory_order_relaxed);
    co_await housekeeping();
    for (const auto& each : std::exchange(untold_, {})) {
        std::fprintf(stderr, "sapwood: %s\n", each.text.c_str());
    }
    crash_.note_closed();
    co_await present().close();
}

// --- rotated files ---

void rotating_log_sink::start_housekeeping() {
    if (!house_is_due_ || house_is_running_ || present().is_inherited()) {
        return;
    }
    house_is_running_ = true;
    house_.emplace(spawn(keep_house(), {.name = "log housekeeping"}));
}

task<> rotating_log_sink::housekeeping() {
    start_housekeeping();
    if (house_) {
        co_await *house_;
        house_.reset();
    }
}

task<> rotating_log_sink::keep_house() {
    const detail::house_rules rules{.keep_files = options_.keep_files,
                                    .keep_for = options_.keep_for,
                                    .keep_bytes = options_.keep_bytes,
                                    .compress = options_.compress,
                                    .compression_level = options_.compression_level};
    while (std::exchange(house_is_due_, false)) {
        try {
            const auto time = now();
            const auto work = [this, &rules, time] {
                return detail::keep_house(options_.path, rules, time, stop_house_);
            };
            const detail::house_report report = co_await run_blocking(work);
            counts_.removed += report.removed;
            counts_.compressed += report.compressed;
            for (const auto& each : report.failures) {
                tell(level::warning, each + "; it is tried again after the next rotation");
            }
            if (!report.for_fewer.empty() && !std::exchange(has_told_of_fewer_, true)) {
                tell(level::warning,
                     fmt::format("{} has not the owner, group or access control list of the file "
                                 "that it stands for, which this process may not give it: perhaps "
                                 "fewer can read it; so it will be with others",
                                 report.for_fewer.front()));
            }
        } catch (const cancelled&) { // the loop ends: the next open goes on
            break;
        } catch (const std::exception& error) {
            tell(level::warning, fmt::format("rotated files of {} are not looked after: {}",
                                             options_.path, error.what()));
        }
    }
    house_is_running_ = false;
}

} // namespace sapwood
