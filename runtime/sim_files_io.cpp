// Descriptors of a simulated machine's files, and what is done with them.
#include "sim_files.hpp"

#include "fd_calls.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/file.h>
#include <utility>

namespace sapwood::detail {

namespace {

bool may_read(int flags) noexcept {
    return (flags & O_PATH) == 0 && (flags & O_ACCMODE) != O_WRONLY;
}

bool may_write(int flags) noexcept {
    return (flags & O_PATH) == 0 && (flags & O_ACCMODE) != O_RDONLY;
}

} // namespace

sim_files::descriptor* sim_files::find_descriptor(int fd) noexcept {
    return const_cast<descriptor*>(std::as_const(*this).opened(fd));
}

const sim_files::descriptor* sim_files::opened(int fd) const noexcept {
    const auto index = static_cast<std::size_t>(fd - simulated_fd_first);
    return is_simulated(fd) && index < descriptors_.size() && descriptors_[index].is_open
               ? &descriptors_[index]
               : nullptr;
}

std::size_t sim_files::open_count() const noexcept {
    return static_cast<std::size_t>(
        std::count_if(descriptors_.begin(), descriptors_.end(),
                      [](const descriptor& each) { return each.is_open; }));
}

std::int32_t sim_files::add_descriptor(std::uint32_t file, int flags) {
    auto free = std::find_if(descriptors_.begin(), descriptors_.end(),
                             [](const descriptor& each) { return !each.is_open; });
    if (free == descriptors_.end()) {
        free = descriptors_.emplace(descriptors_.end());
    }
    // An error that nobody has been told yet is news to who opens the file now (since Linux 4.16).
    const inode& of = node(file);
    *free = {.inode = file,
             .flags = flags,
             .position = 0,
             .sync_errors_seen = of.is_error_told ? of.sync_errors : of.sync_errors - 1,
             .is_open = true,
             .held = descriptor::lock::none};
    return simulated_fd_first + static_cast<int>(free - descriptors_.begin());
}

std::int32_t sim_files::open(int at, std::string_view path, int flags, mode_t mode,
                             std::uint64_t how) {
    if ((flags & O_TMPFILE) == O_TMPFILE || (how & RESOLVE_IN_ROOT) != 0) {
        return -EOPNOTSUPP;
    }
    const bool creates = (flags & O_CREAT) != 0;
    const bool stays = (flags & O_NOFOLLOW) != 0 || (creates && (flags & O_EXCL) != 0);
    const place found = resolve(at, path, stays ? last_link::stay : last_link::follow, how);
    if (found.error != 0) {
        return found.error;
    }
    if (found.file != 0) {
        return creates && (flags & O_EXCL) != 0 ? -EEXIST : open_found(found.file, flags);
    }
    if (!creates || found.name.empty()) {
        return -ENOENT;
    }
    const std::uint32_t made = add(S_IFREG | (mode & 07777));
    set_name(found.folder, found.name, made, ++groups_);
    return add_descriptor(made, flags);
}

std::int32_t sim_files::open_found(std::uint32_t file, int flags) {
    inode& found = node(file);
    if (S_ISLNK(found.mode) && (flags & O_PATH) == 0) {
        return -ELOOP;
    }
    if (!S_ISDIR(found.mode) && (flags & O_DIRECTORY) != 0) {
        return -ENOTDIR;
    }
    if (S_ISDIR(found.mode) && ((flags & O_CREAT) != 0 || may_write(flags))) {
        return -EISDIR;
    }
    if (S_ISFIFO(found.mode) && (flags & O_PATH) == 0 && (flags & O_ACCMODE) != O_RDWR) {
        // Nobody is at the other end, and nobody will be.
        if ((flags & O_NONBLOCK) == 0) {
            return never;
        }
        return (flags & O_ACCMODE) == O_WRONLY ? -ENXIO : add_descriptor(file, flags);
    }
    if ((flags & O_TRUNC) != 0 && may_write(flags)) {
        found.bytes.resize(0);
        found.modified = time_;
    }
    return add_descriptor(file, flags);
}

std::int32_t sim_files::close(int fd) {
    descriptor* const of = find_descriptor(fd);
    if (of == nullptr) {
        return -EBADF;
    }
    drop_lock(*of);
    of->is_open = false;
    return 0;
}

void sim_files::drop_lock(descriptor& of) noexcept {
    inode& file = node(of.inode);
    if (of.held == descriptor::lock::exclusive) {
        file.lock_owner = -1;
    } else if (of.held == descriptor::lock::shared) {
        --file.lock_shares;
    }
    of.held = descriptor::lock::none;
}

std::int32_t sim_files::lock(int fd, int operation) {
    descriptor* const of = find_descriptor(fd);
    if (of == nullptr || (of->flags & O_PATH) != 0) {
        return -EBADF;
    }
    if ((operation & LOCK_EX) != 0 && (of->flags & O_ACCMODE) == O_RDONLY) {
        return -EBADF; // as on NFS, where it is a lock of fcntl(2)
    }
    inode& file = node(of->inode);
    const auto had = of->held;
    drop_lock(*of);
    switch (operation & ~LOCK_NB) {
    case LOCK_UN:
        return 0;
    case LOCK_SH:
        if (file.lock_owner == -1) {
            ++file.lock_shares;
            of->held = descriptor::lock::shared;
            return 0;
        }
        break;
    case LOCK_EX:
        if (file.lock_owner == -1 && file.lock_shares == 0) {
            file.lock_owner = fd;
            of->held = descriptor::lock::exclusive;
            return 0;
        }
        break;
    default:
        return -EINVAL;
    }
    if (had == descriptor::lock::shared) {
        ++file.lock_shares; // converting failed; a lock that waits is not simulated
        of->held = had;
    }
    return -EWOULDBLOCK;
}

// --- bytes ---

std::int32_t sim_files::read(const transfer& where, std::span<char> into) {
    descriptor* const of = find_descriptor(where.fd);
    if (of == nullptr || !may_read(of->flags)) {
        return -EBADF;
    }
    inode& file = node(of->inode);
    if (!S_ISREG(file.mode)) {
        return S_ISDIR(file.mode) ? -EISDIR : -EAGAIN;
    }
    const std::int64_t offset = where.offset == at_position ? of->position : where.offset;
    if (offset < 0) {
        return -EINVAL;
    }
    const std::string_view all = file.bytes.cached();
    const auto begin = std::min(static_cast<std::size_t>(offset), all.size());
    const std::size_t count = std::min(into.size(), all.size() - begin);
    std::copy_n(all.begin() + static_cast<std::ptrdiff_t>(begin), count, into.begin());
    if (where.offset == at_position) {
        of->position += static_cast<std::int64_t>(count);
    }
    return static_cast<std::int32_t>(count);
}

bool sim_files::is_direct(int fd) const noexcept {
    const descriptor* const of = opened(fd);
    return of != nullptr && (of->flags & O_DIRECT) != 0;
}

bool sim_files::is_overwrite(const transfer& where, std::size_t size) const noexcept {
    const descriptor* const of = opened(where.fd);
    return of != nullptr && !where.appends && (of->flags & O_APPEND) == 0 && where.offset >= 0 &&
           static_cast<std::size_t>(where.offset) + size <= node(of->inode).bytes.size();
}

std::int32_t sim_files::write(const transfer& where, std::span<const char> bytes) {
    descriptor* const of = find_descriptor(where.fd);
    if (of == nullptr || !may_write(of->flags)) {
        return -EBADF;
    }
    inode& file = node(of->inode);
    if (!S_ISREG(file.mode)) {
        return -EAGAIN;
    }
    const bool appends = where.appends || (of->flags & O_APPEND) != 0;
    const std::int64_t offset = appends ? static_cast<std::int64_t>(file.bytes.size())
                                : where.offset == at_position ? of->position
                                                              : where.offset;
    if (offset < 0) {
        return -EINVAL;
    }
    if (offset + static_cast<std::int64_t>(bytes.size()) > file_bytes_max) {
        return -EFBIG;
    }
    const auto at = static_cast<std::size_t>(offset);
    if ((of->flags & O_DIRECT) != 0 &&
        (at % direct_bytes != 0 || bytes.size() % direct_bytes != 0 ||
         where.address % direct_bytes != 0)) {
        return -EINVAL;
    }
    if (!bytes.empty()) {
        file.bytes.write(at, bytes);
        file.modified = time_;
    }
    if (where.is_synced || (of->flags & O_DSYNC) != 0) {
        file.bytes.sync_range(at, at + bytes.size());
    }
    if (where.offset == at_position) {
        of->position = offset + static_cast<std::int64_t>(bytes.size());
    }
    return static_cast<std::int32_t>(bytes.size());
}

std::int32_t sim_files::truncate(int fd, std::int64_t size) {
    const descriptor* const of = find_descriptor(fd);
    if (of == nullptr || (of->flags & O_PATH) != 0) {
        return -EBADF;
    }
    if (size < 0 || !may_write(of->flags) || !S_ISREG(node(of->inode).mode)) {
        return -EINVAL;
    }
    if (size > file_bytes_max) {
        return -EFBIG;
    }
    node(of->inode).bytes.resize(static_cast<std::size_t>(size));
    node(of->inode).modified = time_;
    return 0;
}

std::int32_t sim_files::allocate(int fd, int mode, std::int64_t begin, std::int64_t size) {
    const descriptor* const of = find_descriptor(fd);
    if (of == nullptr || !may_write(of->flags)) {
        return -EBADF;
    }
    if ((mode & ~FALLOC_FL_KEEP_SIZE) != 0) {
        return -EOPNOTSUPP;
    }
    if (begin < 0 || size <= 0) {
        return -EINVAL;
    }
    if (begin + size > file_bytes_max) {
        return -EFBIG;
    }
    sim_bytes& bytes = node(of->inode).bytes;
    const auto end = static_cast<std::size_t>(begin + size);
    if (mode == 0 && end > bytes.size()) {
        bytes.resize(end);
    }
    return 0;
}

std::int32_t sim_files::status(int at, std::string_view path, int flags,
                               struct ::statx& into) const {
    std::uint32_t number = 0;
    if (path.empty() && (flags & AT_EMPTY_PATH) != 0) {
        const descriptor* const of = opened(at);
        if (of == nullptr && at != AT_FDCWD) {
            return -EBADF;
        }
        number = of != nullptr ? of->inode : root;
    } else {
        const auto last = (flags & AT_SYMLINK_NOFOLLOW) != 0 ? last_link::stay : last_link::follow;
        const place found = resolve(at, path, last, 0);
        if (found.error != 0 || found.file == 0) {
            return found.error != 0 ? found.error : -ENOENT;
        }
        number = found.file;
    }
    const inode& file = node(number);
    std::memset(&into, 0, sizeof(into));
    into.stx_mask = STATX_BASIC_STATS;
    into.stx_mode = static_cast<__u16>(file.mode);
    into.stx_nlink = file.links;
    into.stx_ino = number;
    into.stx_size = S_ISLNK(file.mode) ? file.target.size() : file.bytes.size();
    into.stx_blksize = 4096;
    into.stx_blocks = (into.stx_size + 511) / 512;
    constexpr std::int64_t second = 1'000'000'000;
    into.stx_mtime.tv_sec = file.modified / second;
    into.stx_mtime.tv_nsec = static_cast<__u32>(file.modified % second);
    into.stx_dev_major = 0;
    into.stx_dev_minor = 1;
    return 0;
}

std::int32_t sim_files::extent(int fd, file_extent& into) const {
    const descriptor* const of = opened(fd);
    if (of == nullptr) {
        return -EBADF;
    }
    into = {.size = node(of->inode).bytes.size(), .names = node(of->inode).links};
    return 0;
}

std::int32_t sim_files::read_directory(int fd, std::span<std::byte> into) {
    descriptor* const of = find_descriptor(fd);
    if (of == nullptr || (of->flags & O_PATH) != 0) {
        return -EBADF;
    }
    const inode& folder = node(of->inode);
    if (!S_ISDIR(folder.mode)) {
        return -ENOTDIR;
    }
    // struct linux_dirent64: d_ino, d_off, d_reclen, d_type, d_name.
    constexpr std::size_t length_at = 16;
    constexpr std::size_t type_at = 18;
    constexpr std::size_t name_at = 19;
    std::size_t filled = 0;
    std::int64_t index = 0;
    for (const auto& [name, file] : folder.names) {
        if (index++ < of->position) {
            continue;
        }
        const std::size_t length = (name_at + name.size() + 1 + 7) & ~std::size_t{7};
        if (length > into.size() - filled) {
            return filled == 0 ? -EINVAL : static_cast<std::int32_t>(filled);
        }
        std::byte* const entry = into.data() + filled;
        std::memset(entry, 0, length);
        const std::uint64_t number = file;
        const auto size = static_cast<std::uint16_t>(length);
        std::memcpy(entry, &number, sizeof(number));
        std::memcpy(entry + 8, &index, sizeof(index));
        std::memcpy(entry + length_at, &size, sizeof(size));
        entry[type_at] = static_cast<std::byte>((node(file).mode & S_IFMT) >> 12); // DT_
        std::memcpy(entry + name_at, name.data(), name.size());
        filled += length;
        of->position = index;
    }
    return static_cast<std::int32_t>(filled);
}

std::string sim_files::name_of(int fd) const {
    const descriptor* const of = opened(fd);
    if (of == nullptr) {
        return "a closed descriptor";
    }
    for (const inode& folder : inodes_) {
        for (const auto& [name, file] : folder.names) {
            if (file == of->inode) {
                return name;
            }
        }
    }
    return of->inode == root ? "/" : "a file without a name";
}

const sim_files::inode* sim_files::find(std::string_view path) const {
    const place found = resolve(AT_FDCWD, path, last_link::follow, 0);
    return found.error == 0 && found.file != 0 ? &node(found.file) : nullptr;
}

} // namespace sapwood::detail
