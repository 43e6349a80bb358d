#include <sapwood/file.hpp>

#include <sapwood/event_loop.hpp>
#include <sapwood/sanitizers.hpp>

#include <algorithm>
#include <fmt/format.h>
#include <liburing.h>
#include <sys/stat.h>
#include <unistd.h>

#if SAPWOOD_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
#endif

namespace sapwood {

namespace {

/// IORING_OP_FTRUNCATE (6.9) is newer than the header; a ring that lacks it has another way.
constexpr std::uint8_t opcode_ftruncate = 55;

/// One completion carries at most INT_MAX bytes; the kernel cuts at 0x7ffff000 itself.
constexpr std::size_t transfer_bytes_max = 0x7ffff000;

unsigned transfer_size(std::size_t bytes) noexcept {
    return static_cast<unsigned>(std::min(bytes, transfer_bytes_max));
}

} // namespace

namespace detail {

void check_alive([[maybe_unused]] const void* bytes, [[maybe_unused]] std::size_t size) noexcept {
#if SAPWOOD_ADDRESS_SANITIZER
    SAPWOOD_ASSERT(::__asan_region_is_poisoned(const_cast<void*>(bytes), size) == nullptr,
                   "a buffer was freed while the kernel had it");
#endif
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
        ::close(value);
        value = -ECANCELED;
    }
    op::complete(value, flags);
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
    check_alive(into_.data(), into_.size());
    ::io_uring_prep_read(&sqe, fd(), into_.data(), transfer_size(into_.size()), at_.bytes);
}

void read_op::complete(std::int32_t value, std::uint32_t flags) noexcept {
    check_alive(into_.data(), into_.size());
    file_op::complete(value, flags);
}

std::string read_op::describe() const {
    return fmt::format("read of file descriptor {}", fd());
}

void write_op::prepare(io_uring_sqe& sqe) noexcept {
    check_alive(bytes_.data(), bytes_.size());
    ::io_uring_prep_write(&sqe, fd(), bytes_.data(), transfer_size(bytes_.size()), at_.bytes);
}

void write_op::complete(std::int32_t value, std::uint32_t flags) noexcept {
    check_alive(bytes_.data(), bytes_.size());
    file_op::complete(value, flags);
}

std::string write_op::describe() const {
    return fmt::format("write of {} bytes to file descriptor {}", bytes_.size(), fd());
}

// --- sync, truncate, stat, rename ---

void sync_op::prepare(io_uring_sqe& sqe) noexcept {
    ::io_uring_prep_fsync(&sqe, fd(), IORING_FSYNC_DATASYNC);
}

std::string sync_op::describe() const {
    return fmt::format("fdatasync of file descriptor {}", fd());
}

void truncate_op::prepare(io_uring_sqe& sqe) noexcept {
    ::io_uring_prep_rw(opcode_ftruncate, &sqe, fd(), nullptr, 0, size_);
}

std::string truncate_op::describe() const {
    return fmt::format("truncation of file descriptor {} to {} bytes", fd(), size_);
}

stat_op::stat_op(file& of) : file_op(of), raw_(std::make_unique<struct ::statx>()) {}

stat_op::~stat_op() = default;

void stat_op::prepare(io_uring_sqe& sqe) noexcept {
    ::io_uring_prep_statx(&sqe, fd(), "", AT_EMPTY_PATH, STATX_BASIC_STATS, raw_.get());
}

file_status stat_op::convert(std::int32_t) const noexcept {
    using namespace std::chrono;
    return {
        .size = raw_->stx_size,
        .mode = raw_->stx_mode,
        .links = raw_->stx_nlink,
        .inode = raw_->stx_ino,
        .device = (static_cast<std::uint64_t>(raw_->stx_dev_major) << 32) | raw_->stx_dev_minor,
        .modified = system_clock::time_point(duration_cast<system_clock::duration>(
            seconds(raw_->stx_mtime.tv_sec) + nanoseconds(raw_->stx_mtime.tv_nsec))),
    };
}

std::string stat_op::describe() const {
    return fmt::format("status of file descriptor {}", fd());
}

void rename_op::prepare(io_uring_sqe& sqe) noexcept {
    ::io_uring_prep_renameat(&sqe, AT_FDCWD, from_.c_str(), AT_FDCWD, to_.c_str(), 0);
}

std::string rename_op::describe() const {
    return fmt::format("cannot rename {} to {}", from_, to_);
}

// --- close ---

void close_op::begin() noexcept {
    fd_ = std::exchange(file_.fd_, -1);
    file_.closing_ = nullptr;
    start();
}

void close_op::prepare(io_uring_sqe& sqe) noexcept {
    ::io_uring_prep_close(&sqe, fd_);
}

void close_op::complete(std::int32_t value, std::uint32_t) noexcept {
    // Never again, not even after EINTR: the descriptor is gone, and its number may be another's.
    value_ = plain_errno(value);
    context->loop->make_ready(*this);
}

std::string close_op::describe() const {
    return fmt::format("close of file descriptor {}", fd_);
}

} // namespace detail

// --- file ---

file::file(file&& other) noexcept : fd_(other.release()) {}

file& file::operator=(file&& other) noexcept {
    if (this != &other) {
        file old(release());
        fd_ = other.release();
    }
    return *this;
}

file::~file() {
    SAPWOOD_ASSERT(in_flight_ == 0 && closing_ == nullptr,
                   "a file was destroyed while operations are in flight on it");
    if (fd_ >= 0) {
        ::close(fd_);
    }
}

int file::release() noexcept {
    SAPWOOD_ASSERT(in_flight_ == 0 && closing_ == nullptr,
                   "a file was moved or released while operations are in flight on it");
    return std::exchange(fd_, -1);
}

void file::operation_ended() noexcept {
    if (--in_flight_ == 0 && closing_ != nullptr) {
        closing_->begin();
    }
}

detail::open_op file::open(std::string path, open_options options) {
    return {std::move(path), options};
}

detail::read_op file::read_some(std::span<char> into, file_offset at) noexcept {
    return {*this, into, at};
}

detail::write_op file::write_some(std::span<const char> bytes, file_offset at) noexcept {
    return {*this, bytes, at};
}

task<> file::write_all(std::span<const char> bytes, file_offset at) {
    while (!bytes.empty()) {
        const std::size_t written = co_await write_some(bytes, at);
        if (written == 0) {
            throw std::system_error(
                ENOSPC, std::generic_category(),
                fmt::format("write to file descriptor {} made no progress", fd_));
        }
        bytes = bytes.subspan(written);
        if (at.bytes != current_offset.bytes) {
            at.bytes += written;
        }
    }
}

detail::sync_op file::datasync() noexcept {
    return detail::sync_op(*this);
}

detail::truncate_op file::truncate(std::uint64_t size) noexcept {
    return {*this, size};
}

detail::stat_op file::stat() {
    return detail::stat_op(*this);
}

detail::close_op file::close() noexcept {
    return detail::close_op(*this);
}

detail::rename_op rename_file(std::string from, std::string to) {
    return {std::move(from), std::move(to)};
}

} // namespace sapwood
