#include "compress_file.hpp"

#include "open_log_file.hpp"

#include <cerrno>

#if defined(SAPWOOD_HAS_ZSTD)

#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <fmt/format.h>
#include <memory>
#include <span>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <utility>
#include <zstd.h>

namespace sapwood::detail {

namespace {

/// A descriptor for calls that block.
class plain_fd {
  public:
    plain_fd(int fd, const std::string& what) : fd_(fd) {
        if (fd < 0) {
            throw_errno(errno, what);
        }
    }

    plain_fd(const plain_fd&) = delete;
    plain_fd& operator=(const plain_fd&) = delete;

    ~plain_fd() { ::close(fd_); }

    [[nodiscard]] int get() const noexcept { return fd_; }

  private:
    int fd_;
};

void require(bool holds, const std::string& what) {
    if (!holds) {
        throw_errno(errno, what);
    }
}

void write_all(int fd, std::span<const char> bytes, const std::string& name) {
    while (!bytes.empty()) {
        const ssize_t written = ::write(fd, bytes.data(), bytes.size());
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written == 0) {
            errno = ENOSPC;
        }
        require(written > 0, fmt::format("cannot write {}", name));
        bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
}

class compression {
  public:
    compression(int level, std::uint64_t bytes) : context_(::ZSTD_createCCtx(), &::ZSTD_freeCCtx) {
        if (context_ == nullptr) {
            throw std::bad_alloc();
        }
        // With the size, and a sum over all of it, in its frame, a reader knows that it is whole.
        check(::ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_compressionLevel, level));
        check(::ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_checksumFlag, 1));
        check(::ZSTD_CCtx_setPledgedSrcSize(context_.get(), bytes));
    }

    /// Compresses `bytes`, which are the last ones where `is_end`, and writes what comes of them.
    void put(std::span<const char> bytes, bool is_end, int to, const std::string& name) {
        ::ZSTD_inBuffer in{bytes.data(), bytes.size(), 0};
        std::size_t left = 1;
        while (is_end ? left != 0 : in.pos < in.size) {
            ::ZSTD_outBuffer out{out_.get(), out_bytes, 0};
            left = ::ZSTD_compressStream2(context_.get(), &out, &in,
                                          is_end ? ZSTD_e_end : ZSTD_e_continue);
            check(left);
            write_all(to, {out_.get(), out.pos}, name);
        }
    }

  private:
    static constexpr std::size_t out_bytes = 128u << 10;

    static void check(std::size_t code) {
        if (::ZSTD_isError(code) != 0) {
            throw std::system_error(EIO, std::generic_category(),
                                    fmt::format("zstd: {}", ::ZSTD_getErrorName(code)));
        }
    }

    std::unique_ptr<::ZSTD_CCtx, decltype(&::ZSTD_freeCCtx)> context_;
    std::unique_ptr<char[]> out_ = std::make_unique<char[]>(out_bytes);
};

/// False where it was stopped.
bool compress_into(const plain_fd& from, const plain_fd& to, const struct ::stat& status,
                   const std::string& name, int level, const std::atomic<bool>& stop) {
    constexpr std::size_t in_bytes = 128u << 10;
    compression zstd(level, static_cast<std::uint64_t>(status.st_size));
    const auto in = std::make_unique<char[]>(in_bytes);
    std::int64_t read_bytes = 0;
    for (ssize_t got = -1; got != 0;) {
        if (stop.load(std::memory_order_relaxed)) {
            return false;
        }
        got = ::read(from.get(), in.get(), in_bytes);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        require(got >= 0, fmt::format("cannot read {}", name));
        read_bytes += got;
        zstd.put({in.get(), static_cast<std::size_t>(got)}, got == 0, to.get(), name + ".zst.tmp");
    }

    struct ::stat after {};

    require(::fstat(from.get(), &after) == 0, fmt::format("cannot learn the status of {}", name));
    if (after.st_size != read_bytes) {
        throw_errno(EBUSY, fmt::format("somebody still writes to {}", name));
    }
    return true;
}

constexpr const char* access_list_name = "system.posix_acl_access";

/// Whether there is none, or the file system knows of none.
bool has_none(ssize_t returned) noexcept {
    return returned < 0 && (errno == ENODATA || errno == ENOTSUP);
}

/// The directory may have given a new file one.
bool remove_access_list(const plain_fd& of) noexcept {
    const int removed = ::fremovexattr(of.get(), access_list_name);
    return removed == 0 || has_none(removed);
}

/// What there is beyond the mode. False where it is not the same afterwards.
bool copy_access_list(const plain_fd& from, const plain_fd& to) {
    constexpr std::size_t bytes_max = 64u << 10;
    const auto list = std::make_unique<char[]>(bytes_max);
    const ssize_t bytes = ::fgetxattr(from.get(), access_list_name, list.get(), bytes_max);
    if (bytes < 0) {
        return has_none(bytes) && remove_access_list(to);
    }
    return ::fsetxattr(to.get(), access_list_name, list.get(), static_cast<std::size_t>(bytes),
                       0) == 0;
}

/// Gives `to`, which is ours alone, the owner, group and permissions of `from`. Where we may not it
/// is for fewer, never for more: false.
bool copy_access(const plain_fd& from, const plain_fd& to, const struct ::stat& status) {
    constexpr auto same_owner = static_cast<uid_t>(-1);
    const bool keeps_owner = ::fchown(to.get(), status.st_uid, status.st_gid) == 0;
    const bool keeps_group = keeps_owner || ::fchown(to.get(), same_owner, status.st_gid) == 0;
    mode_t mode = status.st_mode & 0777;
    bool keeps_list = false;
    if (keeps_group) {
        keeps_list = copy_access_list(from, to);
        mode = keeps_list ? mode : mode & 0700;
    } else {
        // Who is in our group was one of the others, and who was in the file's is one now: each
        // may do what both could.
        const mode_t both = remove_access_list(to) ? (mode >> 3 & mode & 7) : 0;
        mode = (mode & 0700) | both << 3 | both;
    }
    return ::fchmod(to.get(), mode) == 0 && keeps_owner && keeps_list;
}

/// To be written, for on NFS an exclusive lock wants that; or, where that may not be, only read.
int open_to_lock(int directory, const std::string& name) noexcept {
    constexpr int flags = O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
    const int fd = ::openat(directory, name.c_str(), O_RDWR | flags);
    return fd >= 0 ? fd : ::openat(directory, name.c_str(), O_RDONLY | flags);
}

} // namespace

bool can_compress() noexcept {
    return true;
}

compression_end compress_file(int directory, const std::string& name, int level,
                              const std::atomic<bool>& stop) {
    const std::string unfinished = name + ".zst.tmp";
    const std::string finished = name + ".zst";
    const plain_fd from(open_to_lock(directory, name), fmt::format("cannot open {}", name));

    struct ::stat status {};

    require(::fstat(from.get(), &status) == 0, fmt::format("cannot learn the status of {}", name));
    if (!S_ISREG(status.st_mode)) { // somebody has put it there just now
        throw_errno(EINVAL, fmt::format("{} is not a regular file", name));
    }

    if (::flock(from.get(), LOCK_EX | LOCK_NB) != 0) {
        // Without its lock nobody knows whether somebody still writes to it.
        require(errno == EWOULDBLOCK, fmt::format("cannot lock {}", name));
        return compression_end::in_use;
    }
    require(::fstat(from.get(), &status) == 0, fmt::format("cannot learn the status of {}", name));
    if (::unlinkat(directory, unfinished.c_str(), 0) != 0) {
        require(errno == ENOENT, fmt::format("cannot remove {}", unfinished));
    }
    const plain_fd to(
        ::openat(directory, unfinished.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600),
        fmt::format("cannot create {}", unfinished));
    bool has_same_access = false;
    try {
        if (!compress_into(from, to, status, name, level, stop)) {
            ::unlinkat(directory, unfinished.c_str(), 0);
            return compression_end::stopped;
        }
        has_same_access = copy_access(from, to, status);
        const timespec times[] = {status.st_atim, status.st_mtim};
        (void)::futimens(to.get(), times);
        require(::fsync(to.get()) == 0, fmt::format("cannot sync {}", unfinished));
        // What has that name is what an earlier compression of the same file has left.
        require(::renameat(directory, unfinished.c_str(), directory, finished.c_str()) == 0,
                fmt::format("cannot rename {} to {}", unfinished, finished));
    } catch (...) {
        ::unlinkat(directory, unfinished.c_str(), 0);
        throw;
    }
    require(::fsync(directory) == 0, fmt::format("cannot sync the directory of {}", finished));
    require(::unlinkat(directory, name.c_str(), 0) == 0, fmt::format("cannot remove {}", name));
    return has_same_access ? compression_end::done : compression_end::done_for_fewer;
}

} // namespace sapwood::detail

#else

namespace sapwood::detail {

bool can_compress() noexcept {
    return false;
}

compression_end compress_file(int, const std::string& name, int, const std::atomic<bool>&) {
    throw_errno(ENOTSUP, "cannot compress " + name + ": built without zstd");
}

} // namespace sapwood::detail

#endif
