// Files, pipes and FIFOs on the loop. Each operation is awaited where it is written; what it
// points to (buffers, the file itself) must live until then, paths are copied. Loop thread only.
#pragma once

#include <sapwood/op.hpp>
#include <sapwood/task.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <fcntl.h>
#include <memory>
#include <span>
#include <string>
#include <string_view>

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
};

namespace detail {

/// An operation on a file's descriptor. Counts, so that close can wait for it.
template <class Derived, class T>
class file_op;

/// A view of bytes that the kernel reads from or writes to. In address sanitizer builds it is
/// checked when the kernel gets it and when it is done: no sanitizer sees the kernel's own writes.
void check_alive(const void* bytes, std::size_t size) noexcept;

class open_op;
class close_op;
class read_op;
class write_op;
class sync_op;
class truncate_op;
class stat_op;
class rename_op;

} // namespace detail

struct open_options {
    /// O_RDONLY, O_WRONLY or O_RDWR, with O_APPEND, O_CREAT, O_EXCL, O_TRUNC and so on; O_CLOEXEC
    /// is always added. Without O_NONBLOCK a FIFO opens when its other end does, as open(2) says.
    int flags = O_RDONLY;
    /// Permissions of a file that is created, less the umask: by default only its owner's.
    mode_t mode = 0600;
};

/// Owns a file descriptor. May be moved while no operation is in flight on it.
class file {
  public:
    file() = default;

    /// Takes over an open descriptor.
    explicit file(int fd) noexcept : fd_(fd) {}

    file(file&& other) noexcept;
    file& operator=(file&& other) noexcept;

    /// Closes at once, as close(2). No operation may be in flight.
    ~file();

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

    /// Cuts or extends the file to `size` bytes.
    [[nodiscard]] detail::truncate_op truncate(std::uint64_t size) noexcept;

    [[nodiscard]] detail::stat_op stat();

    /// Waits until the file's other operations are over, then closes. The file is empty afterwards
    /// even where the kernel reports an error of an earlier write.
    [[nodiscard]] detail::close_op close() noexcept;

    [[nodiscard]] bool is_open() const noexcept { return fd_ >= 0; }

    /// -1 where none is open.
    [[nodiscard]] int fd() const noexcept { return fd_; }

    /// Gives up the descriptor without closing it.
    [[nodiscard]] int release() noexcept;

  private:
    template <class Derived, class T>
    friend class detail::file_op;
    friend class detail::close_op;

    void operation_ended() noexcept;

    int fd_ = -1;
    unsigned in_flight_ = 0;
    /// Waits for in_flight_ to become 0.
    detail::close_op* closing_ = nullptr;
};

/// Renames a file, replacing what has the new name. Both names must be on one file system.
[[nodiscard]] detail::rename_op rename_file(std::string from, std::string to);

namespace detail {

class [[nodiscard]] open_op final : public op<open_op, file> {
  public:
    open_op(std::string path, open_options options) noexcept
        : path_(std::move(path)),
          options_(options) {}

    void prepare(io_uring_sqe& sqe) noexcept override;
    void complete(std::int32_t value, std::uint32_t flags) noexcept override;

    file convert(std::int32_t fd) const noexcept { return file(fd); }

    std::string describe() const;

  private:
    std::string path_;
    open_options options_;
};

template <class Derived, class T>
class file_op : public op<Derived, T> {
  public:
    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> awaiting) noexcept {
        SAPWOOD_ASSERT(file_.is_open() && file_.closing_ == nullptr,
                       "an operation was started on a file that is not open");
        ++file_.in_flight_;
        if (!op<Derived, T>::await_suspend(awaiting)) {
            --file_.in_flight_;
            return false;
        }
        return true;
    }

    void complete(std::int32_t value, std::uint32_t flags) noexcept override {
        op<Derived, T>::complete(value, flags);
        if (!this->is_started()) {
            file_.operation_ended();
        }
    }

  protected:
    explicit file_op(file& of) noexcept : file_(of) {}

    [[nodiscard]] int fd() const noexcept { return file_.fd_; }

  private:
    file& file_;
};

class [[nodiscard]] read_op final : public file_op<read_op, std::size_t> {
  public:
    read_op(file& from, std::span<char> into, file_offset at) noexcept
        : file_op(from),
          into_(into),
          at_(at) {}

    void prepare(io_uring_sqe& sqe) noexcept override;
    void complete(std::int32_t value, std::uint32_t flags) noexcept override;

    std::size_t convert(std::int32_t bytes) const noexcept {
        return static_cast<std::size_t>(bytes);
    }

    std::string describe() const;

  private:
    std::span<char> into_;
    file_offset at_;
};

class [[nodiscard]] write_op final : public file_op<write_op, std::size_t> {
  public:
    write_op(file& to, std::span<const char> bytes, file_offset at) noexcept
        : file_op(to),
          bytes_(bytes),
          at_(at) {}

    void prepare(io_uring_sqe& sqe) noexcept override;
    void complete(std::int32_t value, std::uint32_t flags) noexcept override;

    std::size_t convert(std::int32_t bytes) const noexcept {
        return static_cast<std::size_t>(bytes);
    }

    std::string describe() const;

  private:
    std::span<const char> bytes_;
    file_offset at_;
};

class [[nodiscard]] sync_op final : public file_op<sync_op, void> {
  public:
    explicit sync_op(file& of) noexcept : file_op(of) {}

    void prepare(io_uring_sqe& sqe) noexcept override;

    void convert(std::int32_t) const noexcept {}

    std::string describe() const;
};

class [[nodiscard]] truncate_op final : public file_op<truncate_op, void> {
  public:
    truncate_op(file& of, std::uint64_t size) noexcept : file_op(of), size_(size) {}

    void prepare(io_uring_sqe& sqe) noexcept override;

    void convert(std::int32_t) const noexcept {}

    std::string describe() const;

  private:
    std::uint64_t size_;
};

class [[nodiscard]] stat_op final : public file_op<stat_op, file_status> {
  public:
    explicit stat_op(file& of);
    ~stat_op();

    void prepare(io_uring_sqe& sqe) noexcept override;

    file_status convert(std::int32_t) const noexcept;

    std::string describe() const;

  private:
    std::unique_ptr<struct ::statx> raw_;
};

class [[nodiscard]] rename_op final : public op<rename_op, void> {
  public:
    rename_op(std::string from, std::string to) noexcept
        : from_(std::move(from)),
          to_(std::move(to)) {}

    void prepare(io_uring_sqe& sqe) noexcept override;

    void convert(std::int32_t) const noexcept {}

    std::string describe() const;

  private:
    std::string from_;
    std::string to_;
};

class [[nodiscard]] close_op final : public op<close_op, void> {
  public:
    explicit close_op(file& of) noexcept : file_(of) {}

    /// Closing cannot be refused: a pending cancellation is delivered at the next wait.
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> awaiting) noexcept {
        SAPWOOD_ASSERT(file_.is_open() && file_.closing_ == nullptr,
                       "close() of a file that is not open, or is being closed");
        handle = awaiting;
        context = awaiting.promise().context;
        file_.closing_ = this;
        if (file_.in_flight_ == 0) {
            begin();
        }
    }

    void prepare(io_uring_sqe& sqe) noexcept override;
    void complete(std::int32_t value, std::uint32_t flags) noexcept override;

    void convert(std::int32_t) const noexcept {}

    std::string describe() const;

    /// No other operation uses the descriptor any more.
    void begin() noexcept;

  private:
    file& file_;
    int fd_ = -1;
};

} // namespace detail

} // namespace sapwood
