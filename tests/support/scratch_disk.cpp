#include "support/scratch_disk.hpp"

#include "support/fuse_file.hpp"
#include "support/loop_device.hpp"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/fs.h>
#include <mutex>
#include <sched.h>
#include <stdexcept>
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

/// What is the matter with a device.
class scratch_disk::device_faults {
  public:
    /// Refuses writes of `text`, or whatever it is asked, with `error`.
    void set(std::string text, int error) {
        const std::lock_guard lock(mutex_);
        text_ = std::move(text);
        error_ = error;
    }

    [[nodiscard]] int of(const fuse_file::request& asked) {
        const std::lock_guard lock(mutex_);
        return text_.empty() || asked.bytes.find(text_) != std::string_view::npos ? error_ : 0;
    }

  private:
    std::mutex mutex_;
    std::string text_;
    int error_ = 0;
};

int scratch_disk::own_mounts() {
    static const int refused =
        ::unshare(CLONE_NEWNS) == 0 &&
                ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0
            ? 0
            : errno;
    return refused;
}

scratch_disk::scratch_disk() = default;

std::unique_ptr<scratch_disk> scratch_disk::mount(kind of, std::size_t bytes, std::string& why_not,
                                                  const std::string& options) {
    std::unique_ptr<scratch_disk> disk(new scratch_disk);
    if (const int refused = own_mounts(); refused != 0) {
        why_not = std::string("no mount of our own can be made: ") + std::strerror(refused);
        return nullptr;
    }
    try {
        disk->kind_ = of;
        disk->options_ = of == kind::btrfs ? "" : "errors=remount-ro";
        disk->options_ += (disk->options_.empty() || options.empty() ? "" : ",") + options;
        const std::string root = *disk / "";
        must(::mkdir(root.c_str(), 0700) == 0, "mkdir");
        if (of == kind::tmpfs) {
            disk->mount_tmpfs(root, bytes);
            disk->open_root();
            return disk;
        }
        // In memory, where a sync costs nothing: what the disk above has not been given is as gone.
        const std::string below = disk->folder_ / "below";
        must(::mkdir(below.c_str(), 0700) == 0, "mkdir");
        disk->mount_tmpfs(below, bytes);
        disk->has_image_ = true;
        disk->image_ = below + "/image";
        disk->make_image(bytes, of == kind::btrfs ? "mkfs.btrfs -q -M " : "mkfs.ext4 -q -F ");
        std::string source = disk->image_;
        if (of == kind::failing_ext4) {
            disk->faults_ = std::make_unique<device_faults>();
            const auto ask = [faults = disk->faults_.get()](const fuse_file::request& asked) {
                return faults->of(asked);
            };
            const int backing = ::open(source.c_str(), O_RDWR | O_CLOEXEC);
            disk->served_ = fuse_file::mount(backing, ask, why_not);
            if (disk->served_ == nullptr) {
                return nullptr;
            }
            source = disk->served_->path();
        }
        disk->loop_ = attach_loop(source, disk->device_, why_not);
        if (disk->loop_.empty()) {
            return nullptr;
        }
        disk->mount_loop();
    } catch (const std::exception& error) {
        why_not = error.what();
        return nullptr;
    }
    return disk;
}

void scratch_disk::mount_tmpfs(const std::string& at, std::size_t bytes) {
    const std::string size = "size=" + std::to_string(bytes);
    must(::mount("tmpfs", at.c_str(), "tmpfs", 0, size.c_str()) == 0, "mount");
}

void scratch_disk::make_image(std::size_t bytes, const char* format) {
    const int file = ::open(image_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    const bool is_sized = file >= 0 && ::ftruncate(file, static_cast<off_t>(bytes)) == 0;
    ::close(file);
    must(is_sized, "image");
    const std::string command =
        "PATH=$PATH:/sbin:/usr/sbin " + (format + image_) + " >/dev/null 2>&1";
    if (std::system(command.c_str()) != 0) { // NOLINT: no shell means no disk
        throw std::runtime_error("no file system was made by " + (format + image_));
    }
}

void scratch_disk::mount_loop() {
    const std::string root = *this / "";
    must(::mount(loop_.c_str(), root.c_str(), kind_ == kind::btrfs ? "btrfs" : "ext4",
                 MS_NOSUID | MS_NODEV, options_.c_str()) == 0,
         "mount");
    open_root();
}

void scratch_disk::open_root() {
    is_mounted_ = true;
    root_ = ::open((*this / "").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

scratch_disk::~scratch_disk() {
    if (is_mounted_) {
        (void)::ioctl(root_, FITHAW, 0); // or it is not frozen
        ::close(root_);
        ::umount2((*this / "").c_str(), MNT_DETACH);
    }
    if (device_ >= 0) {
        ::close(device_); // which gives up the loop device
    }
    served_.reset();
    if (has_image_) {
        ::umount2((folder_ / "below").c_str(), MNT_DETACH);
    }
}

void scratch_disk::cut_power() {
    std::uint32_t how = no_log_flush;
    must(::ioctl(root_, ext4_shutdown, &how) == 0, "EXT4_IOC_SHUTDOWN");
}

void scratch_disk::mount_again() {
    ::close(root_);
    // The kernel lets go of a killed process's rings, and so of its files, a moment later.
    constexpr int attempts_max = 60'000;
    int status = -1;
    for (int i = 0; i < attempts_max && status != 0; ++i) {
        status = ::umount2((*this / "").c_str(), 0);
        if (status != 0 && errno == EBUSY) {
            ::usleep(1000);
        }
    }
    must(status == 0, "umount");
    is_mounted_ = false;
    // What the file system had changed in memory, and never written, must not be read as the
    // disk's.
    must(::ioctl(device_, BLKFLSBUF, 0) == 0, "BLKFLSBUF");
    mount_loop();
}

void scratch_disk::set_read_only(bool is_read_only) {
    constexpr unsigned long usual = MS_REMOUNT | MS_NOSUID | MS_NODEV;
    const unsigned long flags = is_read_only ? usual | MS_RDONLY : usual;
    must(::mount(nullptr, (*this / "").c_str(), nullptr, flags, nullptr) == 0, "remount");
}

void scratch_disk::freeze() {
    must(::ioctl(root_, FIFREEZE, 0) == 0, "FIFREEZE");
}

void scratch_disk::thaw() {
    must(::ioctl(root_, FITHAW, 0) == 0, "FITHAW");
}

void scratch_disk::find_damage() {
    const std::string name = loop_.substr(loop_.rfind('/') + 1);
    const std::string trigger = "/sys/fs/ext4/" + name + "/trigger_fs_error";
    const int fd = ::open(trigger.c_str(), O_WRONLY | O_CLOEXEC);
    const bool is_done = fd >= 0 && ::write(fd, "1", 1) == 1;
    ::close(fd);
    must(is_done, "trigger_fs_error");
}

void scratch_disk::set_quota(std::uint64_t bytes) {
    btrfs_ioctl_quota_ctl_args on{};
    on.cmd = BTRFS_QUOTA_CTL_ENABLE;
    must(::ioctl(root_, BTRFS_IOC_QUOTA_CTL, &on) == 0, "BTRFS_IOC_QUOTA_CTL");
    btrfs_ioctl_qgroup_limit_args limit{}; // of the subvolume that root_ is
    limit.lim.flags = BTRFS_QGROUP_LIMIT_MAX_RFER;
    limit.lim.max_rfer = bytes != 0 ? bytes : UINT64_MAX; // which is none
    must(::ioctl(root_, BTRFS_IOC_QGROUP_LIMIT, &limit) == 0, "BTRFS_IOC_QGROUP_LIMIT");
}

void scratch_disk::refuse_writes_of(std::string text, int error) {
    faults_->set(std::move(text), error);
}

void scratch_disk::unplug() {
    faults_->set({}, EIO);
}

void scratch_disk::mend() {
    faults_->set({}, 0);
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
