// What all loggers of one log share: the rings of the threads that log, and how they and the
// consumer find and wake each other. Any thread, except where it says otherwise.
//
// A thread finds its ring in a thread-local cache; the first time it makes one, and gives it back
// when it ends. A ring belongs to the backend and, while the thread lives, to the thread: whichever
// goes first, the other one notices.
#pragma once

#include <sapwood/level.hpp>
#include <sapwood/log_record.hpp>
#include <sapwood/log_ring.hpp>
#include <sapwood/loop_bell.hpp>
#include <sapwood/tick_clock.hpp>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace sapwood {

/// What happens to a record whose thread's ring is full. A thread that runs a loop is never held
/// up: there block and block_for do as drop_newest.
enum class log_full_policy : std::uint8_t {
    /// The thread waits until there is room.
    block,
    /// It waits for log_full::at_most; then the record is dropped.
    block_for,
    /// The record is dropped.
    drop_newest,
    /// The oldest records in the ring make room.
    drop_oldest,
    /// A record below log_full::keep is dropped; others wait.
    drop_below,
};

struct log_full {
    log_full_policy policy = log_full_policy::block;
    std::chrono::nanoseconds at_most = std::chrono::milliseconds(100);
    level keep = level::warning;
};

namespace detail {

/// One thread's way into one log.
struct log_producer {
    log_producer(std::size_t ring_bytes, std::uint32_t ordinal);

    // Constant.
    log_ring_memory memory;
    log_thread thread;
    /// It was made when the thread's own thread-locals were gone already: nobody will say that it
    /// has ended.
    bool is_late = false;

    // The producing thread's.
    alignas(64) log_ring_writer writer;
    /// Tasks of the thread's loop that wait for room.
    waiter_list room_waiters;
    /// Has them woken. Written before the ring's request, read by who answers it.
    std::shared_ptr<loop_bell> room_bell;

    // The consumer's.
    alignas(64) log_ring_reader reader;
    std::uint64_t sequence = 0; // of the record that is expected next
    std::uint64_t told_drops[drop_reasons] = {};

    // Any thread's.
    std::atomic<bool> has_ended{false};
};

/// The ring that this thread used last.
struct log_thread_cache {
    std::uint64_t backend = 0;
    log_producer* producer = nullptr;
};

[[gnu::tls_model("initial-exec")]] extern constinit thread_local log_thread_cache thread_log;

struct log_backend_options {
    std::size_t ring_bytes;
    log_full full;
    bool wants_location;
    bool wants_task;
    /// Which place in the source, as a number.
    bool wants_site = false;
};

class log_backend {
  public:
    explicit log_backend(const log_backend_options& options);
    log_backend(const log_backend&) = delete;
    log_backend& operator=(const log_backend&) = delete;
    ~log_backend();

    // --- threads that log ---

    [[nodiscard]] std::uint64_t ticks() const noexcept { return read_ticks(ticks_are_trusted_); }

    [[nodiscard]] bool wants_context() const noexcept {
        return wants_location_ || wants_task_ || wants_site_;
    }

    [[nodiscard]] bool wants_location() const noexcept { return wants_location_; }

    [[nodiscard]] bool wants_task() const noexcept { return wants_task_; }

    [[nodiscard]] bool wants_site() const noexcept { return wants_site_; }

    /// This thread's ring; null where there is no memory for it.
    [[nodiscard]] log_producer* producer() noexcept {
        const log_thread_cache& cache = thread_log;
        if (cache.backend == id_) [[likely]] {
            return cache.producer;
        }
        return find_producer();
    }

    /// Room for a frame that reserve() had none for, by the policy; null where the record is
    /// dropped, which has been counted then.
    [[nodiscard]] char* make_room(log_producer& producer, std::size_t bytes,
                                  level importance) noexcept;

    /// After a commit.
    void notify() noexcept {
        // The consumer's side of the agreement is a membarrier(2), which makes every thread's
        // stores visible: here it is enough that the compiler keeps the order.
        std::atomic_signal_fence(std::memory_order_seq_cst);
        if (consumer_state_.load(std::memory_order_relaxed) == state::asleep) [[unlikely]] {
            wake();
        }
    }

    /// On a loop: whether a task has to wait for room in its thread's ring. It is woken through the
    /// producer's room_waiters then.
    [[nodiscard]] bool must_wait_for_room(log_producer& producer);

    void count_drop_without_ring() noexcept {
        dropped_without_ring_.fetch_add(1, std::memory_order_relaxed);
    }

    /// Returns when everything committed before has been with the sinks, or the log is closed.
    /// False where a sink could not take its part. Not on the consumer's loop.
    bool flush_blocking();

    /// Has `bell` rung when that is so.
    void flush_then_ring(const std::shared_ptr<loop_bell>& bell);

    /// Has outputs write the records that they keep (log_recent).
    void dump_recent() noexcept;

    /// Of the consumer's loop; null before it has begun.
    [[nodiscard]] const void* consumer_loop() const noexcept {
        return consumer_loop_.load(std::memory_order_acquire);
    }

    /// The consumer is to write what there is and end.
    void close() noexcept;

    /// In a child process of the one whose log it is: the consumer is not here. What is logged goes
    /// nowhere, nobody waits, and standard error says so once.
    [[nodiscard]] bool was_forked() const noexcept {
        return was_forked_.load(std::memory_order_relaxed);
    }

    [[nodiscard]] bool last_flush_failed() const noexcept {
        return flush_failed_.load(std::memory_order_acquire);
    }

    // --- the consumer ---

    enum class state : std::uint8_t {
        /// It looks by itself, soon. So it is when nobody consumes.
        awake,
        /// It looks in a moment; it may be woken earlier, but need not.
        napping,
        /// It must be woken.
        asleep,
    };

    /// On the consumer's loop.
    void attach(std::shared_ptr<loop_bell> bell);

    /// It is about to wait. Where it falls asleep, what is committed before this returns it must
    /// look for itself; what comes later wakes it. False where that cannot be had on this kernel.
    bool set_state(state next) noexcept;

    [[nodiscard]] bool close_requested() const noexcept {
        return closing_.load(std::memory_order_acquire);
    }

    [[nodiscard]] std::uint64_t flushes_requested() const noexcept {
        return flushes_requested_.load(std::memory_order_acquire);
    }

    [[nodiscard]] std::uint64_t flushes_done() const noexcept { return flushes_done_; }

    [[nodiscard]] std::uint64_t dumps_requested() const noexcept {
        return dumps_requested_.load(std::memory_order_acquire);
    }

    /// All flushes up to `number` are done.
    void finish_flushes(std::uint64_t number, bool failed) noexcept;

    /// Nobody consumes any more.
    void finish() noexcept;

    [[nodiscard]] bool has_new_producers() const noexcept {
        return has_new_producers_.load(std::memory_order_acquire);
    }

    /// Rings that were made since the last time.
    void take_new_producers(std::vector<std::shared_ptr<log_producer>>& to);

    [[nodiscard]] std::uint64_t dropped_without_ring() const noexcept {
        return dropped_without_ring_.load(std::memory_order_relaxed);
    }

    [[nodiscard]] bool ticks_are_trusted() const noexcept { return ticks_are_trusted_; }

  private:
    [[nodiscard]] log_producer* find_producer() noexcept;
    static void register_for_fork();
    void become_childs() noexcept;
    void wake() noexcept;
    void wake_napping() noexcept;
    [[nodiscard]] bool may_wait(level importance) const noexcept;

    // Constant after construction.
    const std::uint64_t id_;
    const bool ticks_are_trusted_;
    const bool wants_location_;
    const bool wants_task_;
    const bool wants_site_;
    const bool has_membarrier_;
    const std::size_t ring_bytes_;
    const log_full full_;

    // Any thread.
    alignas(64) std::atomic<state> consumer_state_{state::awake};
    std::atomic<bool> closing_{false};
    std::atomic<bool> finished_{false};
    std::atomic<bool> was_forked_{false};
    std::atomic<bool> flush_failed_{false};
    std::atomic<bool> has_new_producers_{false};
    std::atomic<std::uint64_t> flushes_requested_{0};
    std::atomic<std::uint64_t> dumps_requested_{0};
    std::atomic<std::uint64_t> dropped_without_ring_{0};
    std::atomic<const void*> consumer_loop_{nullptr};

    // Any thread, with mutex_ held.
    std::mutex mutex_;
    std::condition_variable flushed_;
    std::uint64_t flushes_done_ = 0;
    std::uint32_t threads_seen_ = 0;
    std::shared_ptr<loop_bell> bell_;
    std::vector<std::shared_ptr<log_producer>> new_producers_;
    std::vector<std::pair<std::uint64_t, std::shared_ptr<loop_bell>>> flush_bells_;
};

} // namespace detail

} // namespace sapwood
