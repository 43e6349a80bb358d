#include "support/frozen_disk.hpp"

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

constexpr off_t disk_bytes = 64 << 20;

std::string last_error(const std::string& what) {
    return what + ": " + std::strerror(errno);
}

} // namespace

std::unique_ptr<frozen_disk> frozen_disk::mount(std::string& why_not) {
    std::unique_ptr<frozen_disk> disk(new frozen_disk);
    if (::unshare(CLONE_NEWNS) != 0 ||
        ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
        why_not = last_error("no mount of our own can be made");
        return nullptr;
    }
    const std::string image = disk->folder_ / "image";
    const int file = ::open(image.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    const bool is_sized = file >= 0 && ::ftruncate(file, disk_bytes) == 0;
    ::close(file);
    const std::string format =
        "PATH=$PATH:/sbin:/usr/sbin mkfs.ext4 -q -F " + image + " >/dev/null 2>&1";
    if (!is_sized || std::system(format.c_str()) != 0) { // NOLINT: no shell means no disk
        why_not = "mkfs.ext4 made no file system";
        return nullptr;
    }
    disk->loop_ = attach_loop(image, disk->device_, why_not);
    if (disk->loop_.empty()) {
        return nullptr;
    }
    ::mkdir((*disk / "").c_str(), 0700);
    if (!disk->mount_again()) {
        why_not = last_error("the file system cannot be mounted");
        return nullptr;
    }
    return disk;
}

bool frozen_disk::mount_again() {
    const std::string root = *this / "";
    is_mounted_ = ::mount(loop_.c_str(), root.c_str(), "ext4", MS_NOSUID | MS_NODEV, "") == 0;
    if (is_mounted_) {
        root_ = ::open(root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    return is_mounted_;
}

frozen_disk::~frozen_disk() {
    if (is_mounted_) {
        (void)::ioctl(root_, FITHAW, 0); // or it is not frozen
        ::close(root_);
        ::umount2((*this / "").c_str(), MNT_DETACH);
    }
    ::close(device_);
}

void frozen_disk::cut_power() {
    // EXT4_IOC_SHUTDOWN and EXT4_GOING_FLAGS_NOLOGFLUSH, of fs/ext4/ext4.h.
    constexpr unsigned long shut_down = _IOR('X', 125, __u32);
    __u32 without_flush = 2;
    if (::ioctl(root_, shut_down, &without_flush) != 0) {
        throw std::system_error(errno, std::generic_category(), "EXT4_IOC_SHUTDOWN");
    }
    ::close(root_);
    if (::umount((*this / "").c_str()) != 0) {
        throw std::system_error(errno, std::generic_category(), "umount after a power cut");
    }
    if (!mount_again()) {
        throw std::system_error(errno, std::generic_category(), "mount after a power cut");
    }
}

void frozen_disk::freeze() {
    if (::ioctl(root_, FIFREEZE, 0) != 0) {
        throw std::system_error(errno, std::generic_category(), "FIFREEZE");
    }
}

void frozen_disk::thaw() {
    if (::ioctl(root_, FITHAW, 0) != 0) {
        throw std::system_error(errno, std::generic_category(), "FITHAW");
    }
}

} // namespace sapwood::test
