// Names of a simulated machine's files.
#include "sim_files.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <linux/openat2.h>

namespace sapwood::detail {

namespace {

constexpr int links_followed_max = 40; // as the kernel's

bool is_directory(const sim_files::inode& node) noexcept {
    return S_ISDIR(node.mode);
}

} // namespace

sim_files::sim_files() {
    inodes_.resize(2);
    node(root).mode = S_IFDIR | 0755;
    node(root).links = 2;
    node(root).parent = root;
}

std::uint32_t sim_files::add(mode_t mode) {
    inodes_.emplace_back();
    inodes_.back().mode = mode;
    inodes_.back().modified = time_;
    return static_cast<std::uint32_t>(inodes_.size() - 1);
}

// --- names ---

sim_files::place sim_files::resolve(int at, std::string_view path, last_link last,
                                    std::uint64_t how) const {
    place found;
    found.folder = root;
    if (path.empty()) {
        found.error = -ENOENT;
        return found;
    }
    if (path.front() != '/' && at != AT_FDCWD) {
        const descriptor* const from = opened(at);
        if (from == nullptr || !is_directory(node(from->inode))) {
            found.error = from == nullptr ? -EBADF : -ENOTDIR;
            return found;
        }
        found.folder = from->inode;
    }
    const bool is_beneath = (how & RESOLVE_BENEATH) != 0;
    const std::uint32_t top = found.folder;
    int followed = 0;
    std::string rest(path);
    if (is_beneath && rest.front() == '/') {
        found.error = -EXDEV;
        return found;
    }
    found.file = rest.front() == '/' ? root : found.folder;
    std::size_t begin = 0;
    for (;;) {
        begin = std::min(rest.find_first_not_of('/', begin), rest.size());
        if (begin == rest.size()) {
            return found; // it ends with a slash, or was nothing but slashes
        }
        const std::size_t end = std::min(rest.find('/', begin), rest.size());
        const std::string name = rest.substr(begin, end - begin);
        if (found.file == 0 || !is_directory(node(found.file))) {
            found.error = found.file == 0 ? -ENOENT : -ENOTDIR;
            return found;
        }
        const std::uint32_t folder = found.file;
        const bool is_last = rest.find_first_not_of('/', end) == std::string::npos;
        begin = end;
        if (name == ".") {
            continue;
        }
        if (name == "..") {
            if (is_beneath && folder == top) {
                found.error = -EXDEV;
                return found;
            }
            found.file = node(folder).parent;
            continue;
        }
        const auto entry = node(folder).names.find(name);
        found.folder = folder;
        found.name = name;
        found.file = entry != node(folder).names.end() ? entry->second : 0;
        if (found.file == 0 && node(folder).links == 0) { // removed, and nothing is made in it
            found.error = -ENOENT;
            return found;
        }
        if (found.file != 0 && S_ISLNK(node(found.file).mode) &&
            (!is_last || last == last_link::follow || end != rest.size())) {
            if ((how & RESOLVE_NO_SYMLINKS) != 0 || ++followed > links_followed_max) {
                found.error = -ELOOP;
                return found;
            }
            const std::string& target = node(found.file).target;
            if (is_beneath && target.front() == '/') {
                found.error = -EXDEV;
                return found;
            }
            rest.replace(0, end, target);
            begin = 0;
            found.file = target.front() == '/' ? root : folder;
        }
    }
}

void sim_files::set_name(std::uint32_t folder, std::string name, std::uint32_t file,
                         std::uint64_t group) {
    const auto was = node(folder).names.find(name);
    if (was != node(folder).names.end()) {
        inode& old = node(was->second);
        old.links -= is_directory(old) ? 2 : 1;
    }
    if (file != 0) {
        inode& fresh = node(file);
        fresh.links += is_directory(fresh) ? 2 : 1;
        node(folder).names[name] = file;
    } else if (was != node(folder).names.end()) {
        node(folder).names.erase(was);
    }
    node(folder).modified = time_;
    name_changes_.push_back(
        {.folder = folder, .file = file, .name = std::move(name), .group = group});
}

std::int32_t sim_files::rename(int at, std::string_view from, int to_at, std::string_view to,
                               unsigned flags) {
    if ((flags & ~1u) != 0) { // RENAME_NOREPLACE alone
        return -EINVAL;
    }
    const place old = resolve(at, from, last_link::stay, 0);
    const place fresh = resolve(to_at, to, last_link::stay, 0);
    if (old.error != 0 || fresh.error != 0) {
        return old.error != 0 ? old.error : fresh.error;
    }
    if (old.file == 0) {
        return -ENOENT;
    }
    if (old.name.empty() || fresh.name.empty()) {
        return -EBUSY;
    }
    for (std::uint32_t above = fresh.folder; above != root; above = node(above).parent) {
        if (above == old.file) { // a directory into itself
            return -EINVAL;
        }
    }
    if (fresh.file != 0) {
        if ((flags & 1u) != 0) {
            return -EEXIST;
        }
        if (fresh.file == old.file) {
            return 0;
        }
        const bool is_folder = is_directory(node(old.file));
        if (is_directory(node(fresh.file)) != is_folder) {
            return is_folder ? -ENOTDIR : -EISDIR;
        }
        if (!node(fresh.file).names.empty()) {
            return -ENOTEMPTY;
        }
    }
    const std::uint64_t group = ++groups_;
    set_name(fresh.folder, fresh.name, old.file, group);
    set_name(old.folder, old.name, 0, group);
    if (is_directory(node(old.file))) {
        node(old.file).parent = fresh.folder;
    }
    return 0;
}

std::int32_t sim_files::remove(int at, std::string_view path, int flags) {
    const place found = resolve(at, path, last_link::stay, 0);
    if (found.error != 0 || found.file == 0) {
        return found.error != 0 ? found.error : -ENOENT;
    }
    const bool is_folder = is_directory(node(found.file));
    if (is_folder != ((flags & AT_REMOVEDIR) != 0)) {
        return is_folder ? -EISDIR : -ENOTDIR;
    }
    if (is_folder && !node(found.file).names.empty()) {
        return -ENOTEMPTY;
    }
    if (found.name.empty() || found.file == root) {
        return -EBUSY;
    }
    set_name(found.folder, found.name, 0, ++groups_);
    return 0;
}

std::int32_t sim_files::make_directory(int at, std::string_view path, mode_t mode) {
    const place found = resolve(at, path, last_link::stay, 0);
    if (found.error != 0 || found.file != 0) {
        return found.error != 0 ? found.error : -EEXIST;
    }
    const std::uint32_t made = add(S_IFDIR | (mode & 07777));
    node(made).parent = found.folder;
    set_name(found.folder, found.name, made, ++groups_);
    return 0;
}

std::int32_t sim_files::link(int at, std::string_view path, int to_at, std::string_view name,
                             int flags) {
    if ((flags & ~AT_SYMLINK_FOLLOW) != 0) {
        return -EINVAL; // AT_EMPTY_PATH: a file without a name, of which there are none
    }
    const last_link last = (flags & AT_SYMLINK_FOLLOW) != 0 ? last_link::follow : last_link::stay;
    const place found = resolve(at, path, last, 0);
    const place fresh = resolve(to_at, name, last_link::stay, 0);
    if (found.error != 0 || fresh.error != 0) {
        return found.error != 0 ? found.error : fresh.error;
    }
    if (found.file == 0 || fresh.file != 0) {
        return found.file == 0 ? -ENOENT : -EEXIST;
    }
    if (is_directory(node(found.file))) {
        return -EPERM;
    }
    set_name(fresh.folder, fresh.name, found.file, ++groups_);
    return 0;
}

std::int32_t sim_files::make_symlink(std::string_view target, int at, std::string_view path) {
    const place found = resolve(at, path, last_link::stay, 0);
    if (found.error != 0 || found.file != 0 || target.empty()) {
        return found.error != 0 ? found.error : target.empty() ? -ENOENT : -EEXIST;
    }
    const std::uint32_t made = add(S_IFLNK | 0777);
    node(made).target = target;
    set_name(found.folder, found.name, made, ++groups_);
    return 0;
}

std::int32_t sim_files::make_fifo(std::string_view path, mode_t mode) {
    const place found = resolve(AT_FDCWD, path, last_link::stay, 0);
    if (found.error != 0 || found.file != 0) {
        return found.error != 0 ? found.error : -EEXIST;
    }
    set_name(found.folder, found.name, add(S_IFIFO | (mode & 07777)), ++groups_);
    return 0;
}

std::int32_t sim_files::change_mode(int fd, mode_t mode) {
    const descriptor* const of = find_descriptor(fd);
    if (of == nullptr || (of->flags & O_PATH) != 0) {
        return -EBADF;
    }
    inode& file = node(of->inode);
    file.mode = (file.mode & S_IFMT) | (mode & 07777);
    return 0;
}

std::int32_t sim_files::change_flags(int fd, int clear, int set) {
    descriptor* const of = find_descriptor(fd);
    if (of == nullptr) {
        return -EBADF;
    }
    of->flags = (of->flags & ~clear) | set;
    return 0;
}

} // namespace sapwood::detail
