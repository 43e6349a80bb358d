#include "sqe_calls.hpp"

#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <string_view>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

namespace sapwood::detail {

namespace {

constexpr std::uint64_t at_file_position = static_cast<std::uint64_t>(-1);

std::int32_t outcome(long value) noexcept {
    return value < 0 ? -errno : static_cast<std::int32_t>(value);
}

template <class T>
T* pointer(std::uint64_t address) noexcept {
    return reinterpret_cast<T*>(static_cast<std::uintptr_t>(address));
}

bool is_write(const io_uring_sqe& sqe) noexcept {
    return sqe.opcode == IORING_OP_WRITE || sqe.opcode == IORING_OP_WRITEV;
}

/// The buffers of a transfer: its own array, or one made of its single buffer.
class buffers {
  public:
    explicit buffers(const io_uring_sqe& sqe) noexcept {
        if (sqe.opcode == IORING_OP_READV || sqe.opcode == IORING_OP_WRITEV) {
            first_ = pointer<iovec>(sqe.addr);
            count_ = static_cast<int>(sqe.len);
        } else {
            single_ = {.iov_base = pointer<void>(sqe.addr), .iov_len = sqe.len};
            first_ = &single_;
            count_ = 1;
        }
    }

    buffers(const buffers&) = delete;
    buffers& operator=(const buffers&) = delete;

    [[nodiscard]] iovec* first() const noexcept { return first_; }

    [[nodiscard]] int count() const noexcept { return count_; }

  private:
    iovec single_{};
    iovec* first_;
    int count_;
};

std::int32_t transfer(const io_uring_sqe& sqe, int fd, std::uint64_t offset, int flags) noexcept {
    const buffers bytes(sqe);
    const auto at = static_cast<off64_t>(offset);
    return outcome(is_write(sqe) ? ::pwritev2(fd, bytes.first(), bytes.count(), at, flags)
                                 : ::preadv2(fd, bytes.first(), bytes.count(), at, flags));
}

std::int32_t perform_transfer(const io_uring_sqe& sqe) noexcept {
    const std::int32_t value = transfer(sqe, sqe.fd, sqe.off, sqe.rw_flags);
    // The ring ignores the offset of what has none.
    return value == -ESPIPE ? transfer(sqe, sqe.fd, at_file_position, sqe.rw_flags) : value;
}

std::int32_t try_socket(const io_uring_sqe& sqe) noexcept {
    const buffers bytes(sqe);
    msghdr message{};
    message.msg_iov = bytes.first();
    message.msg_iovlen = static_cast<std::size_t>(bytes.count());
    return outcome(is_write(sqe) ? ::sendmsg(sqe.fd, &message, MSG_DONTWAIT)
                                 : ::recvmsg(sqe.fd, &message, MSG_DONTWAIT));
}

std::int32_t accept(const io_uring_sqe& sqe) noexcept {
    return outcome(::accept4(sqe.fd, pointer<sockaddr>(sqe.addr), pointer<socklen_t>(sqe.addr2),
                             static_cast<int>(sqe.accept_flags)));
}

std::int32_t connect(const io_uring_sqe& sqe) noexcept {
    return outcome(
        ::connect(sqe.fd, pointer<const sockaddr>(sqe.addr), static_cast<socklen_t>(sqe.off)));
}

/// "/proc/self/fd/7" and the like.
class proc_path {
  public:
    proc_path(const char* folder, int fd) noexcept {
        std::snprintf(text_.data(), text_.size(), "/proc/self/%s/%d", folder, fd);
    }

    [[nodiscard]] const char* c_str() const noexcept { return text_.data(); }

  private:
    std::array<char, 40> text_{};
};

/// A FIFO, or before Linux 6.4 any pipe, knows no RWF_NOWAIT, and its O_NONBLOCK is not ours to
/// set: others share the open file description. So a description of our own for this one call.
std::int32_t try_reopened_pipe(const io_uring_sqe& sqe) noexcept {
    const int fd = ::open(proc_path("fd", sqe.fd).c_str(),
                          (is_write(sqe) ? O_WRONLY : O_RDONLY) | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        return -EOPNOTSUPP; // no /proc, another user's pipe, or no reader is left
    }
    const std::int32_t value = transfer(sqe, fd, at_file_position, sqe.rw_flags);
    ::close(fd);
    return value;
}

/// The signals of a signalfd. False if `fd` is none.
bool signals_of(int fd, sigset_t& signals) noexcept {
    std::array<char, 512> text{};
    const int info = ::open(proc_path("fdinfo", fd).c_str(), O_RDONLY | O_CLOEXEC);
    if (info < 0) {
        return false;
    }
    const ssize_t size = ::read(info, text.data(), text.size());
    ::close(info);
    constexpr std::string_view label = "sigmask:\t";
    const std::string_view all(text.data(), size > 0 ? static_cast<std::size_t>(size) : 0);
    const auto at = all.find(label);
    std::uint64_t mask = 0;
    if (at == all.npos ||
        std::from_chars(all.data() + at + label.size(), all.data() + all.size(), mask, 16).ec !=
            std::errc{}) {
        return false;
    }
    ::sigemptyset(&signals);
    for (int number = 1; number <= 64; ++number) {
        if (((mask >> (number - 1)) & 1) != 0) {
            ::sigaddset(&signals, number);
        }
    }
    return true;
}

/// Before Linux 6.9 a signalfd knows no RWF_NOWAIT. A worker cannot read it either, as it would
/// see the signals of its own thread. So a signalfd of our own with the same signals.
std::int32_t try_remade_signalfd(const io_uring_sqe& sqe) noexcept {
    sigset_t signals;
    if (is_write(sqe) || !signals_of(sqe.fd, signals)) {
        return -EOPNOTSUPP;
    }
    const int fd = ::signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0) {
        return -EOPNOTSUPP;
    }
    const std::int32_t value = transfer(sqe, fd, at_file_position, 0);
    ::close(fd);
    return value;
}

bool is_nonblocking(int fd) noexcept {
    const int flags = ::fcntl(fd, F_GETFL);
    return flags >= 0 && (flags & O_NONBLOCK) != 0;
}

/// Whether an open with `flags` would wait for another process: that of a FIFO for its other end,
/// that of a terminal for its carrier. If the name changes hands right after we look, a worker
/// waits that was meant for disks; it can still be interrupted.
bool would_wait(int folder, const char* path, std::uint64_t flags) noexcept {
    if ((flags & (O_NONBLOCK | O_PATH)) != 0 || (flags & O_ACCMODE) == O_RDWR) {
        return false;
    }

    struct stat status {};

    const int follow = (flags & O_NOFOLLOW) != 0 ? AT_SYMLINK_NOFOLLOW : 0;
    return ::fstatat(folder, path, &status, follow) == 0 &&
           (S_ISFIFO(status.st_mode) || S_ISCHR(status.st_mode));
}

std::int32_t perform_open(const io_uring_sqe& sqe, bool may_wait) noexcept {
    const auto* const path = pointer<const char>(sqe.addr);
    if (!may_wait && would_wait(sqe.fd, path, sqe.open_flags)) {
        return would_wait_for_a_peer;
    }
    return outcome(
        ::openat(sqe.fd, path, static_cast<int>(sqe.open_flags), static_cast<mode_t>(sqe.len)));
}

std::int32_t perform_open2(const io_uring_sqe& sqe, bool may_wait) noexcept {
    const auto* const path = pointer<const char>(sqe.addr);
    const auto* const how = pointer<const open_how>(sqe.addr2);
    if (!may_wait && sqe.len >= sizeof(how->flags) && would_wait(sqe.fd, path, how->flags)) {
        return would_wait_for_a_peer;
    }
    return outcome(::syscall(SYS_openat2, sqe.fd, path, how, sqe.len));
}

std::int32_t perform_close(int fd) noexcept {
    // Interrupted or not, the descriptor is free.
    return ::close(fd) == 0 || errno == EINTR ? 0 : -errno;
}

} // namespace

descriptor look_at(int fd) noexcept {
    // DONT_SYNC: a network or FUSE file system answers from what it knows, without asking a
    // server that may not answer.
    struct ::statx status {};

    if (::statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE | STATX_INO, &status) != 0) {
        if (errno != ENOSYS && errno != EPERM) {
            return {.error = -errno};
        }

        // An old container forbids statx.
        struct stat old {};

        if (::fstat(fd, &old) != 0) {
            return {.error = -errno};
        }
        status.stx_mode = static_cast<__u16>(old.st_mode);
        status.stx_ino = old.st_ino;
        status.stx_dev_minor = static_cast<__u32>(old.st_dev);
    }
    descriptor found{.device = (std::uint64_t{status.stx_dev_major} << 32) | status.stx_dev_minor,
                     .inode = status.stx_ino};
    switch (status.stx_mode & S_IFMT) {
    case S_IFREG:
    case S_IFDIR:
    case S_IFLNK:
    case S_IFBLK:
        found.type = descriptor::kind::disk;
        break;
    case S_IFIFO:
        found.type = descriptor::kind::pipe;
        break;
    case S_IFSOCK:
        found.type = descriptor::kind::socket;
        break;
    default:
        found.type = descriptor::kind::other;
        break;
    }
    return found;
}

bool is_transfer(std::uint8_t opcode) noexcept {
    return opcode == IORING_OP_READ || opcode == IORING_OP_WRITE || opcode == IORING_OP_READV ||
           opcode == IORING_OP_WRITEV;
}

std::uint64_t transfer_size(const io_uring_sqe& sqe) noexcept {
    const buffers bytes(sqe);
    std::uint64_t total = 0;
    for (int i = 0; i < bytes.count(); ++i) {
        total += bytes.first()[i].iov_len;
    }
    return total;
}

std::int32_t try_transfer(const io_uring_sqe& sqe, descriptor::kind type) noexcept {
    if (type == descriptor::kind::socket) {
        return try_socket(sqe);
    }
    const std::int32_t value = transfer(sqe, sqe.fd, at_file_position, sqe.rw_flags | RWF_NOWAIT);
    if (value != -EOPNOTSUPP || (sqe.rw_flags & RWF_NOWAIT) != 0) {
        return value;
    }
    if (is_nonblocking(sqe.fd)) {
        return transfer(sqe, sqe.fd, at_file_position, sqe.rw_flags);
    }
    return type == descriptor::kind::pipe ? try_reopened_pipe(sqe) : try_remade_signalfd(sqe);
}

bool is_socket_call(std::uint8_t opcode) noexcept {
    switch (opcode) {
    case IORING_OP_ACCEPT:
    case IORING_OP_CONNECT:
    case IORING_OP_SEND:
    case IORING_OP_RECV:
    case IORING_OP_SENDMSG:
    case IORING_OP_RECVMSG:
        return true;
    default:
        return false;
    }
}

std::uint32_t awaited_events(const io_uring_sqe& sqe) noexcept {
    return sqe.opcode == IORING_OP_ACCEPT || sqe.opcode == IORING_OP_RECV ||
                   sqe.opcode == IORING_OP_RECVMSG
               ? EPOLLIN
               : EPOLLOUT;
}

std::int32_t try_socket_call(const io_uring_sqe& sqe) noexcept {
    // The kernel's ring raises no SIGPIPE for a peer that is gone, whatever the flags say.
    const int flags = static_cast<int>(sqe.msg_flags) | MSG_DONTWAIT;
    switch (sqe.opcode) {
    case IORING_OP_SEND:
        return outcome(
            ::send(sqe.fd, pointer<const void>(sqe.addr), sqe.len, flags | MSG_NOSIGNAL));
    case IORING_OP_RECV:
        return outcome(::recv(sqe.fd, pointer<void>(sqe.addr), sqe.len, flags));
    case IORING_OP_SENDMSG:
        return outcome(::sendmsg(sqe.fd, pointer<const msghdr>(sqe.addr), flags | MSG_NOSIGNAL));
    case IORING_OP_RECVMSG:
        return outcome(::recvmsg(sqe.fd, pointer<msghdr>(sqe.addr), flags));
    case IORING_OP_ACCEPT:
        return is_nonblocking(sqe.fd) ? accept(sqe) : -EOPNOTSUPP;
    default:
        return is_nonblocking(sqe.fd) ? connect(sqe) : -EOPNOTSUPP;
    }
}

std::int32_t try_receive(int fd, void* into, std::size_t size) noexcept {
    return outcome(::recv(fd, into, size, MSG_DONTWAIT));
}

std::int32_t finish_connect(int fd) noexcept {
    pollfd ready{.fd = fd, .events = POLLOUT, .revents = 0};
    if (::poll(&ready, 1, 0) == 0) {
        return -EAGAIN;
    }
    int error = 0;
    socklen_t size = sizeof(error);
    return ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? -error : -errno;
}

bool is_performed(std::uint8_t opcode) noexcept {
    switch (opcode) {
    case IORING_OP_ACCEPT:
    case IORING_OP_CONNECT:
    case IORING_OP_SHUTDOWN:
    case IORING_OP_OPENAT:
    case IORING_OP_OPENAT2:
    case IORING_OP_CLOSE:
    case IORING_OP_STATX:
    case IORING_OP_RENAMEAT:
    case IORING_OP_UNLINKAT:
    case IORING_OP_MKDIRAT:
    case IORING_OP_LINKAT:
    case IORING_OP_SYMLINKAT:
    case IORING_OP_FSYNC:
    case IORING_OP_SYNC_FILE_RANGE:
    case IORING_OP_FADVISE:
    case IORING_OP_FALLOCATE:
    case opcode_ftruncate:
        return true;
    default:
        return is_transfer(opcode);
    }
}

std::int32_t perform(const io_uring_sqe& sqe, bool may_wait_for_a_peer) noexcept {
    const auto* const path = pointer<const char>(sqe.addr);
    const auto* const second_path = pointer<const char>(sqe.addr2);
    switch (sqe.opcode) {
    case IORING_OP_ACCEPT:
        return accept(sqe);
    case IORING_OP_CONNECT:
        return connect(sqe);
    case IORING_OP_SHUTDOWN:
        return outcome(::shutdown(sqe.fd, static_cast<int>(sqe.len)));
    case IORING_OP_READ:
    case IORING_OP_READV:
    case IORING_OP_WRITE:
    case IORING_OP_WRITEV:
        return perform_transfer(sqe);
    case IORING_OP_OPENAT:
        return perform_open(sqe, may_wait_for_a_peer);
    case IORING_OP_OPENAT2:
        return perform_open2(sqe, may_wait_for_a_peer);
    case IORING_OP_CLOSE:
        return perform_close(sqe.fd);
    case IORING_OP_STATX:
        return outcome(::statx(sqe.fd, path, static_cast<int>(sqe.statx_flags), sqe.len,
                               pointer<struct ::statx>(sqe.off)));
    case IORING_OP_RENAMEAT:
        return outcome(
            ::renameat2(sqe.fd, path, static_cast<int>(sqe.len), second_path, sqe.rename_flags));
    case IORING_OP_UNLINKAT:
        return outcome(::unlinkat(sqe.fd, path, static_cast<int>(sqe.unlink_flags)));
    case IORING_OP_MKDIRAT:
        return outcome(::mkdirat(sqe.fd, path, static_cast<mode_t>(sqe.len)));
    case IORING_OP_LINKAT:
        return outcome(::linkat(sqe.fd, path, static_cast<int>(sqe.len), second_path,
                                static_cast<int>(sqe.hardlink_flags)));
    case IORING_OP_SYMLINKAT:
        return outcome(::symlinkat(path, sqe.fd, second_path));
    case IORING_OP_FSYNC:
        // A range that the SQE names may be synced as a part of the whole.
        return outcome((sqe.fsync_flags & IORING_FSYNC_DATASYNC) != 0 ? ::fdatasync(sqe.fd)
                                                                      : ::fsync(sqe.fd));
    case IORING_OP_SYNC_FILE_RANGE:
        return outcome(::sync_file_range(sqe.fd, static_cast<off64_t>(sqe.off), sqe.len,
                                         sqe.sync_range_flags));
    case IORING_OP_FADVISE: // its error is what it returns
        return -::posix_fadvise(sqe.fd, static_cast<off_t>(sqe.off), sqe.len,
                                static_cast<int>(sqe.fadvise_advice));
    case IORING_OP_FALLOCATE:
        return outcome(::fallocate(sqe.fd, static_cast<int>(sqe.len), static_cast<off_t>(sqe.off),
                                   static_cast<off_t>(sqe.addr)));
    case opcode_ftruncate:
        return outcome(::ftruncate(sqe.fd, static_cast<off_t>(sqe.off)));
    default:
        return -ENOSYS;
    }
}

std::int32_t try_wait(const io_uring_sqe& sqe) noexcept {
    constexpr unsigned options_known = WEXITED | WNOWAIT | WNOHANG;
    const auto options = sqe.file_index;
    if (sqe.len != P_PIDFD || (options & WEXITED) == 0 || (options & ~options_known) != 0) {
        return -EINVAL;
    }
    siginfo_t found{};
    const int outcome =
        ::waitid(P_PIDFD, static_cast<id_t>(sqe.fd), &found, static_cast<int>(options | WNOHANG));
    if (outcome != 0) {
        return -errno;
    }
    if (found.si_pid == 0 && (options & WNOHANG) == 0) {
        return -EAGAIN;
    }
    if (auto* const into = pointer<siginfo_t>(sqe.addr2)) {
        *into = found;
    }
    return 0;
}

} // namespace sapwood::detail
