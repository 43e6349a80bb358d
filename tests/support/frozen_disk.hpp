// A disk that can be frozen, as fsfreeze(8) does it, and whose power can be cut: an ext4 of its own
// in a file, mounted where only this thread and its children see it. Needs root, a loop device, and
// mkfs.ext4.
#pragma once

#include "support/temporary_directory.hpp"

#include <memory>
#include <string>

namespace sapwood::test {

class frozen_disk {
  public:
    /// Null, with the reason in `why_not`, where such a thing cannot be had here.
    [[nodiscard]] static std::unique_ptr<frozen_disk> mount(std::string& why_not);

    frozen_disk(const frozen_disk&) = delete;
    frozen_disk& operator=(const frozen_disk&) = delete;

    /// Thaws and unmounts.
    ~frozen_disk();

    [[nodiscard]] std::string operator/(std::string_view name) const {
        return folder_ / (std::string("disk/") + std::string(name));
    }

    /// Returns when whoever writes has to wait.
    void freeze();
    void thaw();

    /// What the disk has not got is gone, the journal's last transaction as well; then it is
    /// mounted again. Everything on it must be closed before.
    void cut_power();

  private:
    frozen_disk() = default;
    bool mount_again();

    temporary_directory folder_;
    std::string loop_;
    /// Held open, so that the loop device stays while the file system is not mounted.
    int device_ = -1;
    int root_ = -1;
    bool is_mounted_ = false;
};

} // namespace sapwood::test
