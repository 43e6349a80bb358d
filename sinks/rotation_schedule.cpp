#include "rotation_schedule.hpp"

#include <algorithm>
#include <ctime>

namespace sapwood::detail {

namespace {

using time_point = rotation_schedule::time_point;
using std::chrono::system_clock;

long offset_at(std::time_t when) {
    std::tm local{};
    ::localtime_r(&when, &local);
    return local.tm_gmtoff;
}

/// When the clocks are changed between the two, to the second.
std::time_t change_between(std::time_t low, std::time_t high) {
    const long before = offset_at(low);
    while (high - low > 1) {
        const std::time_t middle = low + (high - low) / 2;
        (offset_at(middle) == before ? low : high) = middle;
    }
    return high;
}

/// When the clock on the wall shows `at` on that day: the first time where it does so twice, and
/// where it never does, because the clocks are put forward over it, when that happens.
std::time_t local_time(std::tm day, daily_time at) {
    std::time_t found = -1;
    std::time_t near_by = -1;
    for (const int is_dst : {0, 1}) {
        std::tm wanted = day;
        wanted.tm_hour = at.hour;
        wanted.tm_min = at.minute;
        wanted.tm_sec = 0;
        wanted.tm_isdst = is_dst;
        const std::time_t when = std::mktime(&wanted);
        near_by = when;
        std::tm shown{};
        ::localtime_r(&when, &shown);
        if (shown.tm_hour == at.hour && shown.tm_min == at.minute && (found < 0 || when < found)) {
            found = when;
        }
    }
    constexpr std::time_t hours = 3600;
    return found >= 0 ? found : change_between(near_by - 6 * hours, near_by + 6 * hours);
}

std::time_t utc_time(std::tm day, daily_time at) {
    day.tm_hour = at.hour;
    day.tm_min = at.minute;
    day.tm_sec = 0;
    return ::timegm(&day);
}

time_point next_daily(time_point after, daily_time at) {
    // Seconds are enough; a part of one counts as the second that it is in.
    const auto now = static_cast<std::time_t>(
        std::chrono::floor<std::chrono::seconds>(after).time_since_epoch().count());
    std::tm today{};
    at.utc ? ::gmtime_r(&now, &today) : ::localtime_r(&now, &today);
    for (int days = 0;; ++days) {
        std::tm day = today;
        day.tm_mday += days; // which mktime(3) puts right
        const std::time_t when = at.utc ? utc_time(day, at) : local_time(day, at);
        if (when > now) {
            return system_clock::from_time_t(when);
        }
    }
}

} // namespace

time_point rotation_schedule::next(time_point after) const {
    time_point first = never;
    if (every_.count() > 0) {
        const auto passed = std::chrono::floor<std::chrono::seconds>(after.time_since_epoch());
        const auto last = std::chrono::floor<std::chrono::seconds>(never.time_since_epoch());
        const auto periods = passed / every_;
        if (periods < last / every_) { // otherwise no clock tells it any more
            first = time_point((periods + 1) * every_);
        }
    }
    if (daily_) {
        first = std::min(first, next_daily(after, *daily_));
    }
    return first;
}

} // namespace sapwood::detail
