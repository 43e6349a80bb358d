// A file system of its own, to be filled up, cut from its power, refused by its device or made
// immutable, mounted where only this thread and its children see it. What a test leaves it in goes
// with the process, however that ends. Needs root; all but tmpfs a loop device, and mkfs.
#pragma once

#include "support/temporary_directory.hpp"

#include <cstdint>
#include <memory>
#include <string>

namespace sapwood::test {

class fuse_file;

class scratch_disk {
  public:
    enum class kind {
        ext4,
        /// Its device is served by this process, and fails when the test says so. (A device that
        /// has less room than it promises is no substitute: a write that got only part of the way
        /// the loop driver takes for done, and the sync behind it succeeds.)
        failing_ext4,
        /// With quotas.
        btrfs,
        tmpfs,
    };

    /// From now on this process has mounts of its own. Before its first ring: workers of the kernel
    /// that a ring has begun, and the next one may get, see the mounts that were there then.
    /// Returns an errno.
    static int own_mounts();

    /// Null, with the reason in `why_not`, where such a thing cannot be had here. `options` are
    /// more of the file system's own, for mount(2).
    [[nodiscard]] static std::unique_ptr<scratch_disk>
    mount(kind of, std::size_t bytes, std::string& why_not, const std::string& options = "");

    scratch_disk(const scratch_disk&) = delete;
    scratch_disk& operator=(const scratch_disk&) = delete;

    /// Unmounts.
    ~scratch_disk();

    [[nodiscard]] std::string operator/(std::string_view name) const {
        return folder_ / (std::string("disk/") + std::string(name));
    }

    /// What the machine has in memory and not on disk is gone; every operation fails from now on.
    /// Of ext4. Callable on any thread.
    void cut_power();

    /// As after a boot: what is not on disk is gone. Nobody may have a file open.
    void mount_again();

    /// Read-only from now on; or writable again. Throws where somebody has a file open for writing.
    void set_read_only(bool is_read_only);

    /// Freezes and thaws, as fsfreeze(8).
    void freeze();
    void thaw();

    /// An error in the file system itself is found, as on a damaged disk: it is read-only from now
    /// on, until it is mounted again. Of ext4.
    void find_damage();

    /// All files together may have so many bytes; 0: as many as they like. Of btrfs.
    void set_quota(std::uint64_t bytes);

    /// Every write to the device that has `text` in it fails, with EIO or ENOSPC, until mend(). The
    /// file system's own writes do not. Of failing_ext4, and so are the following.
    void refuse_writes_of(std::string text, int error);

    /// The device is gone: everything fails.
    void unplug();

    /// It is as good as new again.
    void mend();

  private:
    class device_faults;

    scratch_disk();
    void mount_tmpfs(const std::string& at, std::size_t bytes);
    void make_image(std::size_t bytes, const char* format);
    void mount_loop();
    void open_root();

    temporary_directory folder_;
    kind kind_ = kind::tmpfs;
    std::string options_;
    std::string image_;
    bool has_image_ = false;
    std::unique_ptr<device_faults> faults_;
    /// What the loop device is of, where that is not the image.
    std::unique_ptr<fuse_file> served_;
    std::string loop_;
    /// Held open, so that the loop device stays while the file system is not mounted.
    int device_ = -1;
    int root_ = -1;
    bool is_mounted_ = false;
};

/// chattr +i and -i.
void set_immutable(const std::string& path, bool is_immutable);

} // namespace sapwood::test
