// shared_health: a log_health that one thread sets and any thread reads. The lock is taken where it
// changes and where it is read, so it costs nothing as long as all is well.
#pragma once

#include <sapwood/log_health.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <mutex>
#include <string_view>
#include <system_error>

namespace sapwood::detail {

class shared_health {
  public:
    shared_health() = default;
    shared_health(const shared_health&) = delete;
    shared_health& operator=(const shared_health&) = delete;

    // --- the setting thread's ---

    /// `why` must be an error. A text that is too long is cut. Where it is degraded for that reason
    /// already nothing changes.
    void degrade(std::error_code why, std::string_view text) noexcept;

    void heal() noexcept;

    // --- any thread ---

    [[nodiscard]] bool is_degraded() const noexcept {
        return is_degraded_.load(std::memory_order_acquire);
    }

    /// Throws std::bad_alloc.
    [[nodiscard]] log_health now() const;

  private:
    std::atomic<bool> is_degraded_{false};

    mutable std::mutex mutex_; // of what follows
    std::error_code reason_;
    std::array<char, 256> text_{};
    std::size_t text_bytes_ = 0;
};

} // namespace sapwood::detail
