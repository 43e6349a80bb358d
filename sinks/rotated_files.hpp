// The files that a log has been rotated into: their names, and what becomes of them. Each call
// blocks; for a thread of the pool. Touches nothing but what has one of its own names exactly.
//
//     app.log                              the present one
//     app.log.20261126T141236.123Z         until that moment (UTC)
//     app.log.20261126T141236.123Z.zst     the same, compressed
//     app.log.20261126T141236.123Z.zst.tmp being compressed, or left of that
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sapwood::detail {

using log_milliseconds =
    std::chrono::time_point<std::chrono::system_clock, std::chrono::milliseconds>;

/// The name of what is rotated at that moment. In order of time such names are in order of text.
[[nodiscard]] std::string rotated_name(std::string_view path, log_milliseconds when);

struct rotated_file {
    enum class kind : std::uint8_t { plain, compressed, unfinished };

    log_milliseconds when;
    kind what;
};

/// What `name` says, where it is one that rotated_name(base) gives, with or without an ending.
[[nodiscard]] std::optional<rotated_file> parse_rotated_name(std::string_view name,
                                                             std::string_view base);

/// The moment in the last name that is there; none where there is no rotated file. Throws
/// std::system_error. Blocks.
[[nodiscard]] std::optional<log_milliseconds> newest_rotated(const std::string& path);

struct segment_name {
    /// Of the first record behind it.
    std::uint64_t number;
    /// Which of that number it is, from 1 on.
    std::uint64_t repeated;
};

/// What `name` says where a pipeline has set a segment of the log `base` aside by it:
/// app.log.0000000000000042, with -2, -3, ... behind it where that was taken.
[[nodiscard]] std::optional<segment_name> parse_segment_name(std::string_view name,
                                                             std::string_view base);

/// How what was set aside is called.
enum class aside_name : std::uint8_t {
    /// By the time, see above.
    time,
    /// By the number of the first record behind it (pipeline_options::segment_bytes_max); its time
    /// is when it was last written to. Which is older the numbers say where lines have them and go
    /// on from file to file; a log that begins at 1 with each run has it from the times.
    number,
};

/// Zero: no limit.
struct house_rules {
    std::size_t keep_files = 0;
    std::chrono::seconds keep_for{0};
    std::uint64_t keep_bytes = 0;
    bool compress = false;
    int compression_level = 3;
    aside_name named = aside_name::time;
};

// A class for gcc 12, see log_news.
class house_report {
  public:
    house_report() = default;

    std::uint64_t removed = 0;
    std::uint64_t compressed = 0;
    /// What could not be done, each with its reason.
    std::vector<std::string> failures;
    /// Compressed files that fewer can read than the files they stand for.
    std::vector<std::string> for_fewer;
};

/// Removes what is left of a compression that was broken off, and what the rules do not keep, the
/// oldest first; compresses the others. Goes on after failures; ends early where `stop` is set.
[[nodiscard]] house_report keep_house(const std::string& path, const house_rules& rules,
                                      std::chrono::system_clock::time_point now,
                                      const std::atomic<bool>& stop);

} // namespace sapwood::detail
