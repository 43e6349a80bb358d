// Who looks after the rotated files of a rotating_log_sink: a task that has them compressed and
// removed by a thread of the pool, behind each rotation.
#include <sapwood/rotating_log_sink.hpp>

#include "rotated_files.hpp"

#include <sapwood/run_blocking.hpp>
#include <sapwood/spawn.hpp>

#include <fmt/format.h>
#include <new>
#include <utility>

namespace sapwood {

/// A file may have been rotated, and have the lines of a write: that is not to fail for this.
void rotating_log_sink::start_housekeeping() noexcept {
    if (!house_is_due_ || (house_ && !house_->done()) || present().is_inherited()) {
        return;
    }
    try {
        house_.emplace(spawn(keep_house(), {.name = "log housekeeping"}));
    } catch (const std::bad_alloc&) { // with the next look, then
    }
}

task<> rotating_log_sink::housekeeping() {
    start_housekeeping();
    if (house_) {
        co_await *house_;
        house_.reset();
    }
}

task<> rotating_log_sink::keep_house() {
    const detail::house_rules rules{.keep_files = options_.keep_files,
                                    .keep_for = options_.keep_for,
                                    .keep_bytes = options_.keep_bytes,
                                    .compress = options_.compress,
                                    .compression_level = options_.compression_level};
    while (std::exchange(house_is_due_, false)) {
        try {
            const auto time = now();
            const auto work = [this, &rules, time] {
                return detail::keep_house(options_.path, rules, time, stop_house_);
            };
            const detail::house_report report = co_await run_blocking(work);
            counts_.removed += report.removed;
            counts_.compressed += report.compressed;
            for (const auto& each : report.failures) {
                tell(level::warning, each + "; it is tried again after the next rotation");
            }
            if (!report.for_fewer.empty() && !std::exchange(has_told_of_fewer_, true)) {
                tell(level::warning,
                     fmt::format("{} has not the owner, group or access control list of the file "
                                 "that it stands for, which this process may not give it: perhaps "
                                 "fewer can read it; so it will be with others",
                                 report.for_fewer.front()));
            }
        } catch (const cancelled&) { // the loop ends: the next open goes on
            break;
        } catch (const std::exception& error) {
            tell_of_house(error);
        }
    }
}

void rotating_log_sink::tell_of_house(const std::exception& failure) noexcept {
    try {
        tell(level::warning, fmt::format("rotated files of {} are not looked after: {}",
                                         options_.path, failure.what()));
    } catch (const std::bad_alloc&) { // they are with the next rotation
    }
}

} // namespace sapwood
