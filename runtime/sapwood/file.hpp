// Files, pipes and FIFOs on the loop. Each operation is awaited where it is written; what it
// points to (buffers, the file itself) must live until then, paths are copied. Loop thread only.
#pragma once

#include <sapwood/op.hpp>
#include <sapwood/owned_fd.hpp>
#include <sapwood/path_op.hpp>
#include <sapwood/task.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <fcntl.h>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <system_error>

struct statx;

namespace sapwood {

class file;

/// Where in a file: an offset in bytes, or where the descriptor stands, which is the end for a
/// file that appends and the only place there is in a pipe. In other files give the offset to
/// writes that may end short: the kernel (seen in 6.18) does not move the descriptor's place after
/// a write that a limit or a full disk cut short, and the next write would go over it.
struct file_offset {
    std::uint64_t bytes;
};

inline constexpr file_offset current_offset{static_cast<std::uint64_t>(-1)};

struct file_extent {
    std::uint64_t size = 0;
    /// Hard links.
    std::uint64_t names = 0;
};

struct file_status {
    std::uint64_t size;
    /// As in stat(2): type and permissions.
    std::uint32_t mode;
    std::uint32_t links;
    /// Together they say which file it is, whatever its name.
    std::uint64_t inode;
    std::uint64_t device;
    std::chrono::system_clock::time_point modified;

    [[nodiscard]] bool is_regular() const noexcept { return (mode & S_IFMT) == S_IFREG; }

    [[nodiscard]] bool is_directory() const noexcept { return (mode & S_IFMT) == S_IFDIR; }

    [[nodiscard]] bool is_symlink() const noexcept { return (mode & S_IFMT) == S_IFLNK; }
};

namespace detail {

class open_op;
class read_op;
class write_op;
class sync_op;
class writeback_op;
class drop_cached_op;
class truncate_op;
class allocate_op;
class stat_op;

/// What the kernel filled in.
[[nodiscard]] file_status status_of(const struct ::statx& raw) noexcept;

} // namespace detail

struct open_options {
    /// O_RDONLY, O_WRONLY or O_RDWR, with O_APPEND, O_CREAT, O_EXCL, O_TRUNC and so on; O_CLOEXEC
    /// is always added. Without O_NONBLOCK a FIFO opens when its other end does, as open(2) says.
    int flags = O_RDONLY;
    /// Permissions of a file that is created, less the umask: by default only its owner's.
    mode_t mode = 0600;
};

/// Owns a file descriptor; close() and the rest of what descriptors have in common is owned_fd's.
class file : public owned_fd {
  public:
    using owned_fd::owned_fd;

    /// Opens `path`. A cancelled open that has won the race closes what it got. Opening a FIFO
    /// waits for its other end, and holds one of the 256 threads that a loop has for what waits:
    /// past them, operations on files wait in line.
    [[nodiscard]] static detail::open_op open(std::string path, open_options options = {});

    /// Reads what is there, up to all of `into`, waiting for the first byte; 0 at the end of the
    /// file or when a pipe's last writer has closed. Bytes that were read are returned even if the
    /// task was cancelled meanwhile.
    [[nodiscard]] detail::read_op read_some(std::span<char> into,
                                            file_offset at = current_offset) noexcept;

    /// Writes some of `bytes`, at least one of them, and returns how many.
    [[nodiscard]] detail::write_op write_some(std::span<const char> bytes,
                                              file_offset at = current_offset) noexcept;

    /// The same, and what was written is on disk when it returns (RWF_DSYNC): one operation instead
    /// of a write and a datasync. After a failure it is not known which of the two has failed.
    [[nodiscard]] detail::write_op write_some_synced(std::span<const char> bytes,
                                                     file_offset at = current_offset) noexcept;

    /// An array may be a literal, with a NUL at its end: say std::string_view, or std::span.
    template <std::size_t Size>
    detail::write_op write_some(const char (&bytes)[Size], file_offset at = {}) = delete;

    /// Writes all of `bytes`, as often as it takes. A failure or cancellation may leave a part
    /// written: as much as went in before it, which is lost to the caller; use write_some to know.
    [[nodiscard]] task<> write_all(std::span<const char> bytes, file_offset at = current_offset);

    template <std::size_t Size>
    task<> write_all(const char (&bytes)[Size], file_offset at = {}) = delete;

    /// Makes what has been written, and the size, survive the machine (fdatasync). After a failure
    /// the kernel has forgotten what it could not write: never believe a second try.
    [[nodiscard]] detail::sync_op datasync() noexcept;

    /// The same, and all that is known of the file: times, owner, permissions (fsync).
    [[nodiscard]] detail::sync_op sync() noexcept;

    /// Has the kernel begin to write `size` bytes from `begin` on to the disk, and does not wait
    /// until they are there (sync_file_range): a datasync that comes later finds less to do, and
    /// is wanted all the same. A failure need not show in that datasync: ext4 drops what it finds
    /// no blocks for, and tells it here only.
    [[nodiscard]] detail::writeback_op begin_writeback(std::uint64_t begin,
                                                       std::uint32_t size) noexcept;

    /// Has the kernel drop what its page cache has of `size` bytes from `begin` on (posix_fadvise,
    /// POSIX_FADV_DONTNEED): who reads them next reads the disk. Whole pages, and those only that
    /// are on disk; of others a write-back is begun, and nobody is told where it fails: ask
    /// begin_writeback first.
    [[nodiscard]] detail::drop_cached_op drop_cached(std::uint64_t begin,
                                                     std::uint32_t size) noexcept;

    /// Cuts or extends the file to `size` bytes.
    [[nodiscard]] detail::truncate_op truncate(std::uint64_t size) noexcept;

    /// Has the disk's blocks for `size` bytes from `begin` on reserved, so that writing there does
    /// not fail for want of room (fallocate); the file becomes as long as that. EOPNOTSUPP where
    /// the file system cannot.
    [[nodiscard]] detail::allocate_op allocate(std::uint64_t begin, std::uint64_t size) noexcept;

    [[nodiscard]] detail::stat_op stat();

    /// Takes and gives flags of the open file, of O_APPEND, O_DIRECT and O_NONBLOCK (fcntl):
    /// EINVAL where the file system knows no O_DIRECT. Also of operations that begin later; and of
    /// everybody who shares this opening, a forked child say.
    [[nodiscard]] std::error_code change_flags(int clear, int set) noexcept;

    /// Takes the file's lock for this descriptor alone (flock, exclusive), without waiting:
    /// EWOULDBLOCK where another descriptor has it, of this process or of another one. It is given
    /// up when the last descriptor of this opening is closed, however the process ends.
    [[nodiscard]] std::error_code try_lock() noexcept;

    /// How many bytes it has, by a system call at once: it asks no disk and waits for nobody, and
    /// for a file on another machine tells what this one knows.
    [[nodiscard]] result<std::uint64_t> size_now() const noexcept;

    /// The same, and how many names it has: none, when all of them were removed.
    [[nodiscard]] result<file_extent> extent_now() const noexcept;

    /// Gives the lock up, also where a forked child has the descriptor, too.
    void unlock() noexcept;
};

namespace detail {

/// Throws std::system_error: the kernel would take what stands before a NUL for the whole.
void require_no_nul(const std::string& path);

class [[nodiscard]] open_op final : public op<open_op, file> {
  public:
    open_op(std::string path, open_options options);

    void prepare(io_uring_sqe& sqe) noexcept override;
    void complete(std::int32_t value, std::uint32_t flags) noexcept override;

    file convert(std::int32_t fd) const noexcept { return file(fd); }

    std::string describe() const override;

  private:
    std::string path_;
    open_options options_;
};

class [[nodiscard]] read_op final : public fd_op<read_op, std::size_t> {
  public:
    read_op(file& from, std::span<char> into, file_offset at) noexcept
        : fd_op(from),
          into_(into),
          at_(at) {}

    void prepare(io_uring_sqe& sqe) noexcept override;

    std::size_t convert(std::int32_t bytes) const noexcept {
        return static_cast<std::size_t>(bytes);
    }

    std::string describe() const override;

  private:
    std::span<char> into_;
    file_offset at_;
};

class [[nodiscard]] write_op final : public fd_op<write_op, std::size_t> {
  public:
    write_op(file& to, std::span<const char> bytes, file_offset at, bool is_synced = false) noexcept
        : fd_op(to),
          bytes_(bytes),
          at_(at),
          is_synced_(is_synced) {}

    void prepare(io_uring_sqe& sqe) noexcept override;

    std::size_t convert(std::int32_t bytes) const noexcept {
        return static_cast<std::size_t>(bytes);
    }

    std::string describe() const override;

  private:
    std::span<const char> bytes_;
    file_offset at_;
    bool is_synced_;
};

class [[nodiscard]] sync_op final : public fd_op<sync_op, void> {
  public:
    sync_op(owned_fd& of, bool data_only) noexcept : fd_op(of), data_only_(data_only) {}

    void prepare(io_uring_sqe& sqe) noexcept override;

    void convert(std::int32_t) const noexcept {}

    std::string describe() const override;

  private:
    bool data_only_;
};

class [[nodiscard]] writeback_op final : public fd_op<writeback_op, void> {
  public:
    writeback_op(file& of, std::uint64_t begin, std::uint32_t size) noexcept
        : fd_op(of),
          begin_(begin),
          size_(size) {}

    void prepare(io_uring_sqe& sqe) noexcept override;

    void convert(std::int32_t) const noexcept {}

    std::string describe() const override;

  private:
    std::uint64_t begin_;
    std::uint32_t size_;
};

class [[nodiscard]] drop_cached_op final : public fd_op<drop_cached_op, void> {
  public:
    drop_cached_op(file& of, std::uint64_t begin, std::uint32_t size) noexcept
        : fd_op(of),
          begin_(begin),
          size_(size) {}

    void prepare(io_uring_sqe& sqe) noexcept override;

    void convert(std::int32_t) const noexcept {}

    std::string describe() const override;

  private:
    std::uint64_t begin_;
    std::uint32_t size_;
};

class [[nodiscard]] truncate_op final : public fd_op<truncate_op, void> {
  public:
    truncate_op(file& of, std::uint64_t size) noexcept : fd_op(of), size_(size) {}

    void prepare(io_uring_sqe& sqe) noexcept override;

    void convert(std::int32_t) const noexcept {}

    std::string describe() const override;

  private:
    std::uint64_t size_;
};

class [[nodiscard]] allocate_op final : public fd_op<allocate_op, void> {
  public:
    allocate_op(file& of, std::uint64_t begin, std::uint64_t size) noexcept
        : fd_op(of),
          begin_(begin),
          size_(size) {}

    void prepare(io_uring_sqe& sqe) noexcept override;

    void convert(std::int32_t) const noexcept {}

    std::string describe() const override;

  private:
    std::uint64_t begin_;
    std::uint64_t size_;
};

class [[nodiscard]] stat_op final : public fd_op<stat_op, file_status> {
  public:
    explicit stat_op(file& of);
    ~stat_op();

    void prepare(io_uring_sqe& sqe) noexcept override;

    file_status convert(std::int32_t) const noexcept;

    std::string describe() const override;

  private:
    std::unique_ptr<struct ::statx> raw_;
};

} // namespace detail

} // namespace sapwood
