// left_places: the places (see activity.hpp) that still have an action below what they are in, but
// are to skip it: those of who has left it, or has ended it, out of order. Two are kept, for the
// one that it was begun in and the one that ends it; of more, the oldest but one is forgotten, and
// is in the action again. Any thread.
#pragma once

#include <atomic>

namespace sapwood::detail {

class left_places {
  public:
    [[nodiscard]] bool has(const void* place) const noexcept {
        return first_.load(std::memory_order_relaxed) == place ||
               second_.load(std::memory_order_relaxed) == place;
    }

    /// And none was forgotten.
    [[nodiscard]] bool is_empty() const noexcept {
        return first_.load(std::memory_order_relaxed) == nullptr &&
               second_.load(std::memory_order_relaxed) == nullptr &&
               !has_forgotten_.load(std::memory_order_relaxed);
    }

    /// Whether there has been one in any action. In most programs there is none.
    [[nodiscard]] static bool has_any_ever() noexcept {
        return any_ever.load(std::memory_order_relaxed);
    }

    void add(const void* place) noexcept {
        if (has(place)) {
            return;
        }
        any_ever.store(true, std::memory_order_relaxed);
        const void* none = nullptr;
        if (!first_.compare_exchange_strong(none, place, std::memory_order_relaxed) &&
            second_.exchange(place, std::memory_order_relaxed) != nullptr) {
            has_forgotten_.store(true, std::memory_order_relaxed);
        }
    }

    void remove(const void* place) noexcept {
        if (!has(place)) {
            return;
        }
        const void* is = place;
        first_.compare_exchange_strong(is, nullptr, std::memory_order_relaxed);
        is = place;
        second_.compare_exchange_strong(is, nullptr, std::memory_order_relaxed);
    }

  private:
    static inline constinit std::atomic<bool> any_ever{false};

    std::atomic<const void*> first_{nullptr};
    std::atomic<const void*> second_{nullptr};
    std::atomic<bool> has_forgotten_{false};
};

} // namespace sapwood::detail
