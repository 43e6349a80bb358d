#include <sapwood/file_log_sink.hpp>

#include <sapwood/assert.hpp>

#include <utility>

namespace sapwood {

task<> file_log_sink::open() {
    const file_sink_options options{.path = options_.path,
                                    .mode = options_.mode,
                                    .group = options_.group,
                                    .make_directories = options_.make_directories,
                                    .directory_mode = options_.directory_mode};
    file_ = std::make_unique<file_sink>(co_await file_sink::open(options));
    present().note_in(crash_);
}

file_sink& file_log_sink::present() noexcept {
    SAPWOOD_ASSERT(file_ != nullptr, "a file_log_sink was used before it was opened");
    return *file_;
}

task<> file_log_sink::open_in_child() {
    // The parent's object may have been in the middle of anything: it is left as it is.
    const auto& parents = *file_.release();
    crash_.end_write();
    file_ = std::make_unique<file_sink>(co_await file_sink::share(parents, crash_.fd()));
    present().note_in(crash_);
}

task<> file_log_sink::write(std::span<const char> lines) {
    crash_.begin_write(lines.data(), 0);

    struct noting {
        file_log_sink& sink;

        ~noting() {
            sink.crash_.note(*sink.file_);
            sink.crash_.end_write();
        }
    } note_at_end{*this};

    co_await present().write(lines);
}

task<log_news> file_log_sink::tend(log_sink_requests asked) {
    log_news news;
    if (asked.reopen) {
        news = co_await present().reopen();
    } else if (present().follow_is_due()) {
        news = co_await present().follow();
    }
    crash_.note(present());
    co_return news;
}

bool file_log_sink::write_in_crash(std::span<const char> lines) noexcept {
    return crash_.write(lines);
}

task<> file_log_sink::close() {
    crash_.note_closed();
    return present().close();
}

} // namespace sapwood
