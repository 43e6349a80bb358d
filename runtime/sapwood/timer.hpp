// Deadlines. A timer lives in the frame of what waits for it; the queue keeps them in a heap of
// four children a node, so the nearest deadline is at hand for the loop's wait and a cancelled
// timer leaves in logarithmic time. No kernel object per timer. Loop thread only.
#pragma once

#include <sapwood/assert.hpp>
#include <sapwood/clock.hpp>

#include <cstddef>
#include <vector>

namespace sapwood {

/// Something to be done at a time. Cannot be moved while it is in a queue.
class timer {
  public:
    timer() = default;
    timer(const timer&) = delete;
    timer& operator=(const timer&) = delete;

    /// The deadline has come; the timer is out of the queue. Must not throw and must not resume a
    /// coroutine, only make it ready.
    virtual void fire() noexcept = 0;

    [[nodiscard]] bool armed() const noexcept { return heap_index_ != not_armed; }

  protected:
    ~timer() { SAPWOOD_ASSERT(!armed(), "a timer was destroyed while it is armed"); }

  private:
    friend class timer_queue;
    static constexpr std::size_t not_armed = static_cast<std::size_t>(-1);
    std::size_t heap_index_ = not_armed;
};

class timer_queue {
  public:
    [[nodiscard]] bool empty() const noexcept { return heap_.empty(); }

    [[nodiscard]] std::size_t size() const noexcept { return heap_.size(); }

    /// The nearest deadline; the queue must not be empty.
    [[nodiscard]] clock::time_point nearest() const noexcept { return heap_.front().deadline; }

    /// Throws std::bad_alloc where the heap cannot grow; nothing has changed then.
    void add(timer& node, clock::time_point deadline);

    /// Takes `node` out; it must be armed.
    void remove(timer& node) noexcept;

    /// Fires, in the order of their deadlines, all that are due at `now`; equal deadlines in no
    /// particular order.
    void fire_due(clock::time_point now) noexcept;

  private:
    struct entry {
        clock::time_point deadline;
        timer* node;
    };

    static constexpr std::size_t children = 4;

    void place(std::size_t index, entry item) noexcept;
    void sift_up(std::size_t index, entry item) noexcept;
    void sift_down(std::size_t index, entry item) noexcept;

    std::vector<entry> heap_;
};

} // namespace sapwood
