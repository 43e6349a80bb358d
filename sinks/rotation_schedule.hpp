// When a log's file is to be rotated for the time: at every full hour, quarter of an hour and so on
// of UTC, and once a day at a time of day. Pure: what the clock says is given. Any thread.
#pragma once

#include <sapwood/rotating_log_sink.hpp>

#include <chrono>
#include <optional>

namespace sapwood::detail {

class rotation_schedule {
  public:
    using time_point = std::chrono::system_clock::time_point;

    static constexpr time_point never = time_point::max();

    rotation_schedule(std::chrono::seconds every, std::optional<daily_time> daily) noexcept
        : every_(every),
          daily_(daily) {}

    /// The first time after `after`. What was written at `after` belongs to the file that ends
    /// then.
    [[nodiscard]] time_point next(time_point after) const;

  private:
    const std::chrono::seconds every_;
    const std::optional<daily_time> daily_;
};

} // namespace sapwood::detail
