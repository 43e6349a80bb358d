#include <sapwood/crash_file.hpp>

#include <sapwood/file_sink.hpp>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <sys/stat.h>
#include <unistd.h>

namespace sapwood::detail {

namespace {

/// So long a signal handler waits for the kernel to go on with a write that is under way.
constexpr int looks_max = 300;
constexpr timespec between_looks{.tv_sec = 0, .tv_nsec = 1'000'000};

} // namespace

void crash_file::note(const file_sink& file) noexcept {
    end_.store(file.size(), std::memory_order_relaxed);
    fd_.store(file.fd(), std::memory_order_release);
}

void crash_file::begin_write(const char* batch, std::size_t done) noexcept {
    done_.store(done, std::memory_order_relaxed);
    batch_.store(batch, std::memory_order_release);
}

/// How many of the `bytes` that are being written are in the file: it has grown by so many.
std::size_t crash_file::count_written(int fd, std::size_t bytes) const noexcept {
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

bool crash_file::write(std::span<const char> lines) noexcept {
    const int to = fd();
    if (to < 0) {
        return false;
    }
    if (lines.data() == batch_.load(std::memory_order_acquire)) {
        lines = lines.subspan(std::min(done_.load(std::memory_order_relaxed), lines.size()));
        lines = lines.subspan(count_written(to, lines.size()));
        end_write();
    }
    while (!lines.empty()) {
        const ssize_t written = ::write(to, lines.data(), lines.size());
        if (written > 0) {
            lines = lines.subspan(static_cast<std::size_t>(written));
        } else if (written == 0 || errno != EINTR) {
            return false;
        }
    }
    return true;
}

} // namespace sapwood::detail
