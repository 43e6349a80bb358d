#include "fd_calls.hpp"

#include <cerrno>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace sapwood::detail {

constinit thread_local simulated_calls* simulated = nullptr;

std::int32_t close_now(int fd) noexcept {
    if (!is_simulated(fd)) [[likely]] {
        return ::close(fd) == 0 ? 0 : -errno;
    }
    return simulated != nullptr ? simulated->close(fd) : -EBADF;
}

std::int32_t lock_now(int fd, int operation) noexcept {
    if (!is_simulated(fd)) [[likely]] {
        return ::flock(fd, operation) == 0 ? 0 : -errno;
    }
    return simulated != nullptr ? simulated->lock(fd, operation) : -EBADF;
}

std::int32_t change_mode_now(int fd, std::uint32_t mode) noexcept {
    if (!is_simulated(fd)) [[likely]] {
        return ::fchmod(fd, mode) == 0 ? 0 : -errno;
    }
    return simulated != nullptr ? simulated->change_mode(fd, mode) : -EBADF;
}

std::int32_t extent_now(int fd, file_extent& into) noexcept {
    if (is_simulated(fd)) [[unlikely]] {
        return simulated != nullptr ? simulated->extent(fd, into) : -EBADF;
    }

    struct ::statx status {};

    constexpr unsigned wanted = STATX_SIZE | STATX_NLINK;
    if (::statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, wanted, &status) != 0) {
        return -errno;
    }
    into = {.size = status.stx_size, .names = status.stx_nlink};
    return 0;
}

std::int32_t change_flags_now(int fd, int clear, int set) noexcept {
    if (!is_simulated(fd)) [[likely]] {
        const int flags = ::fcntl(fd, F_GETFL);
        return flags >= 0 && ::fcntl(fd, F_SETFL, (flags & ~clear) | set) == 0 ? 0 : -errno;
    }
    return simulated != nullptr ? simulated->change_flags(fd, clear, set) : -EBADF;
}

std::int32_t read_directory_now(int fd, std::span<std::byte> into) noexcept {
    if (!is_simulated(fd)) [[likely]] {
        const long got = ::syscall(SYS_getdents64, fd, into.data(), into.size());
        return got < 0 ? -errno : static_cast<std::int32_t>(got);
    }
    return simulated != nullptr ? simulated->read_directory(fd, into) : -EBADF;
}

} // namespace sapwood::detail
