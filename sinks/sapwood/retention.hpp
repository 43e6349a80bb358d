// retention: how many of the segments that a pipeline has set aside are kept, and for how long. The
// files that a rotating_log_sink sets aside it looks after itself. Any thread.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace sapwood {

/// Zero: no limit. The oldest go first: those of the lowest numbers where lines have numbers that
/// go on from file to file; in a log that begins at 1 with each run, those that were written to
/// first.
struct retention {
    /// Besides the present one.
    std::size_t files = 0;
    /// Since they were last written to.
    std::chrono::seconds age{0};
    /// Of all that were set aside, together.
    std::uint64_t bytes = 0;

    [[nodiscard]] bool is_unlimited() const noexcept {
        return files == 0 && age.count() == 0 && bytes == 0;
    }
};

// A class for gcc 12, see log_news.
class retention_report {
  public:
    retention_report() = default;

    std::uint64_t removed = 0;
    /// What could not be removed, each with its reason.
    std::vector<std::string> failures;
};

/// Removes what `keep` does not keep of the segments of the log at `path`, as
/// pipeline_options::segment_bytes_max names them, and nothing else. Throws std::system_error where
/// the directory cannot be read. Blocks: for a thread of the pool (run_blocking).
[[nodiscard]] retention_report remove_old_segments(const std::string& path, const retention& keep,
                                                   std::chrono::system_clock::time_point now);

} // namespace sapwood
