// closer: closes descriptors in its time, on a thread of its own that is there from the first one
// on, since a close may take as long as who has passed the descriptor likes. Any thread.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <vector>

namespace sapwood::collector {

class closer {
  public:
    using close_function = int (*)(int fd);

    /// No more than `most` are open at a time, with the one that is being closed: one that waits
    /// must not have all of a process's descriptors wait for it. It must never be destroyed.
    closer(std::size_t most, close_function close) noexcept : most_(most), close_(close) {}

    closer(const closer&) = delete;
    closer& operator=(const closer&) = delete;

    /// Throws std::bad_alloc, and std::system_error where there is no thread, or too many wait;
    /// then `fd` is still the caller's.
    void add(int fd);

  private:
    void start();
    [[noreturn]] void work();

    const std::size_t most_;
    const close_function close_;
    std::mutex mutex_;
    std::condition_variable something_came_;
    std::vector<int> waiting_;
    /// With those that the thread has taken.
    std::size_t open_ = 0;
    bool is_running_ = false;
};

} // namespace sapwood::collector
