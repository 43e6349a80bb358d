// Assertions on sapwood's own invariants and on how it is called. They stay on in release builds:
// a program that breaks one has already lost track of who owns a coroutine frame. Never used for
// what a peer, a disk or a user controls; those are std::system_error or result<T>.
#pragma once

#if __cplusplus < 202002L
#error "sapwood needs C++20: compile with -std=c++20"
#endif

namespace sapwood::detail {

/// Prints `message` with its place on standard error and aborts. Any thread.
[[noreturn, gnu::cold]] void assertion_failed(const char* condition, const char* message,
                                              const char* file, int line) noexcept;

} // namespace sapwood::detail

/// `message` tells the caller what they did and what to do instead.
#define SAPWOOD_ASSERT(condition, message)                                                         \
    do {                                                                                           \
        if (!(condition)) [[unlikely]] {                                                           \
            ::sapwood::detail::assertion_failed(#condition, message, __FILE__, __LINE__);          \
        }                                                                                          \
    } while (false)
