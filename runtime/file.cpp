#include <sapwood/file.hpp>

#include "fd_calls.hpp"
#include "sqe_calls.hpp"

#include <sapwood/event_loop.hpp>
#include <sapwood/fmt_library.hpp>

#include <liburing.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>

namespace sapwood {

namespace detail {

file_status status_of(const struct ::statx& raw) noexcept {
    using namespace std::chrono;
    return {
        .size = raw.stx_size,
        .mode = raw.stx_mode,
        .links = raw.stx_nlink,
        .inode = raw.stx_ino,
        .device = (static_cast<std::uint64_t>(raw.stx_dev_major) << 32) | raw.stx_dev_minor,
        .modified = system_clock::time_point(duration_cast<system_clock::duration>(
            seconds(raw.stx_mtime.tv_sec) + nanoseconds(raw.stx_mtime.tv_nsec))),
    };
}

// --- open ---

void open_op::prepare(io_uring_sqe& sqe) noexcept {
    ::io_uring_prep_openat(&sqe, AT_FDCWD, path_.c_str(), options_.flags | O_CLOEXEC,
                           options_.mode);
    if ((options_.flags & O_NONBLOCK) == 0) {
        // Otherwise the ring tries with O_NONBLOCK first, and a FIFO opens for reading before it
        // has a writer, and for writing fails with ENXIO.
        sqe.flags |= IOSQE_ASYNC;
    }
}

void open_op::complete(std::int32_t value, std::uint32_t flags) noexcept {
    if (value >= 0 && context->must_stop()) {
        (void)close_now(value);
        value = -ECANCELED;
    }
    op::complete(value, flags);
}

void require_no_nul(const std::string& path) {
    const auto end = path.find('\0');
    if (end != path.npos) {
        throw std::system_error(
            EINVAL, std::generic_category(),
            fmt::format("a path contains a NUL, after {}", std::string_view(path).substr(0, end)));
    }
}

open_op::open_op(std::string path, open_options options)
    : path_(std::move(path)),
      options_(options) {
    require_no_nul(path_);
}

std::string open_op::describe() const {
    switch (options_.flags & O_ACCMODE) {
    case O_RDONLY:
        return fmt::format("cannot open {} for reading", path_);
    case O_WRONLY:
        return fmt::format("cannot open {} for writing", path_);
    default:
        return fmt::format("cannot open {} for reading and writing", path_);
    }
}

// --- read, write ---

void read_op::prepare(io_uring_sqe& sqe) noexcept {
    ::io_uring_prep_read(&sqe, fd(), into_.data(), transfer_size(into_.size()), at_.bytes);
}

std::string read_op::describe() const {
    return fmt::format("read of file descriptor {}", fd());
}

void write_op::prepare(io_uring_sqe& sqe) noexcept {
    ::io_uring_prep_write(&sqe, fd(), bytes_.data(), transfer_size(bytes_.size()), at_.bytes);
    sqe.rw_flags = is_synced_ ? RWF_DSYNC : 0;
}

std::string write_op::describe() const {
    return fmt::format("write of {} bytes to file descriptor {}", bytes_.size(), fd());
}

// --- sync, write back, truncate, allocate, stat ---

void sync_op::prepare(io_uring_sqe& sqe) noexcept {
    ::io_uring_prep_fsync(&sqe, fd(), data_only_ ? IORING_FSYNC_DATASYNC : 0);
}

std::string sync_op::describe() const {
    return fmt::format("{} of file descriptor {}", data_only_ ? "fdatasync" : "fsync", fd());
}

void writeback_op::prepare(io_uring_sqe& sqe) noexcept {
    ::io_uring_prep_sync_file_range(&sqe, fd(), size_, begin_, SYNC_FILE_RANGE_WRITE);
}

std::string writeback_op::describe() const {
    return fmt::format("write-back of {} bytes of file descriptor {}", size_, fd());
}

void drop_cached_op::prepare(io_uring_sqe& sqe) noexcept {
    ::io_uring_prep_fadvise(&sqe, fd(), begin_, size_, POSIX_FADV_DONTNEED);
}

std::string drop_cached_op::describe() const {
    return fmt::format("advice to drop {} cached bytes of file descriptor {}", size_, fd());
}

void truncate_op::prepare(io_uring_sqe& sqe) noexcept {
    ::io_uring_prep_rw(detail::opcode_ftruncate, &sqe, fd(), nullptr, 0, size_);
}

std::string truncate_op::describe() const {
    return fmt::format("truncation of file descriptor {} to {} bytes", fd(), size_);
}

void allocate_op::prepare(io_uring_sqe& sqe) noexcept {
    ::io_uring_prep_rw(IORING_OP_FALLOCATE, &sqe, fd(), nullptr, 0, begin_);
    sqe.addr = size_; // liburing's own function takes signed numbers
}

std::string allocate_op::describe() const {
    return fmt::format("allocation of {} bytes for file descriptor {}", size_, fd());
}

stat_op::stat_op(file& of) : fd_op(of), raw_(std::make_unique<struct ::statx>()) {}

stat_op::~stat_op() = default;

void stat_op::prepare(io_uring_sqe& sqe) noexcept {
    ::io_uring_prep_statx(&sqe, fd(), "", AT_EMPTY_PATH, STATX_BASIC_STATS, raw_.get());
}

file_status stat_op::convert(std::int32_t) const noexcept {
    return status_of(*raw_);
}

std::string stat_op::describe() const {
    return fmt::format("status of file descriptor {}", fd());
}

} // namespace detail

// --- file ---

detail::open_op file::open(std::string path, open_options options) {
    return {std::move(path), options};
}

detail::read_op file::read_some(std::span<char> into, file_offset at) noexcept {
    return {*this, into, at};
}

detail::write_op file::write_some(std::span<const char> bytes, file_offset at) noexcept {
    return {*this, bytes, at};
}

detail::write_op file::write_some_synced(std::span<const char> bytes, file_offset at) noexcept {
    return {*this, bytes, at, true};
}

task<> file::write_all(std::span<const char> bytes, file_offset at) {
    while (!bytes.empty()) {
        const std::size_t written = co_await write_some(bytes, at);
        if (written == 0) {
            throw std::system_error(
                ENOSPC, std::generic_category(),
                fmt::format("write to file descriptor {} made no progress", fd()));
        }
        bytes = bytes.subspan(written);
        if (at.bytes != current_offset.bytes) {
            at.bytes += written;
        }
    }
}

detail::sync_op file::datasync() noexcept {
    return {*this, true};
}

detail::sync_op file::sync() noexcept {
    return {*this, false};
}

detail::allocate_op file::allocate(std::uint64_t begin, std::uint64_t size) noexcept {
    return {*this, begin, size};
}

detail::writeback_op file::begin_writeback(std::uint64_t begin, std::uint32_t size) noexcept {
    return {*this, begin, size};
}

detail::drop_cached_op file::drop_cached(std::uint64_t begin, std::uint32_t size) noexcept {
    return {*this, begin, size};
}

detail::truncate_op file::truncate(std::uint64_t size) noexcept {
    return {*this, size};
}

std::error_code file::change_flags(int clear, int set) noexcept {
    return {-detail::change_flags_now(fd(), clear, set), std::generic_category()};
}

std::error_code file::try_lock() noexcept {
    const std::int32_t outcome = detail::lock_now(fd(), LOCK_EX | LOCK_NB);
    return std::error_code(-outcome, std::generic_category());
}

result<file_extent> file::extent_now() const noexcept {
    file_extent found;
    const std::int32_t outcome = detail::extent_now(fd(), found);
    if (outcome < 0) {
        return std::error_code(-outcome, std::generic_category());
    }
    return found;
}

result<std::uint64_t> file::size_now() const noexcept {
    auto found = extent_now();
    if (!found) {
        return found.error();
    }
    return found->size;
}

void file::unlock() noexcept {
    (void)detail::lock_now(fd(), LOCK_UN);
}

detail::stat_op file::stat() {
    return detail::stat_op(*this);
}

} // namespace sapwood
