// The seam. An operation describes itself by filling an io_uring_sqe; a ring takes filled SQEs and
// gives back completions. Everything above is the same code whichever ring is below. The two
// queues are plain memory that every implementation provides, so staging an operation and reaping
// its completion cost no virtual call; only entering the ring does. Loop thread only.
#pragma once

#include <sapwood/clock.hpp>
#include <sapwood/ring_report.hpp>

#include <atomic>
#include <cstdint>
#include <liburing.h>
#include <string>
#include <vector>

namespace sapwood {

class ring {
  public:
    /// `enter` until this: submit, look, do not wait.
    static constexpr clock::time_point dont_wait = clock::time_point::min();
    /// `enter` until this: wait for a completion however long it takes.
    static constexpr clock::time_point no_deadline = clock::time_point::max();

    ring() = default;
    ring(const ring&) = delete;
    ring& operator=(const ring&) = delete;
    virtual ~ring() = default;

    /// The next free SQE, to be filled by an io_uring_prep_ function (which sets every field but
    /// user_data). Null while the queue is full: enter the ring, then ask again.
    [[nodiscard]] io_uring_sqe* next_sqe() noexcept {
        if (sq_.tail - load_acquire(sq_.head) == sq_.entries) [[unlikely]] {
            return nullptr;
        }
        return &sq_.sqes[sq_.tail++ & sq_.mask];
    }

    /// SQEs filled and not yet taken by the ring.
    [[nodiscard]] unsigned staged() const noexcept { return sq_.tail - load_acquire(sq_.head); }

    /// Whether `enter` has something to do although nothing is staged and nobody wants to wait:
    /// completions that only appear when the ring is entered.
    [[nodiscard]] bool wants_enter() const noexcept { return enter_flags() != 0; }

    /// Whether there is nothing to submit, to reap or to enter the ring for. One test instead of
    /// three: the loop asks in every turn.
    [[nodiscard]] bool is_quiet() const noexcept {
        return (staged() | (*cq_.head ^ load_acquire(cq_.tail)) | enter_flags()) == 0;
    }

    [[nodiscard]] bool has_completions() const noexcept {
        return *cq_.head != load_acquire(cq_.tail);
    }

    /// Calls `each(user_data, result, flags)` for every completion that is there, oldest first,
    /// and returns how many there were. `each` may stage SQEs; it must not enter the ring.
    template <class F>
    unsigned reap(F&& each) {
        const unsigned tail = load_acquire(cq_.tail);
        const unsigned first = *cq_.head;
        unsigned head = first;
        while (head != tail) {
            if (tail - head > prefetched_ahead) {
                // What completes next, and is not in the cache where there are many.
                const auto soon = static_cast<std::uintptr_t>(
                    cq_.cqes[(head + prefetched_ahead) & cq_.mask].user_data);
                __builtin_prefetch(reinterpret_cast<const void*>(soon));
                __builtin_prefetch(reinterpret_cast<const void*>(soon + 64));
            }
            const io_uring_cqe& cqe = cq_.cqes[head & cq_.mask];
            each(cqe.user_data, cqe.res, cqe.flags);
            std::atomic_ref(*cq_.head).store(++head, std::memory_order_release);
        }
        return head - first;
    }

    /// Submits what is staged and waits until a completion is there or `until` has come. May
    /// return early and with SQEs still staged (a signal, completions to be reaped first): the
    /// caller loops anyway. Throws std::system_error only where the ring itself is broken.
    virtual void enter(clock::time_point until) = 0;

    /// Whether it has IORING_OP_SEND_ZC.
    [[nodiscard]] virtual bool can_send_uncopied() const noexcept { return false; }

    /// Receives that name `group` take their buffers from `entries`, `count` of them, which must
    /// outlive the ring. False where the ring cannot do that.
    [[nodiscard]] virtual bool register_buffers(io_uring_buf_ring& entries, unsigned count,
                                                std::uint16_t group) noexcept {
        (void)entries, (void)count, (void)group;
        return false;
    }

    [[nodiscard]] virtual clock::time_point now() const noexcept { return clock::now(); }

    /// Within a few milliseconds of now(), and cheaper where the ring has its own.
    [[nodiscard]] virtual clock::time_point coarse_now() const noexcept { return now(); }

    /// One line for people: which ring this is, its sizes, what was granted.
    [[nodiscard]] virtual std::string report() const = 0;

    /// What it has, and what it could have; see ring_report.
    [[nodiscard]] virtual std::vector<ring_feature> features() const { return {}; }

  protected:
    static constexpr unsigned prefetched_ahead = 3;

    struct submission_queue {
        io_uring_sqe* sqes = nullptr;
        unsigned entries = 0;
        unsigned mask = 0;
        /// Ours: SQEs before it are staged. Published to the ring by `enter`.
        unsigned tail = 0;
        /// The ring's: SQEs before it have been taken.
        unsigned* head = nullptr;
        unsigned* flags = nullptr;
    };

    struct completion_queue {
        io_uring_cqe* cqes = nullptr;
        unsigned mask = 0;
        /// Ours: completions before it have been reaped.
        unsigned* head = nullptr;
        /// The ring's: completions before it are there.
        unsigned* tail = nullptr;
    };

    [[nodiscard]] static unsigned load_acquire(unsigned* word) noexcept {
        return std::atomic_ref(*word).load(std::memory_order_acquire);
    }

    [[nodiscard]] unsigned enter_flags() const noexcept {
        return std::atomic_ref(*sq_.flags).load(std::memory_order_relaxed) &
               (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
    }

    submission_queue sq_;
    completion_queue cq_;
};

} // namespace sapwood
