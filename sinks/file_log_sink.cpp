#include <sapwood/file_log_sink.hpp>

#include "durable_writer.hpp"
#include "passing_failures.hpp"

#include <sapwood/assert.hpp>
#include <sapwood/sleep.hpp>

#include <exception>
#include <new>
#include <utility>

namespace sapwood {

namespace {

detail::durable_writer_options durable_options(const file_log_sink_options& options) {
    return {.level = options.durable,
            .numbered = options.numbered,
            .unsynced_bytes_max = options.unsynced_bytes_max,
            .writeback_bytes = options.writeback_bytes};
}

} // namespace

file_log_sink::file_log_sink(file_log_sink_options options) : options_(std::move(options)) {
    durable_options(options_).validate("file_log_sink_options");
}

file_log_sink::~file_log_sink() = default;

task<> file_log_sink::open() {
    const auto durable = durable_options(options_);
    const file_sink_options options{.path = options_.path,
                                    .mode = options_.mode,
                                    .group = options_.group,
                                    .make_directories = options_.make_directories,
                                    .directory_mode = options_.directory_mode,
                                    .numbered = durable.numbers(),
                                    .has_segments = is_durable()};
    file_ = std::make_unique<file_sink>(co_await file_sink::open(options));
    present().note_in(crash_);
    untold_ = present().torn_news();
    if (is_durable()) {
        durable_ = std::make_unique<detail::durable_writer>(*file_, crash_, durable);
    }
}

file_sink& file_log_sink::present() noexcept {
    SAPWOOD_ASSERT(file_ != nullptr, "a file_log_sink was used before it was opened");
    return *file_;
}

task<> file_log_sink::open_in_child() {
    // The parent's objects may have been in the middle of anything: they are left as they are.
    const auto& parents = *file_.release();
    (void)durable_.release();
    crash_.begin_in_child();
    file_ = std::make_unique<file_sink>(co_await file_sink::share(parents, crash_.fd()));
    present().note_in(crash_);
    if (is_durable()) {
        durable_ = detail::durable_writer::of_child(*file_, crash_, durable_options(options_));
    }
}

task<> file_log_sink::write(std::span<const char> lines) {
    if (durable_ != nullptr) {
        co_await durable_->write(lines);
        co_return;
    }
    crash_.begin_write(lines.data(), 0);

    struct noting {
        file_log_sink& sink;

        ~noting() {
            sink.crash_.note(*sink.file_);
            sink.crash_.end_write();
            sink.crash_.settle_if_alone();
        }
    } note_at_end{*this};

    co_await present().write(lines);
}

task<log_news> file_log_sink::tend(log_sink_requests asked) {
    if (untold_ && !asked) {
        co_return std::exchange(untold_, log_news());
    }
    if (durable_ != nullptr) {
        co_return co_await durable_->follow(asked.reopen);
    }
    log_news news;
    if (asked.reopen) {
        news = co_await present().reopen();
    } else if (present().follow_is_due()) {
        news = co_await present().follow();
    }
    crash_.note(present());
    co_return news;
}

task<> file_log_sink::sync() {
    if (durable_ != nullptr) {
        co_await durable_->sync();
    }
}

clock::time_point file_log_sink::sync_at() const noexcept {
    return durable_ != nullptr ? durable_->sync_at() : clock::time_point::max();
}

bool file_log_sink::may_pass(std::error_code why) const noexcept {
    return detail::may_pass_for_file(why);
}

bool file_log_sink::write_in_crash(std::span<const char> lines) noexcept {
    return durable_ != nullptr ? durable_->write_in_crash(lines) : crash_.write(lines);
}

std::uint64_t file_log_sink::lines_stranded() const noexcept {
    return durable_ != nullptr ? durable_->stranded() : 0;
}

std::size_t file_log_sink::kept_in_crash() const noexcept {
    return durable_ != nullptr ? durable_->kept_in_crash() : crash_.kept();
}

task<> file_log_sink::close() {
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
