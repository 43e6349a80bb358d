#include <sapwood/file_log_sink.hpp>

#include <sapwood/assert.hpp>

#include <cerrno>
#include <ctime>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace sapwood {

namespace {

/// So long a signal handler waits for the kernel to go on with a write that is under way.
constexpr int looks_max = 300;
constexpr timespec between_looks{.tv_sec = 0, .tv_nsec = 1'000'000};

} // namespace

task<> file_log_sink::open() {
    file_ = std::make_unique<file_sink>(co_await file_sink::open({.path = path_, .mode = mode_}));
    note_state();
}

task<> file_log_sink::open_in_child() {
    // The parent's object may have been in the middle of anything: it is left as it is.
    (void)file_.release();
    in_flight_.store(nullptr, std::memory_order_relaxed);
    file_ =
        std::make_unique<file_sink>(file_sink::share(fd_.load(std::memory_order_relaxed), path_));
    note_state();
    co_return;
}

task<> file_log_sink::write(std::span<const char> lines) {
    SAPWOOD_ASSERT(file_ != nullptr, "a file_log_sink was written to before it was opened");
    in_flight_.store(lines.data(), std::memory_order_relaxed);

    struct noting {
        file_log_sink& sink;

        ~noting() {
            sink.note_state();
            sink.in_flight_.store(nullptr, std::memory_order_relaxed);
        }
    } note_at_end{*this};

    co_await file_->write(lines);
}

task<> file_log_sink::close() {
    SAPWOOD_ASSERT(file_ != nullptr, "a file_log_sink was closed before it was opened");
    fd_.store(-1, std::memory_order_relaxed);
    co_await file_->close();
}

void file_log_sink::note_state() noexcept {
    fd_.store(file_->fd(), std::memory_order_relaxed);
    end_.store(file_->end(), std::memory_order_relaxed);
}

/// How many bytes of what write() was given are in the file: it has grown by so many. Nothing where
/// somebody else has changed it, so that lines may be there twice, but none is missing.
std::size_t file_log_sink::count_written(int fd, std::size_t bytes) const noexcept {
    std::size_t written = 0;
    for (int i = 0; i < looks_max; ++i) {
        struct stat status {};

        if (::fstat(fd, &status) != 0) {
            return 0;
        }
        const auto grown =
            static_cast<std::uint64_t>(status.st_size) - end_.load(std::memory_order_relaxed);
        if (grown > bytes) {
            return 0;
        }
        written = static_cast<std::size_t>(grown);
        if (written == bytes) {
            break;
        }
        ::nanosleep(&between_looks, nullptr);
    }
    return written;
}

bool file_log_sink::write_in_crash(std::span<const char> lines) noexcept {
    const int fd = fd_.load(std::memory_order_relaxed);
    if (fd < 0) {
        return false;
    }
    std::size_t done = 0;
    if (lines.data() == in_flight_.load(std::memory_order_relaxed)) {
        done = count_written(fd, lines.size());
        in_flight_.store(nullptr, std::memory_order_relaxed);
    }
    while (done < lines.size()) {
        const ssize_t written = ::write(fd, lines.data() + done, lines.size() - done);
        if (written > 0) {
            done += static_cast<std::size_t>(written);
        } else if (written == 0 || errno != EINTR) {
            return false;
        }
    }
    return true;
}

} // namespace sapwood
