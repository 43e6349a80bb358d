// A file system of its own, to be filled up, cut from its power or made immutable: an ext4 in a
// file or a tmpfs, mounted where only this thread and its children see it. Needs root; for ext4 a
// loop device and mkfs.ext4 as well.
#pragma once

#include "support/temporary_directory.hpp"

#include <memory>
#include <string>

namespace sapwood::test {

class scratch_disk {
  public:
    enum class kind { ext4, tmpfs };

    /// From now on this process has mounts of its own. Before its first ring: workers of the kernel
    /// that a ring has begun, and the next one may get, see the mounts that were there then.
    /// Returns an errno.
    static int own_mounts();

    /// Null, with the reason in `why_not`, where such a thing cannot be had here.
    [[nodiscard]] static std::unique_ptr<scratch_disk> mount(kind of, std::size_t bytes,
                                                             std::string& why_not);

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

    /// As after a boot. Nobody may have a file open.
    void mount_again();

    /// Freezes and thaws, as fsfreeze(8).
    void freeze();
    void thaw();

  private:
    scratch_disk() = default;
    void mount_loop();

    temporary_directory folder_;
    std::string loop_;
    int device_ = -1;
    int root_ = -1;
    bool is_mounted_ = false;
};

/// chattr +i and -i.
void set_immutable(const std::string& path, bool is_immutable);

} // namespace sapwood::test
