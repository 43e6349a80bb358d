// Deadlines. A timer lives in the frame of what waits for it. Most programs use a few durations,
// so timers mostly come in the order of their deadlines, duration by duration: the queue keeps
// them in a few sorted lists, where adding, cancelling and firing cost the same for one timer as
// for a million, and only what fits into none of them goes into a heap. No kernel object per
// timer. Loop thread only.
#pragma once

#include <sapwood/assert.hpp>
#include <sapwood/clock.hpp>

#include <array>
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

    [[nodiscard]] bool armed() const noexcept { return place_ != not_armed; }

  protected:
    ~timer() { SAPWOOD_ASSERT(!armed(), "a timer was destroyed while it is armed"); }

  private:
    friend class timer_queue;
    friend class timer_run;
    static constexpr std::size_t not_armed = static_cast<std::size_t>(-1);
    /// In which run it stands; from timer_queue::runs on, its place in the heap behind them.
    std::size_t place_ = not_armed;
    clock::time_point deadline_;
    timer* next_ = nullptr;
    timer* previous_ = nullptr;
};

/// Timers in the order of their deadlines, which is the order in which they came.
class timer_run {
  public:
    [[nodiscard]] bool empty() const noexcept { return first_ == nullptr; }

    [[nodiscard]] timer* first() const noexcept { return first_; }

    /// Whether a timer with this deadline belongs behind all others.
    [[nodiscard]] bool accepts(clock::time_point deadline) const noexcept {
        return last_ == nullptr || last_->deadline_ <= deadline;
    }

    void append(timer& node) noexcept;
    void remove(timer& node) noexcept;

  private:
    timer* first_ = nullptr;
    timer* last_ = nullptr;
};

class timer_queue {
  public:
    [[nodiscard]] bool empty() const noexcept { return size_ == 0; }

    [[nodiscard]] std::size_t size() const noexcept { return size_; }

    /// The nearest deadline; the queue must not be empty.
    [[nodiscard]] clock::time_point nearest() const noexcept { return first().deadline_; }

    /// Throws std::bad_alloc where the heap cannot grow; nothing has changed then.
    void add(timer& node, clock::time_point deadline);

    /// Takes `node` out; it must be armed.
    void remove(timer& node) noexcept;

    /// Timers that one call fires: their frames are still in the cache when they run, and the rest
    /// is due all the same.
    static constexpr std::size_t fired_at_once_max = 256;

    /// Fires, in the order of their deadlines, those that are due at `now`; those with equal
    /// deadlines in no particular order.
    void fire_due(clock::time_point now) noexcept;

  private:
    static constexpr std::size_t runs = 4;
    static constexpr std::size_t children = 4;

    [[nodiscard]] timer& first() const noexcept;
    void place(std::size_t index, timer& node) noexcept;
    void sift_up(std::size_t index, timer& node) noexcept;
    void sift_down(std::size_t index, timer& node) noexcept;
    void remove_from_heap(timer& node) noexcept;

    std::size_t size_ = 0;
    std::array<timer_run, runs> runs_;
    std::vector<timer*> heap_;
};

} // namespace sapwood
