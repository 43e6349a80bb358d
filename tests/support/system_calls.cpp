#include "support/system_calls.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <liburing.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace sapwood::test {

namespace {

constexpr std::uint8_t opcode_ftruncate = 55; // 6.9, newer than the header

std::int32_t outcome(long value) {
    return value < 0 ? -errno : static_cast<std::int32_t>(value);
}

template <class T>
T* pointer(std::uint64_t address) {
    return reinterpret_cast<T*>(static_cast<std::uintptr_t>(address));
}

bool is_regular(int fd) {
    struct ::stat status {};

    return ::fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
}

} // namespace

std::optional<std::int32_t> perform(const io_uring_sqe& sqe) {
    constexpr auto where_it_stands = static_cast<std::uint64_t>(-1);
    const auto offset = static_cast<off_t>(sqe.off);
    switch (sqe.opcode) {
    case IORING_OP_OPENAT:
        return outcome(::openat(sqe.fd, pointer<const char>(sqe.addr),
                                static_cast<int>(sqe.open_flags), static_cast<mode_t>(sqe.len)));
    case IORING_OP_CLOSE:
        return outcome(::close(sqe.fd));
    case IORING_OP_READ:
        if (!is_regular(sqe.fd)) {
            return std::nullopt;
        }
        return outcome(sqe.off == where_it_stands
                           ? ::read(sqe.fd, pointer<void>(sqe.addr), sqe.len)
                           : ::pread(sqe.fd, pointer<void>(sqe.addr), sqe.len, offset));
    case IORING_OP_WRITE:
        return outcome(sqe.off == where_it_stands
                           ? ::write(sqe.fd, pointer<const void>(sqe.addr), sqe.len)
                           : ::pwrite(sqe.fd, pointer<const void>(sqe.addr), sqe.len, offset));
    case IORING_OP_FSYNC:
        return outcome(::fdatasync(sqe.fd));
    case IORING_OP_SYNC_FILE_RANGE:
        return outcome(::sync_file_range(sqe.fd, offset, sqe.len, sqe.sync_range_flags));
    case IORING_OP_FADVISE: // its error is what it returns
        return -::posix_fadvise(sqe.fd, offset, sqe.len, static_cast<int>(sqe.fadvise_advice));
    case IORING_OP_STATX:
        return outcome(::statx(sqe.fd, pointer<const char>(sqe.addr),
                               static_cast<int>(sqe.statx_flags), sqe.len,
                               pointer<struct ::statx>(sqe.off)));
    case IORING_OP_RENAMEAT:
        return outcome(::renameat2(sqe.fd, pointer<const char>(sqe.addr), static_cast<int>(sqe.len),
                                   pointer<const char>(sqe.addr2), sqe.rename_flags));
    case IORING_OP_UNLINKAT:
        return outcome(
            ::unlinkat(sqe.fd, pointer<const char>(sqe.addr), static_cast<int>(sqe.unlink_flags)));
    case IORING_OP_OPENAT2:
        return outcome(::syscall(SYS_openat2, sqe.fd, pointer<const char>(sqe.addr),
                                 pointer<const void>(sqe.off), sqe.len));
    case IORING_OP_FALLOCATE:
        return outcome(
            ::fallocate(sqe.fd, static_cast<int>(sqe.len), offset, static_cast<off_t>(sqe.addr)));
    case opcode_ftruncate:
        return outcome(::ftruncate(sqe.fd, offset));
    default:
        return -EINVAL;
    }
}

std::optional<std::int32_t> perform_some(const io_uring_sqe& sqe, unsigned bytes) {
    io_uring_sqe shorter = sqe;
    shorter.len = std::min(shorter.len, bytes);
    return perform(shorter);
}

loop_with_writes::loop_with_writes(std::unique_ptr<scripted_ring> ring, write_answer on_write)
    : ring_(*ring),
      loop_(std::move(ring)) {
    ring_.answer = [on_write = std::move(on_write)](const io_uring_sqe& sqe) {
        return sqe.opcode == IORING_OP_WRITE ? on_write(sqe) : perform(sqe);
    };
}

} // namespace sapwood::test
