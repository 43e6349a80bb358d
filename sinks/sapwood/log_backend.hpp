// What all loggers of one log share: the rings of the threads that log, and how they and the
// consumer find and wake each other. Any thread, except where it says otherwise.
//
// A thread finds its ring in a thread-local cache; the first time it makes one, and gives it back
// when it ends. A ring belongs to the backend and, while the thread lives, to the thread: whichever
// goes first, the other one notices.
#pragma once

#include <sapwood/level.hpp>
#include <sapwood/log_record.hpp>
#include <sapwood/log_requests.hpp>
#include <sapwood/log_ring.hpp>
#include <sapwood/log_stats.hpp>
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
    log_producer(const log_producer&) = delete;
    log_producer& operator=(const log_producer&) = delete;
    ~log_producer();

    // Constant.
    log_ring_memory memory;
    log_thread thread;
    /// It was made when the thread was as good as gone: nobody will say that it has ended, and the
    /// kernel is asked.
    bool is_late = false;

    // The producing thread's.
    alignas(64) log_ring_writer writer;
    /// Tasks of the thread's loop that wait for room.
    waiter_list room_waiters;
    /// Of its records, and of outputs that are durable: so much a wait for the disk has thrown
    /// errc::lost for, or was lost before the thread first logged. A wait that ends otherwise has
    /// told nobody.
    std::uint64_t losses_told = 0;
    /// Has them woken. Written before the ring's request, with the backend's mutex held; who is not
    /// the thread reads it so, too: see ring_for_room().
    std::shared_ptr<loop_bell> room_bell;

    // The consumer's.
    alignas(64) log_ring_reader reader;
    std::uint64_t sequence = 0;        // of the record that is expected next
    std::uint64_t dropped_through = 0; // as it was before this visit's records
    std::uint64_t told_drops[drop_reasons] = {};

    // Any thread's.
    std::atomic<bool> has_ended{false};
    /// A signal's handler has made room that tasks have asked for, and could not tell them.
    std::atomic<bool> has_untold_room{false};
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
    bool has_crash_handler = false;
    /// Which place in the source, as a number.
    bool wants_site = false;
    /// An output is durable.
    bool is_durable = false;
    /// Names of arguments whose values are not shown.
    std::vector<std::string> redacted = {};
};

/// The signal that is about to end the process.
struct signal_note {
    int number;
    int code;
    const void* address;
    std::uint32_t thread;
};

class log_backend {
  public:
    explicit log_backend(const log_backend_options& options);
    log_backend(const log_backend&) = delete;
    log_backend& operator=(const log_backend&) = delete;
    ~log_backend() = default;

    // --- threads that log ---

    /// Of this log, in this process: a child that was forked has another one.
    [[nodiscard]] std::uint64_t id() const noexcept { return id_; }

    [[nodiscard]] const std::vector<std::string>& redacted() const noexcept { return redacted_; }

    /// What keeps the log from ending while somebody has it; null where it is ending.
    [[nodiscard]] std::shared_ptr<void> keep() const noexcept { return life_.lock(); }

    /// Once, before any thread logs.
    void lives_by(std::weak_ptr<void> life) noexcept { life_ = std::move(life); }

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
        if (is_asleep_.load(std::memory_order_relaxed)) [[unlikely]] {
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

    // The same until it is on disk as well, for a log that is durable:
    //
    //     const durable_wait wait = backend.begin_durable();
    //     (flush_blocking(wait), or flush_then_ring(bell, wait), and wait for it)
    //     backend.end_durable(wait);

    struct durable_wait {
        /// What the thread had been told of when it began: see log_producer::losses_told.
        std::uint64_t losses_told = 0;
        std::uint64_t number = 0;
    };

    /// Throws std::system_error where no output is durable, and errc::closed.
    [[nodiscard]] durable_wait begin_durable();
    void flush_blocking(durable_wait& wait);
    void flush_then_ring(const std::shared_ptr<loop_bell>& bell, durable_wait& wait);
    /// Throws std::system_error where it is not so, errc::lost where it never will be.
    void end_durable(const durable_wait& wait);

    /// Has outputs write the records that they keep (log_recent).
    void dump_recent() noexcept;

    /// Of the consumer's loop; null before it has begun.
    [[nodiscard]] const void* consumer_loop() const noexcept {
        return consumer_loop_.load(std::memory_order_acquire);
    }

    /// The consumer is to write what there is and end.
    void close() noexcept;

    /// flush_blocking, but not for longer than until then: false where it is not done.
    bool flush_until(std::chrono::steady_clock::time_point deadline);

    /// After close(). False where it is not over by then.
    bool wait_until_finished(std::chrono::steady_clock::time_point deadline);

    /// For the sinks. Any thread, and signal handlers.
    [[nodiscard]] log_requests& requests() noexcept { return requests_; }

    [[nodiscard]] bool last_flush_failed() const noexcept {
        return flush_failed_.load(std::memory_order_acquire);
    }

    /// The log has ended: nobody takes what is in the rings, or comes there.
    [[nodiscard]] bool has_finished() const noexcept {
        return finished_.load(std::memory_order_acquire);
    }

    // --- fork ---

    /// Held while the process is doubled, so that the child finds it whole.
    [[nodiscard]] std::mutex& mutex() noexcept { return mutex_; }

    /// In a child process, which has one thread, with the mutex held: rings, flushes and whoever
    /// waits are the parent's and forgotten; `start(with)` is called when the consumer is needed.
    void become_childs(void (*start)(void*), void* with) noexcept;

    /// The consumer has not been needed yet, in this child process.
    [[nodiscard]] bool waits_for_start() const noexcept {
        return start_.load(std::memory_order_acquire) != nullptr;
    }

    // --- crash: async-signal-safe ---

    /// Asks the consumer, whose thread may be dead or stuck, to write all that there is, and behind
    /// it what the note says. Done when flushes_done() has reached what it returns.
    [[nodiscard]] std::uint64_t ask_in_crash(const signal_note& note) noexcept;

    /// Rings that the consumer has not seen yet: to be used with the mutex held, or where whoever
    /// holds it will never let it go.
    [[nodiscard]] const std::vector<std::shared_ptr<log_producer>>& new_producers() const noexcept {
        return new_producers_;
    }

    // --- the consumer ---

    /// Its ring has room, and tasks have asked for it. Without the mutex.
    void ring_for_room(const log_producer& producer) noexcept;

    /// What is to be told behind the records of flush `number`; null where nothing is.
    [[nodiscard]] const signal_note* take_note(std::uint64_t number) noexcept {
        if (note_.load(std::memory_order_acquire) == nullptr ||
            number < note_flush_.load(std::memory_order_relaxed)) [[likely]] {
            return nullptr;
        }
        return note_.exchange(nullptr, std::memory_order_acq_rel);
    }

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

    [[nodiscard]] std::uint64_t flushes_done() const noexcept {
        return flushes_done_.load(std::memory_order_acquire);
    }

    [[nodiscard]] std::uint64_t dumps_requested() const noexcept {
        return dumps_requested_.load(std::memory_order_acquire);
    }

    /// The highest number of a flush that is to be on disk.
    [[nodiscard]] std::uint64_t sync_requested() const noexcept {
        return sync_requested_.load(std::memory_order_acquire);
    }

    /// Before finish_flushes: all up to flush `number` is on disk, and outputs that are durable
    /// have lost so many lines.
    void note_durable(std::uint64_t number, std::uint64_t lost) noexcept;

    /// All flushes up to `number` are done.
    void finish_flushes(std::uint64_t number, bool failed) noexcept;

    /// Nobody consumes any more.
    void finish() noexcept;

    [[nodiscard]] bool has_new_producers() const noexcept {
        return has_new_producers_.load(std::memory_order_acquire);
    }

    /// Rings that were made since the last time.
    void take_new_producers(std::vector<std::shared_ptr<log_producer>>& to);

    /// The thread has ended and its ring is empty: the counts stay, the ring goes.
    void retire(const log_producer& producer);

    /// Adds what threads have logged, and what became of it in their rings. Any thread.
    void add_stats(log_stats& to) const;

    [[nodiscard]] std::uint64_t dropped_without_ring() const noexcept {
        return dropped_without_ring_.load(std::memory_order_relaxed);
    }

    [[nodiscard]] bool ticks_are_trusted() const noexcept { return ticks_are_trusted_; }

  private:
    [[nodiscard]] log_producer* find_producer() noexcept;
    [[nodiscard]] std::shared_ptr<loop_bell> take_flush_bell(std::uint64_t number) noexcept;
    [[nodiscard]] bool has_logged() const noexcept;
    [[nodiscard]] std::uint64_t losses_of(const log_producer* producer) const noexcept;
    [[nodiscard]] std::uint64_t request_sync() noexcept;
    void ring_in_crash() noexcept;
    void wake() noexcept;
    void wake_napping() noexcept;
    void tell_asleep(bool asleep) noexcept;
    [[nodiscard]] bool may_wait(level importance) const noexcept;

    // Constant after construction, but in a child process, which has another id.
    std::uint64_t id_;
    std::weak_ptr<void> life_;
    const std::vector<std::string> redacted_;
    const bool ticks_are_trusted_;
    const bool wants_location_;
    const bool wants_task_;
    const bool has_crash_handler_;
    const bool wants_site_;
    const bool has_membarrier_;
    bool is_durable_;
    const std::size_t ring_bytes_;
    const log_full full_;

    // Any thread. Every call looks at the first one, in a line that is written only when the
    // consumer falls asleep or wakes up: the state changes with each visit of the consumer's, and a
    // thread that reads it then waits for the line to come over.
    alignas(64) std::atomic<bool> is_asleep_{false};
    alignas(64) std::atomic<state> consumer_state_{state::awake};
    std::atomic<bool> closing_{false};
    std::atomic<bool> finished_{false};
    std::atomic<bool> flush_failed_{false};
    std::atomic<bool> has_new_producers_{false};
    std::atomic<std::uint64_t> flushes_requested_{0};
    std::atomic<std::uint64_t> flushes_done_{0};   // written with mutex_ held
    std::atomic<std::uint64_t> sync_requested_{0}; // written with mutex_ held
    std::atomic<std::uint64_t> durable_through_{0};
    std::atomic<std::uint64_t> durable_lost_{0};
    std::atomic<const signal_note*> note_{nullptr};
    std::atomic<std::uint64_t> note_flush_{0};
    std::atomic<std::uint64_t> dumps_requested_{0};
    std::atomic<std::uint64_t> dropped_without_ring_{0};
    std::atomic<std::uint64_t> wake_ups_{0};
    std::atomic<const void*> consumer_loop_{nullptr};
    log_requests requests_;

    // Any thread, with mutex_ held.
    mutable std::mutex mutex_;
    std::condition_variable flushed_;
    std::uint32_t threads_seen_ = 0;
    std::shared_ptr<loop_bell> bell_;
    std::vector<std::shared_ptr<log_producer>> new_producers_;
    /// For the counts: those that are not retired, and the sum of the others.
    std::vector<std::shared_ptr<log_producer>> counted_;
    log_stats retired_;
    std::vector<std::pair<std::uint64_t, std::shared_ptr<loop_bell>>> flush_bells_;

    /// In a child process, until the consumer is needed: who is woken first calls it.
    std::atomic<void (*)(void*)> start_{nullptr};
    void* start_with_ = nullptr;
};

} // namespace detail

} // namespace sapwood
