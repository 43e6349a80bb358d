#include "support/stalling_disk.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/fuse.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace sapwood::test {

namespace {

constexpr std::uint64_t file_node = 2; // FUSE_ROOT_ID is 1

fuse_attr attributes_of(std::uint64_t node, std::uint64_t size) {
    fuse_attr attributes{};
    attributes.ino = node;
    attributes.mode = node == file_node ? S_IFREG | 0600 : S_IFDIR | 0700;
    attributes.nlink = 1;
    attributes.size = node == file_node ? size : 0;
    attributes.blksize = 4096;
    return attributes;
}

} // namespace

std::unique_ptr<stalling_disk> stalling_disk::mount(std::string& why_not) {
    std::unique_ptr<stalling_disk> disk(new stalling_disk);
    disk->fuse_ = ::open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (disk->fuse_ < 0) {
        why_not = std::string("/dev/fuse cannot be opened: ") + std::strerror(errno);
        return nullptr;
    }
    // Mounted where only this thread and its children see it: it goes with the process, however
    // that ends.
    if (::unshare(CLONE_NEWNS) != 0 ||
        ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
        why_not = std::string("no mount of our own can be made: ") + std::strerror(errno);
        ::close(std::exchange(disk->fuse_, -1));
        return nullptr;
    }
    const std::string options = "fd=" + std::to_string(disk->fuse_) +
                                ",rootmode=40000,user_id=" + std::to_string(::getuid()) +
                                ",group_id=" + std::to_string(::getgid());
    if (::mount("sapwood-test", (disk->folder_ / "").c_str(), "fuse", MS_NOSUID | MS_NODEV,
                options.c_str()) != 0) {
        why_not = std::string("a FUSE file system cannot be mounted: ") + std::strerror(errno);
        ::close(std::exchange(disk->fuse_, -1));
        return nullptr;
    }
    disk->server_ = std::thread([self = disk.get()] { self->serve(); });
    return disk;
}

stalling_disk::~stalling_disk() {
    if (fuse_ < 0) {
        return;
    }
    go_on();
    ::umount2((folder_ / "").c_str(), MNT_DETACH);
    server_.join(); // the unmounted device says ENODEV
    ::close(fuse_);
}

void stalling_disk::stall() {
    const std::lock_guard lock(mutex_);
    is_stalled_ = true;
    something_hangs_ = false;
}

void stalling_disk::go_on() {
    const std::lock_guard lock(mutex_);
    is_stalled_ = false;
    changed_.notify_all();
}

void stalling_disk::wait_until_something_hangs() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return something_hangs_; });
}

void stalling_disk::hang_while_stalled() {
    std::unique_lock lock(mutex_);
    something_hangs_ = something_hangs_ || is_stalled_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return !is_stalled_; });
}

void stalling_disk::serve() {
    std::vector<char> request(1 << 20);
    for (;;) {
        const ssize_t size = ::read(fuse_, request.data(), request.size());
        if (size >= static_cast<ssize_t>(sizeof(fuse_in_header))) {
            answer(request.data());
        } else if (size >= 0 || (errno != EINTR && errno != ENOENT && errno != EAGAIN)) {
            return;
        }
    }
}

void stalling_disk::reply(std::uint64_t unique, int error, const void* body,
                          std::size_t size) const {
    fuse_out_header header{};
    header.len = static_cast<std::uint32_t>(sizeof(header) + size);
    header.error = -error;
    header.unique = unique;
    const std::array<iovec, 2> parts{iovec{&header, sizeof(header)},
                                     iovec{const_cast<void*>(body), size}};
    (void)!::writev(fuse_, parts.data(), 2);
}

void stalling_disk::answer(const char* request) {
    fuse_in_header header{};
    std::memcpy(&header, request, sizeof(header));
    const char* const body = request + sizeof(header);
    const auto succeed = [&](const auto& value) { reply(header.unique, 0, &value, sizeof(value)); };
    switch (header.opcode) {
    case FUSE_INIT: {
        fuse_init_out out{};
        out.major = FUSE_KERNEL_VERSION;
        out.minor = FUSE_KERNEL_MINOR_VERSION;
        out.max_write = 1 << 17;
        succeed(out);
        return;
    }
    case FUSE_LOOKUP: {
        if (std::strcmp(body, "file") != 0) {
            reply(header.unique, ENOENT, nullptr, 0);
            return;
        }
        fuse_entry_out out{};
        out.nodeid = file_node;
        out.attr = attributes_of(file_node, file_size_);
        succeed(out);
        return;
    }
    case FUSE_GETATTR: {
        fuse_attr_out out{};
        out.attr = attributes_of(header.nodeid, file_size_);
        hang_while_stalled();
        succeed(out);
        return;
    }
    case FUSE_SETATTR: {
        fuse_attr_out out{};
        out.attr = attributes_of(header.nodeid, file_size_);
        succeed(out);
        return;
    }
    case FUSE_OPEN:
    case FUSE_OPENDIR: {
        hang_while_stalled();
        succeed(fuse_open_out{});
        return;
    }
    case FUSE_WRITE: {
        fuse_write_in in{};
        std::memcpy(&in, body, sizeof(in));
        hang_while_stalled();
        file_size_ = std::max(file_size_, in.offset + in.size);
        fuse_write_out out{};
        out.size = in.size;
        succeed(out);
        return;
    }
    case FUSE_FSYNC:
    case FUSE_FLUSH:
        hang_while_stalled();
        reply(header.unique, 0, nullptr, 0);
        return;
    case FUSE_RELEASE:
    case FUSE_RELEASEDIR:
        reply(header.unique, 0, nullptr, 0);
        return;
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_INTERRUPT:
        return; // want no answer
    default:
        reply(header.unique, ENOSYS, nullptr, 0);
        return;
    }
}

} // namespace sapwood::test
