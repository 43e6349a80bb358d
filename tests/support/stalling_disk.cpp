#include "support/stalling_disk.hpp"

#include <sys/mman.h>

namespace sapwood::test {

std::unique_ptr<stalling_disk> stalling_disk::mount(std::string& why_not) {
    std::unique_ptr<stalling_disk> disk(new stalling_disk);
    const int memory = ::memfd_create("stalling_disk", MFD_CLOEXEC);
    const auto hang = [self = disk.get()](const fuse_file::request&) {
        self->hang_while_stalled();
        return 0;
    };
    disk->file_ = fuse_file::mount(memory, hang, why_not);
    return disk->file_ != nullptr ? std::move(disk) : nullptr;
}

stalling_disk::~stalling_disk() {
    go_on();
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

} // namespace sapwood::test
