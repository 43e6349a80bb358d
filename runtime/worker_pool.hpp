// Threads for system calls that may block. A job belongs to whoever submits it and must live until
// it has come back through take_finished or withdraw; the pool only links it. Jobs of one file
// form a lane: they start in the order in which they came, those that change the file one at a
// time, and only so many at once, so that a file that hangs takes that many threads and leaves the
// others to everybody else. submit, withdraw, interrupt and take_finished are for one thread, the
// loop's.
#pragma once

#include <sapwood/intrusive_list.hpp>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <pthread.h>
#include <thread>
#include <unordered_map>
#include <vector>

namespace sapwood {

/// How workers wake a thread that sleeps on an eventfd. Shared by the pools of one ring.
class doorbell {
  public:
    /// Throws std::system_error.
    doorbell();
    doorbell(const doorbell&) = delete;
    doorbell& operator=(const doorbell&) = delete;
    ~doorbell();

    /// Becomes readable with every ring while wanted; watch it edge-triggered, it is never read.
    [[nodiscard]] int fd() const noexcept { return fd_; }

    /// The sleeper, before it looks for what has finished and then sleeps, and afterwards. A
    /// worker finishes and then looks whether it is wanted, so one of the two sees the other.
    void want(bool wanted) noexcept { wanted_.store(wanted, std::memory_order_seq_cst); }

    /// Any thread. Costs a system call only where somebody sleeps, once per burst.
    void ring() noexcept;

  private:
    const int fd_;
    std::atomic<bool> wanted_{false};
};

class worker_pool {
  public:
    struct options {
        /// Threads, started as they are needed and kept. More jobs than these wait in line.
        unsigned threads_max;
        /// Jobs of one file that run at once; the bound on what a file that hangs takes away.
        unsigned file_running_max;
        /// Jobs that belong to no open file and run at once: those that go by a path.
        unsigned path_running_max;
    };

    /// Which lane a job stands in. Inode 0 stands for no file.
    struct lane_key {
        std::uint64_t device = 0;
        std::uint64_t inode = 0;

        friend bool operator==(const lane_key&, const lane_key&) = default;
    };

    class job {
      public:
        job() = default;
        job(const job&) = delete;
        job& operator=(const job&) = delete;

        /// On a worker: makes the system call and returns its result or a negative errno. Called
        /// again after -EINTR, unless it was interrupted on purpose.
        virtual std::int32_t perform() noexcept = 0;

        /// What perform returned, once the job has finished.
        [[nodiscard]] std::int32_t performed_value() const noexcept { return value_; }

      protected:
        ~job() = default;

        /// On a worker: whether -EINTR is to be the result.
        [[nodiscard]] bool is_interrupted() const noexcept {
            return interrupted_.load(std::memory_order_relaxed);
        }

      private:
        friend class worker_pool;

        enum class state : std::uint8_t {
            /// Not the pool's.
            idle,
            /// In its lane, behind others.
            queued,
            /// Its lane lets it go; it needs a thread.
            runnable,
            /// A thread is in perform.
            running,
            /// To be taken.
            finished,
        };

        detail::list_links<job> links_;
        lane_key lane_;
        // Of the thread that runs it.
        pthread_t thread_{};
        std::atomic<bool>* signal_under_way_ = nullptr;
        std::int32_t value_ = 0;
        state state_ = state::idle;
        bool changes_file_ = false;
        std::atomic<bool> interrupted_{false};
    };

    worker_pool(options limits, doorbell& bell) noexcept;
    worker_pool(const worker_pool&) = delete;
    worker_pool& operator=(const worker_pool&) = delete;

    /// Jobs that have not started are forgotten, running ones interrupted and awaited.
    ~worker_pool();

    /// Queues `work`. Returns 0; -ENOMEM or -EAGAIN where memory or the first thread was refused.
    std::int32_t submit(job& work, lane_key lane, bool changes_file) noexcept;

    /// Takes back a job that has not started. False where it has.
    bool withdraw(job& work) noexcept;

    /// Breaks off the system call of a job that has started, by a signal to its thread. The signal
    /// may come a moment before the call: repeat_interrupts until the job has finished.
    void interrupt(job& work) noexcept;

    /// Returns whether any interrupted job still runs.
    bool repeat_interrupts() noexcept;

    [[nodiscard]] bool has_finished() const noexcept {
        return has_finished_.load(std::memory_order_seq_cst);
    }

    /// Calls `each(job&)` for all that have finished, oldest first. Each is its owner's again.
    template <class F>
    void take_finished(F&& each) {
        if (!has_finished()) {
            return;
        }
        while (job* const work = next_finished()) {
            each(*work);
        }
    }

  private:
    using job_list = detail::intrusive_list<job, &job::links_>;

    struct lane {
        job_list queue;
        unsigned running = 0;
        bool change_running = false;
    };

    struct lane_hash {
        std::size_t operator()(const lane_key& key) const noexcept {
            return static_cast<std::size_t>((key.device * 0x9e3779b97f4a7c15u) ^ key.inode);
        }
    };

    [[nodiscard]] unsigned running_max(const lane_key& key) const noexcept {
        return key.inode == 0 ? limits_.path_running_max : limits_.file_running_max;
    }

    static void send_interrupt(job& work) noexcept;

    // With mutex_ held.
    void advance(const lane_key& key) noexcept;
    void leave_lane(job& work) noexcept;
    [[nodiscard]] bool start_threads() noexcept;

    [[nodiscard]] job* next_finished() noexcept;
    void work() noexcept;

    // Constant after construction.
    const options limits_;
    doorbell& bell_;

    // Any thread, with mutex_ held.
    std::mutex mutex_;
    std::condition_variable something_runnable_;
    std::condition_variable something_finished_;
    std::unordered_map<lane_key, lane, lane_hash> lanes_;
    job_list runnable_;
    job_list running_;
    job_list finished_;
    std::vector<std::thread> threads_;
    std::size_t runnable_count_ = 0;
    std::size_t idle_threads_ = 0;
    bool stopping_ = false;

    // Any thread.
    std::atomic<bool> has_finished_{false};
};

} // namespace sapwood
