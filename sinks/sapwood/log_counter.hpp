// A number that one thread counts and any thread reads, without a lock.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace sapwood::detail {

class log_counter {
  public:
    log_counter() = default;

    /// The counting thread's. Who reads the new value sees what was counted elsewhere before it.
    void operator+=(std::uint64_t more) noexcept {
        value_.store(value_.load(std::memory_order_relaxed) + more, std::memory_order_release);
    }

    void operator++() noexcept { *this += 1; }

    void set(std::uint64_t value) noexcept { value_.store(value, std::memory_order_release); }

    void raise_to(std::uint64_t value) noexcept {
        set(std::max(value, value_.load(std::memory_order_relaxed)));
    }

    operator std::uint64_t() const noexcept { // NOLINT: it is a number to who reads it
        return value_.load(std::memory_order_acquire);
    }

  private:
    std::atomic<std::uint64_t> value_{0};
};

} // namespace sapwood::detail
