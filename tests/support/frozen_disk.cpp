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
    int device = -1;
    const std::string loop = attach_loop(image, device, why_not);
    if (loop.empty()) {
        return nullptr;
    }
    const std::string root = *disk / "";
    ::mkdir(root.c_str(), 0700);
    disk->is_mounted_ = ::mount(loop.c_str(), root.c_str(), "ext4", MS_NOSUID | MS_NODEV, "") == 0;
    if (!disk->is_mounted_) {
        why_not = last_error("the file system cannot be mounted");
    }
    ::close(device);
    if (!disk->is_mounted_) {
        return nullptr;
    }
    disk->root_ = ::open(root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return disk;
}

frozen_disk::~frozen_disk() {
    if (!is_mounted_) {
        return;
    }
    (void)::ioctl(root_, FITHAW, 0); // or it is not frozen
    ::close(root_);
    ::umount2((*this / "").c_str(), MNT_DETACH);
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
