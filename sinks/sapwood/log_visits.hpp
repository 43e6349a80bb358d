// When a log's rings, batches and forms are half changed, and when not. Whoever changes them, on
// the consumer's loop, makes a log_visit meanwhile. No process is doubled during one, unless by the
// visit's own thread; and a signal handler that takes over has the loop's thread stand still before
// its next one.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>

namespace sapwood::detail {

class log_visits {
  public:
    log_visits() = default;
    log_visits(const log_visits&) = delete;
    log_visits& operator=(const log_visits&) = delete;

    /// Whether this thread is in the middle of one: a filter, or a form, has called it.
    [[nodiscard]] bool is_going_on() const noexcept { return visited_ == this; }

    /// On the visit's thread, behind everything that may have called a program's function: the
    /// process has crashed in it, or while it was stuck there, and has survived. What the visit was
    /// about a signal handler has written.
    [[nodiscard]] bool is_lost() const noexcept {
        return is_lost_.load(std::memory_order_acquire) && has_survived();
    }

    // --- fork ---

    /// Returns when none is going on, and keeps others from beginning. Not for this thread's own.
    void lock_for_fork();
    void unlock_after_fork();

    /// This thread is about to wait for its turn to fork. Where it is in the middle of a visit, who
    /// forks before it need not wait for that: nothing changes meanwhile.
    static void lend() noexcept;

    /// It is its turn.
    static void take_back();

    // --- crash: async-signal-safe ---

    /// Grows as long as the loop's thread lives and has something to do.
    [[nodiscard]] std::uint64_t count() const noexcept {
        return count_.load(std::memory_order_relaxed);
    }

    /// From now on the loop's thread stands still where it next begins a visit. One that is going
    /// on is waited for, for half a second, unless `is_dead`: its thread has crashed. It is lost
    /// then.
    void take_over(const std::atomic<bool>& is_dead) noexcept;

    /// Behind take_over().
    [[nodiscard]] bool is_lost_in_crash() const noexcept {
        return is_lost_.load(std::memory_order_relaxed);
    }

    /// The process has survived.
    void give_back() noexcept { is_taken_over_.store(false, std::memory_order_seq_cst); }

  private:
    friend class log_visit;

    void begin() noexcept;
    void end() noexcept;
    void stand_still() noexcept;
    [[nodiscard]] bool has_survived() const noexcept;

    static constinit thread_local log_visits* visited_;

    /// Held during a visit, and while the process is doubled.
    std::mutex mutex_;
    std::atomic<bool> is_going_on_{false};
    std::atomic<bool> is_lost_{false};
    std::atomic<std::uint64_t> count_{0};
    std::atomic<bool> is_taken_over_{false};
};

/// On the consumer's loop; not across a co_await.
class log_visit {
  public:
    explicit log_visit(log_visits& to) : to_(to) {
        to_.mutex_.lock();
        to_.begin();
    }

    log_visit(const log_visit&) = delete;
    log_visit& operator=(const log_visit&) = delete;

    ~log_visit() {
        to_.end();
        to_.mutex_.unlock();
    }

  private:
    log_visits& to_;
};

} // namespace sapwood::detail
