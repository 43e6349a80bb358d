#include <sapwood/file_log_sink.hpp>

#include <sapwood/assert.hpp>

#include <cerrno>
#include <unistd.h>

namespace sapwood {

task<> file_log_sink::open() {
    const file_sink_options options{.path = options_.path,
                                    .mode = options_.mode,
                                    .group = options_.group,
                                    .make_directories = options_.make_directories,
                                    .directory_mode = options_.directory_mode};
    file_.emplace(co_await file_sink::open(options));
    crash_fd_.store(present().fd(), std::memory_order_release);
}

file_sink& file_log_sink::present() noexcept {
    SAPWOOD_ASSERT(file_.has_value(), "a file_log_sink was used before it was opened");
    return *file_;
}

task<> file_log_sink::write(std::span<const char> lines) {
    return present().write(lines);
}

task<log_news> file_log_sink::tend(log_sink_requests asked) {
    log_news news;
    if (asked.reopen) {
        news = co_await present().reopen();
    } else if (present().follow_is_due()) {
        news = co_await present().follow();
    }
    crash_fd_.store(present().fd(), std::memory_order_release);
    co_return news;
}

bool file_log_sink::write_in_crash(std::span<const char> lines) noexcept {
    return detail::write_fully(crash_fd_.load(std::memory_order_acquire), lines);
}

task<> file_log_sink::close() {
    crash_fd_.store(-1, std::memory_order_release);
    return present().close();
}

namespace detail {

bool write_fully(int fd, std::span<const char> lines) noexcept {
    while (fd >= 0 && !lines.empty()) {
        const ssize_t written = ::write(fd, lines.data(), lines.size());
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            return false;
        }
        lines = lines.subspan(static_cast<std::size_t>(written));
    }
    return fd >= 0;
}

} // namespace detail

} // namespace sapwood
