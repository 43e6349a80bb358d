// A disk that stops answering when the test says so, for as long as it says: a FUSE file system of
// one file, served by a thread of this process. Opens, writes and syncs of it hang while it is
// stalled. Needs root and /dev/fuse.
#pragma once

#include "support/fuse_file.hpp"

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>

namespace sapwood::test {

class stalling_disk {
  public:
    /// Null, with the reason in `why_not`, where such a thing cannot be had here.
    [[nodiscard]] static std::unique_ptr<stalling_disk> mount(std::string& why_not);

    stalling_disk(const stalling_disk&) = delete;
    stalling_disk& operator=(const stalling_disk&) = delete;

    /// Answers again and unmounts.
    ~stalling_disk();

    [[nodiscard]] std::string path() const { return file_->path(); }

    void stall();
    void go_on();

    /// Waits until a request hangs.
    void wait_until_something_hangs();

  private:
    stalling_disk() = default;
    void hang_while_stalled();

    std::mutex mutex_;
    std::condition_variable changed_;
    bool is_stalled_ = false;
    bool something_hangs_ = false;
    std::unique_ptr<fuse_file> file_;
};

} // namespace sapwood::test
