// Macros for the calls of a logger whose arguments must not even be evaluated where the level is
// off: `SAPWOOD_DEBUG(log, "tree of {} nodes: {}", tree.size(), dump(tree))`. A call below
// SAPWOOD_LOG_LEVEL_MIN (0: trace, to 5: critical) is not compiled in.
#pragma once

#include <sapwood/logger.hpp>

#if !defined(SAPWOOD_LOG_LEVEL_MIN)
#define SAPWOOD_LOG_LEVEL_MIN 0
#endif

namespace sapwood::detail {

[[nodiscard]] consteval bool is_at_least(level importance, int minimum) noexcept {
    return static_cast<int>(importance) >= minimum;
}

} // namespace sapwood::detail

#define SAPWOOD_LOG_AT(logger, importance, ...)                                                    \
    do {                                                                                           \
        if constexpr (::sapwood::detail::is_at_least(importance, SAPWOOD_LOG_LEVEL_MIN)) {         \
            const auto& sapwood_logger = (logger);                                                 \
            if (sapwood_logger.enabled(importance)) {                                              \
                sapwood_logger.log(importance, __VA_ARGS__);                                       \
            }                                                                                      \
        }                                                                                          \
    } while (false)

#define SAPWOOD_TRACE(logger, ...) SAPWOOD_LOG_AT(logger, ::sapwood::level::trace, __VA_ARGS__)
#define SAPWOOD_DEBUG(logger, ...) SAPWOOD_LOG_AT(logger, ::sapwood::level::debug, __VA_ARGS__)
#define SAPWOOD_INFO(logger, ...) SAPWOOD_LOG_AT(logger, ::sapwood::level::info, __VA_ARGS__)
#define SAPWOOD_WARN(logger, ...) SAPWOOD_LOG_AT(logger, ::sapwood::level::warning, __VA_ARGS__)
#define SAPWOOD_ERROR(logger, ...) SAPWOOD_LOG_AT(logger, ::sapwood::level::error, __VA_ARGS__)
#define SAPWOOD_CRITICAL(logger, ...)                                                              \
    SAPWOOD_LOG_AT(logger, ::sapwood::level::critical, __VA_ARGS__)
