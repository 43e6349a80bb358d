// What a program asks of its log's sinks from anywhere: to open their files anew, to begin new
// ones. Asking is a store and a write(2) to a descriptor, so any thread may do it, and a signal
// handler. The log's loop reads the descriptor.
#pragma once

#include <sapwood/log_sink.hpp>

#include <atomic>

namespace sapwood::detail {

class log_requests {
  public:
    /// Throws std::system_error where no descriptor is to be had.
    log_requests();
    log_requests(const log_requests&) = delete;
    log_requests& operator=(const log_requests&) = delete;
    ~log_requests();

    // --- any thread, and signal handlers ---

    void ask_to_reopen() noexcept { ask(reopen_); }

    void ask_to_rotate() noexcept { ask(rotate_); }

    // --- the log's loop ---

    /// What was asked for since the last time.
    [[nodiscard]] log_sink_requests take() noexcept {
        return {.reopen = reopen_.exchange(false, std::memory_order_acq_rel),
                .rotate = rotate_.exchange(false, std::memory_order_acq_rel)};
    }

    /// An eventfd: it can be read from when something is asked for. -1 in a child process for which
    /// the kernel had none: what is asked for is found at the next look.
    [[nodiscard]] int fd() const noexcept { return fd_; }

    // --- for all of the process ---

    /// While the process is doubled, nobody is in the middle of taking SIGHUP.
    static void lock_for_fork();
    static void unlock_after_fork();

    /// In a child that was forked, its only thread: the descriptor is the parent's, whose log it
    /// would wake.
    void become_childs() noexcept;

    /// Has SIGHUP ask for a reopening for as long as this lives. Another handler that was there is
    /// called, too. Throws std::system_error, and std::length_error past 64 logs.
    void reopen_on_hangup();

  private:
    void ask(std::atomic<bool>& what) noexcept;

    std::atomic<bool> reopen_{false};
    std::atomic<bool> rotate_{false};
    int fd_;
    bool hears_hangup_ = false;
};

} // namespace sapwood::detail
