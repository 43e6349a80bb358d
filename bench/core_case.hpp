// What bench_core measures, and the exact meaning of each case. Every library does the same work.
//
//     await            a coroutine awaits a child which returns an int; the ints are summed
//     yield            two tasks take turns; each checks that the other one ran in between
//     channel          one producer, one consumer, capacity 128; the received values are summed
//     spawn + join     a task is spawned and then awaited, one after the other; its ints are summed
//     sleep            100000 tasks are spawned, each sleeps 1 ms once, all are joined: per task,
//                      so all of them are asleep at once and the wait itself is 10 ns of it
//     sleep, 1000      1000 tasks, each sleeps 1 ns again and again: per sleep
//     sleep, alone     one task, which sleeps 1 ns again and again: per sleep
//     when_any         two sleeps side by side, of 1 ns and of an hour; the first to end gives the
//                      result, the other is cancelled and has ended; again and again
//     cancel read      a task reads from an empty pipe or socket; another one, when the kernel
//                      waits for bytes, cancels it, the read ends, and the task reads again
//
// A case times itself, from inside the running loop where it can, so that making and destroying
// the loop is not part of it; the number of operations is chosen by the caller.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace bench {

inline constexpr std::string_view await_case = "await";
inline constexpr std::string_view yield_case = "yield";
inline constexpr std::string_view channel_case = "channel";
inline constexpr std::string_view spawn_case = "spawn + join";
inline constexpr std::string_view sleep_case = "sleep";
inline constexpr std::string_view sleep_thousand_case = "sleep, 1000";
inline constexpr std::string_view sleep_alone_case = "sleep, alone";
inline constexpr std::string_view when_any_case = "when_any";
inline constexpr std::string_view cancel_read_case = "cancel read";

inline constexpr std::array core_case_names{
    await_case,          yield_case,       channel_case,  spawn_case,       sleep_case,
    sleep_thousand_case, sleep_alone_case, when_any_case, cancel_read_case,
};

inline constexpr std::size_t channel_capacity = 128;
inline constexpr std::uint64_t sleep_tasks = 100'000;
inline constexpr std::uint64_t sleep_thousand_tasks = 1000;
inline constexpr std::chrono::nanoseconds sleep_duration = std::chrono::milliseconds{1};
inline constexpr std::chrono::nanoseconds sleep_duration_min{1};
inline constexpr std::chrono::nanoseconds sleep_duration_max = std::chrono::hours{1};

struct core_case {
    std::string_view name; // One of the names above.
    std::string library;
    std::uint64_t granularity = 1; // `ops` must be a multiple of it.
    // Does the work `ops` times and returns what all of them took together. Throws when the work
    // turns out not to have been done.
    std::function<std::chrono::nanoseconds(std::uint64_t ops)> run;
};

// What a child returns, and what a channel carries, as the i-th of its kind.
constexpr int value_of(std::uint64_t i) {
    return static_cast<int>(i & 0xff);
}

constexpr std::uint64_t sum_of_values(std::uint64_t count) {
    constexpr std::uint64_t period = 256;
    const std::uint64_t rest = count % period;
    const std::uint64_t whole_periods = count / period * (period * (period - 1) / 2);
    return whole_periods + (rest == 0 ? 0 : rest * (rest - 1) / 2);
}

inline void check_equal(std::string_view what, std::uint64_t actual, std::uint64_t expected) {
    if (actual != expected) {
        throw std::runtime_error(std::string{what} + ": expected " + std::to_string(expected) +
                                 ", got " + std::to_string(actual));
    }
}

[[nodiscard]] std::vector<core_case> asio_cases();
[[nodiscard]] std::vector<core_case> tuned_asio_cases();
[[nodiscard]] std::vector<core_case>
sapwood_cases(); // Only where the runtime is part of the build.

} // namespace bench
