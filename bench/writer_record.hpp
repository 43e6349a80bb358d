// The records that every writer of bench_writers writes, and the text they become.
//
//     2026-11-21 22:39:56.123 7 info producer 7 record 42 user 83172206 took 1937 us state queued
//
// Everything but the timestamp follows from (producer, index), so the file can be checked line by
// line afterwards. The timestamp is UTC, read from the real-time clock once per record.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <string>
#include <string_view>

#include <fmt/chrono.h>
#include <fmt/compile.h>
#include <fmt/format.h>

namespace bench {

enum class level : std::uint8_t { debug, info, warning, error };

struct record {
    std::uint64_t producer = 0;
    std::uint64_t index = 0; // Counts from 0 for every producer.
    level severity = level::info;
    std::uint64_t user = 0;
    std::uint64_t took_us = 0;
    std::string_view state;
};

// For writers whose logger formats the message itself.
#define BENCH_MESSAGE_FORMAT "producer {} record {} user {} took {} us state {}"

// Size of the longest line, with its newline, and then some.
inline constexpr std::size_t line_bytes_max = 192;

// "2026-11-21 22:39:56.123"
inline constexpr std::size_t timestamp_bytes = 23;

inline constexpr std::string_view level_names[] = {"debug", "info", "warning", "error"};

[[nodiscard]] constexpr std::string_view name_of(level severity) {
    return level_names[static_cast<std::size_t>(severity)];
}

inline constexpr level severities[] = {level::debug, level::info, level::info,    level::info,
                                       level::info,  level::info, level::warning, level::error};
inline constexpr std::string_view states[] = {"accepted", "queued", "running", "finished"};

[[nodiscard]] constexpr record record_of(std::uint64_t producer, std::uint64_t index) {
    // The finalizer of MurmurHash3, a bijection of 64 bits: cheap, and good enough to look random.
    std::uint64_t hash = (producer + 1) * 0x9e3779b97f4a7c15 + index;
    hash = (hash ^ (hash >> 33)) * 0xff51afd7ed558ccd;
    hash = (hash ^ (hash >> 33)) * 0xc4ceb9fe1a85ec53;
    hash ^= hash >> 33;
    return {
        .producer = producer,
        .index = index,
        .severity = severities[hash & 7],
        .user = 10'000'000 + (hash >> 32) % 90'000'000,
        .took_us = (hash >> 12) & 0xffff,
        .state = states[(hash >> 4) & 3],
    };
}

// How many of `records` are written by `producer`, one of `producers`.
[[nodiscard]] constexpr std::uint64_t share_of(std::uint64_t producer, std::uint64_t producers,
                                               std::uint64_t records) {
    return records / producers + (producer < records % producers ? 1 : 0);
}

// Everything of the line behind the timestamp. Returns the end.
inline char* format_tail(char* out, const record& r) {
    return fmt::format_to(out, FMT_COMPILE(" {} {} " BENCH_MESSAGE_FORMAT "\n"), r.producer,
                          name_of(r.severity), r.producer, r.index, r.user, r.took_us, r.state);
}

// Formats whole lines as fast as fmt can: a compiled format, and the date only once a second.
// For one thread.
class line_formatter {
  public:
    // Precondition: line_bytes_max bytes at `out`. Returns the line's size.
    std::size_t format(char* out, const record& r, std::chrono::system_clock::time_point now) {
        char* const end = format_tail(format_timestamp(out, now), r);
        return static_cast<std::size_t>(end - out);
    }

    // Precondition: timestamp_bytes bytes at `out`. Returns the end.
    char* format_timestamp(char* out, std::chrono::system_clock::time_point now) {
        const auto second = std::chrono::floor<std::chrono::seconds>(now);
        if (second != second_) {
            second_ = second;
            const std::time_t time = std::chrono::system_clock::to_time_t(second);
            text_ = fmt::format("{:%Y-%m-%d %H:%M:%S}.", fmt::gmtime(time));
        }
        out += text_.copy(out, timestamp_bytes);
        const auto milliseconds =
            std::chrono::duration_cast<std::chrono::milliseconds>(now - second).count();
        *out++ = static_cast<char>('0' + milliseconds / 100);
        *out++ = static_cast<char>('0' + milliseconds / 10 % 10);
        *out++ = static_cast<char>('0' + milliseconds % 10);
        return out;
    }

  private:
    std::chrono::sys_seconds second_ = std::chrono::sys_seconds::min();
    std::string text_; // Up to the point before the milliseconds.
};

} // namespace bench
