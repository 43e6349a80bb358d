// Whether a log keeps what it promises at once, and if not, why. A value for any thread.
#pragma once

#include <cstdint>
#include <string>
#include <system_error>

namespace sapwood {

struct log_health {
    enum class state : std::uint8_t {
        healthy,
        /// The disk, or what else a log goes to, refuses records or does not answer: they are kept
        /// in memory, and not acknowledged. It is tried again by itself.
        degraded,
    };

    state is = state::healthy;
    /// Why it is degraded; timed_out where the disk does not answer.
    std::error_code reason;
    /// The same for people: what was tried, on what, and what came of it.
    std::string text;

    [[nodiscard]] bool is_degraded() const noexcept { return is == state::degraded; }
};

} // namespace sapwood
