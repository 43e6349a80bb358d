#include "support/scratch_disk.hpp"

#include "support/loop_device.hpp"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <linux/fs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

namespace sapwood::test {

namespace {

constexpr unsigned long ext4_shutdown = _IOR('X', 125, std::uint32_t);
constexpr std::uint32_t no_log_flush = 2;

void must(bool holds, const char* what) {
    if (!holds) {
        throw std::system_error(errno, std::generic_category(), what);
    }
}

} // namespace

int scratch_disk::own_mounts() {
    static const int refused =
        ::unshare(CLONE_NEWNS) == 0 &&
                ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0
            ? 0
            : errno;
    return refused;
}

std::unique_ptr<scratch_disk> scratch_disk::mount(kind of, std::size_t bytes,
                                                  std::string& why_not) {
    std::unique_ptr<scratch_disk> disk(new scratch_disk);
    if (const int refused = own_mounts(); refused != 0) {
        why_not = std::string("no mount of our own can be made: ") + std::strerror(refused);
        return nullptr;
    }
    const std::string root = *disk / "";
    ::mkdir(root.c_str(), 0700);
    try {
        if (of == kind::tmpfs) {
            const std::string size = "size=" + std::to_string(bytes);
            must(::mount("tmpfs", root.c_str(), "tmpfs", 0, size.c_str()) == 0, "mount");
            disk->is_mounted_ = true;
            disk->root_ = ::open(root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
            return disk;
        }
        const std::string image = disk->folder_ / "image";
        const int file = ::open(image.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        const bool is_sized = file >= 0 && ::ftruncate(file, static_cast<off_t>(bytes)) == 0;
        ::close(file);
        must(is_sized, "image");
        const std::string format =
            "PATH=$PATH:/sbin:/usr/sbin mkfs.ext4 -q -F " + image + " >/dev/null 2>&1";
        if (std::system(format.c_str()) != 0) { // NOLINT: no shell means no disk
            why_not = "mkfs.ext4 made no file system";
            return nullptr;
        }
        disk->loop_ = attach_loop(image, disk->device_, why_not);
        if (disk->loop_.empty()) {
            return nullptr;
        }
        disk->mount_loop();
    } catch (const std::system_error& error) {
        why_not = error.what();
        return nullptr;
    }
    return disk;
}

void scratch_disk::mount_loop() {
    const std::string root = *this / "";
    must(::mount(loop_.c_str(), root.c_str(), "ext4", MS_NOSUID | MS_NODEV, "") == 0, "mount");
    is_mounted_ = true;
    root_ = ::open(root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

scratch_disk::~scratch_disk() {
    if (is_mounted_) {
        ::close(root_);
        ::umount2((*this / "").c_str(), MNT_DETACH);
    }
    if (device_ >= 0) {
        ::close(device_); // which gives up the loop device
    }
}

void scratch_disk::cut_power() {
    std::uint32_t how = no_log_flush;
    must(::ioctl(root_, ext4_shutdown, &how) == 0, "EXT4_IOC_SHUTDOWN");
}

void scratch_disk::mount_again() {
    ::close(root_);
    // The kernel lets go of a killed process's rings, and so of its files, a moment later.
    constexpr int attempts_max = 5000;
    int status = -1;
    for (int i = 0; i < attempts_max && status != 0; ++i) {
        status = ::umount2((*this / "").c_str(), 0);
        if (status != 0 && errno == EBUSY) {
            ::usleep(1000);
        }
    }
    must(status == 0, "umount");
    is_mounted_ = false;
    mount_loop();
}

void scratch_disk::freeze() {
    must(::ioctl(root_, FIFREEZE, 0) == 0, "FIFREEZE");
}

void scratch_disk::thaw() {
    must(::ioctl(root_, FITHAW, 0) == 0, "FITHAW");
}

void set_immutable(const std::string& path, bool is_immutable) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    int flags = 0;
    const bool is_read = ::ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0;
    flags = is_immutable ? flags | FS_IMMUTABLE_FL : flags & ~FS_IMMUTABLE_FL;
    const bool is_set = is_read && ::ioctl(fd, FS_IOC_SETFLAGS, &flags) == 0;
    ::close(fd);
    must(is_set, "FS_IOC_SETFLAGS");
}

} // namespace sapwood::test
