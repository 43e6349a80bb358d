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

    void add(const void* place) noexcept {
        if (has(place)) {
            return;
        }
        const void* none = nullptr;
        if (!first_.compare_exchange_strong(none, place, std::memory_order_relaxed)) {
            second_.store(place, std::memory_order_relaxed);
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
    std::atomic<const void*> first_{nullptr};
    std::atomic<const void*> second_{nullptr};
};

} // namespace sapwood::detail
