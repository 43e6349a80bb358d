#include <sapwood/directory.hpp>

#include "fd_calls.hpp"

#include <sapwood/event_loop.hpp>
#include <sapwood/fmt_library.hpp>
#include <sapwood/run_blocking.hpp>

#include <cerrno>
#include <cstring>
#include <dirent.h>
#include <liburing.h>
#include <linux/openat2.h>
#include <string_view>
#include <sys/stat.h>

namespace sapwood {

namespace {

constexpr std::size_t buffer_bytes = 32u << 10; // as readdir(3)

/// struct linux_dirent64: d_ino, d_off, d_reclen, d_type, d_name.
constexpr std::size_t length_at = 16;
constexpr std::size_t type_at = 18;
constexpr std::size_t name_at = 19;

directory_entry::kind kind_of(unsigned char type) noexcept {
    switch (type) {
    case DT_REG:
        return directory_entry::kind::file;
    case DT_DIR:
        return directory_entry::kind::directory;
    case DT_LNK:
        return directory_entry::kind::symlink;
    case DT_UNKNOWN:
        return directory_entry::kind::unknown;
    default:
        return directory_entry::kind::other;
    }
}

using kind = detail::path_call::kind;

} // namespace

namespace detail {

static_assert(sizeof(::open_how) == 3 * sizeof(std::uint64_t));

open_at_op::open_at_op(owned_fd& at, std::string path, open_at_options options)
    : fd_op(at),
      path_(std::move(path)),
      options_(options) {
    require_no_nul(path_);
}

open_at_op::~open_at_op() = default;

void open_at_op::prepare(io_uring_sqe& sqe) noexcept {
    const int flags = options_.flags | O_CLOEXEC;
    if (options_.beneath) {
        // openat2 refuses a mode where nothing is created.
        const bool creates = (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;
        how_[0] = static_cast<std::uint64_t>(flags);
        how_[1] = creates ? options_.mode : 0;
        how_[2] = RESOLVE_BENEATH;
        if (options_.no_symlinks) {
            how_[2] |= RESOLVE_NO_SYMLINKS;
        }
        ::io_uring_prep_openat2(&sqe, fd(), path_.c_str(), reinterpret_cast<::open_how*>(how_));
    } else {
        ::io_uring_prep_openat(&sqe, fd(), path_.c_str(), flags, options_.mode);
    }
    if ((flags & O_NONBLOCK) == 0) {
        sqe.flags |= IOSQE_ASYNC; // as open_op
    }
}

void open_at_op::complete(std::int32_t value, std::uint32_t flags) noexcept {
    if (value >= 0 && context->must_stop()) {
        (void)close_now(value);
        value = -ECANCELED;
    }
    fd_op::complete(value, flags);
}

std::string open_at_op::describe() const {
    return fmt::format("cannot open {}{}", path_,
                       options_.beneath ? ", which may not lead out of its directory" : "");
}

stat_at_op::stat_at_op(owned_fd& at, std::string path, at_symlink last)
    : fd_op(at),
      path_(std::move(path)),
      last_(last),
      raw_(std::make_unique<struct ::statx>()) {
    require_no_nul(path_);
}

stat_at_op::~stat_at_op() = default;

void stat_at_op::prepare(io_uring_sqe& sqe) noexcept {
    ::io_uring_prep_statx(&sqe, fd(), path_.c_str(),
                          last_ == at_symlink::stay ? AT_SYMLINK_NOFOLLOW : 0, STATX_BASIC_STATS,
                          raw_.get());
}

std::string stat_at_op::describe() const {
    return fmt::format("cannot learn the status of {}", path_);
}

} // namespace detail

task<directory> directory::open(std::string path) {
    file opened = co_await file::open(std::move(path), {.flags = O_RDONLY | O_DIRECTORY});
    co_return directory(opened.release());
}

task<directory> directory::open_directory(std::string path) {
    file opened = co_await open_file(std::move(path), {.flags = O_RDONLY | O_DIRECTORY});
    co_return directory(opened.release());
}

detail::open_at_op directory::open_file(std::string path, open_at_options options) {
    return {*this, std::move(path), options};
}

detail::stat_at_op directory::status_of(std::string path, at_symlink last) {
    return {*this, std::move(path), last};
}

detail::path_at_op directory::make_directory(std::string path, mode_t mode) {
    return {*this, {.what = kind::make_directory, .path = std::move(path), .mode = mode}};
}

detail::path_at_op directory::remove_file(std::string path) {
    return {*this, {.what = kind::remove, .path = std::move(path)}};
}

detail::path_at_op directory::remove_directory(std::string path) {
    return {*this, {.what = kind::remove_directory, .path = std::move(path)}};
}

detail::path_at_op directory::rename(std::string from, std::string to, when_taken taken) {
    return {
        *this,
        {.what = kind::rename, .path = std::move(from), .second = std::move(to), .taken = taken}};
}

detail::path_at_op directory::rename(std::string from, const directory& into, std::string to,
                                     when_taken taken) {
    return {*this,
            {.what = kind::rename,
             .path = std::move(from),
             .second = std::move(to),
             .second_at = &into,
             .taken = taken}};
}

detail::path_at_op directory::link(std::string path, std::string name) {
    return {*this, {.what = kind::link, .path = std::move(path), .second = std::move(name)}};
}

detail::path_at_op directory::make_symlink(std::string target, std::string name) {
    return {*this, {.what = kind::symlink, .path = std::move(name), .second = std::move(target)}};
}

detail::sync_op directory::sync() noexcept {
    return {*this, false};
}

task<file_status> status_of(std::string path, at_symlink last) {
    // By an O_PATH descriptor, which opens nothing: not a FIFO's other end, not a device.
    const int flags = O_PATH | O_NONBLOCK | (last == at_symlink::stay ? O_NOFOLLOW : 0);
    file found = co_await file::open(std::move(path), {.flags = flags});
    co_return co_await found.stat();
}

task<std::optional<directory_entry>> directory_reader::next() {
    if (!own_.is_open()) {
        buffer_ = std::make_unique<std::byte[]>(buffer_bytes); // first: it may fail
        own_ = co_await of_->open_directory(".");
    }
    for (;;) {
        if (begin_ == end_) {
            const auto read = [fd = own_.fd(), into = buffer_.get()] {
                return detail::read_directory_now(fd, {into, buffer_bytes});
            };
            std::int32_t got = 0;
            if (detail::is_simulated(own_.fd())) {
                got = read();
            } else {
                got = co_await run_blocking(read);
            }
            if (got < 0) {
                throw std::system_error(-got, std::generic_category(), "cannot read a directory");
            }
            begin_ = 0;
            end_ = static_cast<std::size_t>(got);
            if (end_ == 0) {
                co_return std::nullopt;
            }
        }
        const std::byte* const at = buffer_.get() + begin_;
        std::uint64_t inode = 0;
        std::uint16_t length = 0;
        std::memcpy(&inode, at, sizeof(inode));
        std::memcpy(&length, at + length_at, sizeof(length));
        begin_ += length;
        const std::string_view name(reinterpret_cast<const char*>(at + name_at));
        if (name != "." && name != "..") {
            co_return directory_entry(std::string(name),
                                      kind_of(std::to_integer<unsigned char>(at[type_at])), inode);
        }
    }
}

} // namespace sapwood
