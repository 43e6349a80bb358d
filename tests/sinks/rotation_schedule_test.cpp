// rotation_schedule: hours, days, and clocks that are put forward and back.
#include "rotation_schedule.hpp"

#include <cstdlib>
#include <ctime>
#include <doctest/doctest.h>
#include <fmt/chrono.h>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace std::chrono_literals;
using sapwood::daily_time;
using sapwood::detail::rotation_schedule;
using time_point = rotation_schedule::time_point;

/// `2026-03-29 00:30:00` of UTC.
time_point utc(const std::string& text) {
    std::tm parts{};
    REQUIRE(::strptime(text.c_str(), "%Y-%m-%d %H:%M:%S", &parts) != nullptr);
    return std::chrono::system_clock::from_time_t(::timegm(&parts));
}

std::string shown(time_point when) {
    return fmt::format("{:%Y-%m-%d %H:%M:%S}",
                       fmt::gmtime(std::chrono::system_clock::to_time_t(when)));
}

/// The machine is somewhere for a while.
class time_zone {
  public:
    explicit time_zone(const char* name) {
        if (const char* const before = std::getenv("TZ")) {
            before_ = before;
        }
        ::setenv("TZ", name, 1);
        ::tzset();
    }

    time_zone(const time_zone&) = delete;
    time_zone& operator=(const time_zone&) = delete;

    ~time_zone() {
        if (before_) {
            ::setenv("TZ", before_->c_str(), 1);
        } else {
            ::unsetenv("TZ");
        }
        ::tzset();
    }

  private:
    std::optional<std::string> before_;
};

/// The rules themselves, so that no zone's file is needed.
constexpr const char* berlin = "CET-1CEST,M3.5.0,M10.5.0/3";

/// The next `count` times after `after`.
std::vector<std::string> times(const rotation_schedule& schedule, const std::string& after,
                               int count) {
    std::vector<std::string> found;
    time_point at = utc(after);
    for (int i = 0; i < count; ++i) {
        at = schedule.next(at);
        found.push_back(shown(at));
    }
    return found;
}

using strings = std::vector<std::string>;

} // namespace

TEST_SUITE("rotation_schedule") {

    TEST_CASE("without a rule it is never time") {
        CHECK(rotation_schedule(0s, {}).next(utc("2026-11-26 14:00:00")) ==
              rotation_schedule::never);
    }

    TEST_CASE("an interval that is longer than clocks can tell never ends") {
        for (const auto every :
             {std::chrono::seconds::max(), std::chrono::seconds(400 * 366 * 24h)}) {
            CHECK(rotation_schedule(every, {}).next(utc("2026-11-26 14:00:00")) ==
                  rotation_schedule::never);
        }
    }

    TEST_CASE("multiples are counted in UTC, and what is on one belongs to the next") {
        const time_zone somewhere("XXX-5:45");
        CHECK(times(rotation_schedule(1h, {}), "2026-11-26 14:20:01", 2) ==
              strings{"2026-11-26 15:00:00", "2026-11-26 16:00:00"});
        CHECK(times(rotation_schedule(15min, {}), "2026-11-26 23:50:00", 2) ==
              strings{"2026-11-27 00:00:00", "2026-11-27 00:15:00"});
        CHECK(shown(rotation_schedule(1h, {}).next(utc("2026-11-26 15:00:00") - 1ns)) ==
              "2026-11-26 15:00:00");
        CHECK(shown(rotation_schedule(1h, {}).next(utc("2026-11-26 15:00:00") + 1ns)) ==
              "2026-11-26 16:00:00");
    }

    TEST_CASE("a time of day comes once a day, in UTC or local") {
        const time_zone somewhere(berlin);
        CHECK(times(rotation_schedule(0s, daily_time{.hour = 4, .minute = 30, .utc = true}),
                    "2026-12-30 04:30:00",
                    2) == strings{"2026-12-31 04:30:00", "2027-01-01 04:30:00"});
        CHECK(times(rotation_schedule(0s, daily_time{.hour = 0}), "2026-12-30 22:59:59", 2) ==
              strings{"2026-12-30 23:00:00", "2026-12-31 23:00:00"});
    }

    TEST_CASE("of an interval and a time of day the first counts") {
        CHECK(times(rotation_schedule(12h, daily_time{.hour = 6, .minute = 0, .utc = true}),
                    "2026-11-26 00:00:00",
                    4) == strings{"2026-11-26 06:00:00", "2026-11-26 12:00:00",
                                  "2026-11-27 00:00:00", "2026-11-27 06:00:00"});
    }

    TEST_CASE("days are 23 and 25 hours long where the clocks are changed") {
        const time_zone somewhere(berlin);
        const rotation_schedule midnight(0s, daily_time{});
        CHECK(times(midnight, "2026-03-28 12:00:00", 3) ==
              strings{"2026-03-28 23:00:00", "2026-03-29 22:00:00", "2026-03-30 22:00:00"});
        CHECK(times(midnight, "2026-10-24 12:00:00", 3) ==
              strings{"2026-10-24 22:00:00", "2026-10-25 23:00:00", "2026-10-26 23:00:00"});
    }

    TEST_CASE("a time that the clocks show twice is met once, the first time") {
        const time_zone somewhere(berlin);
        const rotation_schedule half_past_two(0s, daily_time{.hour = 2, .minute = 30});
        CHECK(times(half_past_two, "2026-10-24 12:00:00", 2) ==
              strings{"2026-10-25 00:30:00", "2026-10-26 01:30:00"});
        // In between, and after the second time.
        CHECK(times(half_past_two, "2026-10-25 01:00:00", 1) == strings{"2026-10-26 01:30:00"});
        CHECK(times(half_past_two, "2026-10-25 01:30:00", 1) == strings{"2026-10-26 01:30:00"});
    }

    TEST_CASE("a time that the clocks pass over is when they are put forward") {
        const time_zone somewhere(berlin);
        const rotation_schedule half_past_two(0s, daily_time{.hour = 2, .minute = 30});
        CHECK(times(half_past_two, "2026-03-28 12:00:00", 2) ==
              strings{"2026-03-29 01:00:00", "2026-03-30 00:30:00"});
    }

    TEST_CASE("where summer is the standard time, it is the same") {
        const time_zone somewhere("IST-1GMT0,M10.5.0,M3.5.0/1");
        const rotation_schedule half_past_one(0s, daily_time{.hour = 1, .minute = 30});
        CHECK(times(half_past_one, "2026-10-24 12:00:00", 2) ==
              strings{"2026-10-25 00:30:00", "2026-10-26 01:30:00"});
        CHECK(times(half_past_one, "2026-03-28 12:00:00", 2) ==
              strings{"2026-03-29 01:00:00", "2026-03-30 00:30:00"});
    }
}
