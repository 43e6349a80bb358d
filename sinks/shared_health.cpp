#include <sapwood/shared_health.hpp>

namespace sapwood::detail {

void shared_health::degrade(std::error_code why, std::string_view text) noexcept {
    if (is_degraded() && reason_ == why) {
        return;
    }
    const std::lock_guard lock(mutex_);
    reason_ = why;
    text_bytes_ = text.copy(text_.data(), text_.size());
    is_degraded_.store(true, std::memory_order_release);
}

void shared_health::heal() noexcept {
    if (!is_degraded()) [[likely]] {
        return;
    }
    const std::lock_guard lock(mutex_);
    is_degraded_.store(false, std::memory_order_release);
}

log_health shared_health::now() const {
    if (!is_degraded()) [[likely]] {
        return {};
    }
    const std::lock_guard lock(mutex_);
    if (!is_degraded()) { // by now
        return {};
    }
    return {.is = log_health::state::degraded,
            .reason = reason_,
            .text = std::string(text_.data(), text_bytes_)};
}

} // namespace sapwood::detail
