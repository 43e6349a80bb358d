// A disk that stops answering when the test says so, for as long as it says: a FUSE file system of
// one file, `file`, served by a thread of this process. Opens, writes and syncs of it hang while
// it is stalled. Needs root and /dev/fuse.
#pragma once

#include "support/temporary_directory.hpp"

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

namespace sapwood::test {

class stalling_disk {
  public:
    /// Null, with the reason in `why_not`, where such a thing cannot be had here.
    [[nodiscard]] static std::unique_ptr<stalling_disk> mount(std::string& why_not);

    stalling_disk(const stalling_disk&) = delete;
    stalling_disk& operator=(const stalling_disk&) = delete;

    /// Answers again and unmounts.
    ~stalling_disk();

    [[nodiscard]] std::string path() const { return folder_ / "file"; }

    void stall();
    void go_on();

    /// Waits until a request hangs.
    void wait_until_something_hangs();

  private:
    stalling_disk() = default;
    void serve();
    void answer(const char* request);
    void reply(std::uint64_t unique, int error, const void* body, std::size_t size) const;
    void hang_while_stalled();

    temporary_directory folder_;
    int fuse_ = -1;
    std::thread server_;

    std::mutex mutex_;
    std::condition_variable changed_;
    bool is_stalled_ = false;
    bool something_hangs_ = false;
    std::uint64_t file_size_ = 0;
};

} // namespace sapwood::test
