#include "log_time.hpp"

#include <charconv>
#include <chrono>
#include <cstring>
#include <fmt/format.h>
#include <stdexcept>

namespace sapwood::tools {

namespace {

constexpr std::int64_t seconds_per_day = 86'400;
constexpr int fraction_digits_max = 9;

[[nodiscard]] bool is_digit(char c) noexcept {
    return c >= '0' && c <= '9';
}

/// Two digits; a large number where they are none.
[[nodiscard]] unsigned two(const char* at) noexcept {
    const auto tens = static_cast<unsigned char>(at[0] - '0');
    const auto ones = static_cast<unsigned char>(at[1] - '0');
    return tens > 9 || ones > 9 ? 1000u : tens * 10u + ones;
}

/// The nanosecond at which the day `2026-11-21` begins.
[[nodiscard]] std::optional<std::int64_t> day_begin(const char* at) noexcept {
    using namespace std::chrono;
    const unsigned century = two(at);
    const unsigned of_century = two(at + 2);
    const unsigned month_number = two(at + 5);
    const unsigned day_number = two(at + 8);
    if (century >= 1000 || of_century >= 1000 || at[4] != '-' || at[7] != '-') {
        return std::nullopt;
    }
    const year_month_day date(year(static_cast<int>(century * 100 + of_century)),
                              month(month_number), day(day_number));
    // Nanoseconds end in 2262.
    if (!date.ok() || date.year() < year(1970) || date.year() > year(2261)) {
        return std::nullopt;
    }
    return sys_days(date).time_since_epoch().count() * seconds_per_day * nanoseconds_per_second;
}

/// Takes `Z`, `+01:00` or `-0330`; what it is to be put back by.
[[nodiscard]] std::int64_t take_zone(std::string_view& text) noexcept {
    if (text.starts_with('Z')) {
        text.remove_prefix(1);
        return 0;
    }
    if (text.size() < 5 || (text[0] != '+' && text[0] != '-')) {
        return 0;
    }
    const std::size_t minutes_at = text[3] == ':' ? 4 : 3;
    if (text.size() < minutes_at + 2) {
        return 0;
    }
    const unsigned hours = two(text.data() + 1);
    const unsigned minutes = two(text.data() + minutes_at);
    if (hours > 24 || minutes > 59) {
        return 0;
    }
    const std::int64_t offset = std::int64_t{hours * 3600 + minutes * 60} * nanoseconds_per_second;
    const bool is_east = text[0] == '+';
    text.remove_prefix(minutes_at + 2);
    return is_east ? offset : -offset;
}

} // namespace

std::optional<std::int64_t> time_reader::take(std::string_view& text) noexcept {
    constexpr std::string_view form = "2026-11-21 22:39:56";
    if (text.size() < form.size()) {
        return std::nullopt;
    }
    const char* const at = text.data();
    if (std::memcmp(at, day_, sizeof(day_)) != 0) {
        const auto begin = day_begin(at);
        if (!begin) {
            return std::nullopt;
        }
        std::memcpy(day_, at, sizeof(day_));
        day_begin_ = *begin;
    }
    const unsigned hour = two(at + 11);
    const unsigned minute = two(at + 14);
    const unsigned second = two(at + 17);
    if ((at[10] != ' ' && at[10] != 'T') || at[13] != ':' || at[16] != ':' || hour > 23 ||
        minute > 59 || second > 60) {
        return std::nullopt;
    }
    std::int64_t ns =
        day_begin_ + std::int64_t{(hour * 60 + minute) * 60 + second} * nanoseconds_per_second;
    std::string_view rest = text.substr(form.size());
    if (rest.size() > 1 && (rest[0] == '.' || rest[0] == ',') && is_digit(rest[1])) {
        std::int64_t unit = nanoseconds_per_second / 10;
        std::size_t i = 1;
        for (; i < rest.size() && i <= fraction_digits_max && is_digit(rest[i]); ++i, unit /= 10) {
            ns += (rest[i] - '0') * unit;
        }
        rest.remove_prefix(i);
    }
    ns -= take_zone(rest);
    text = rest;
    return ns;
}

std::optional<std::int64_t> time_since_epoch(double number) noexcept {
    if (!(number > 0)) { // NaN is not, either
        return std::nullopt;
    }
    constexpr double seconds_max = 9e9;
    double unit = 1e9;
    while (number > seconds_max * (1e9 / unit) && unit > 1) {
        unit /= 1000;
    }
    const double ns = number * unit;
    return ns < 9.2e18 ? std::optional(static_cast<std::int64_t>(ns)) : std::nullopt;
}

std::optional<std::int64_t> time_since_epoch(std::string_view number) noexcept {
    const char* const end = number.data() + number.size();
    double value = 0;
    const auto read = std::from_chars(number.data(), end, value);
    return read.ec == std::errc() && read.ptr == end ? time_since_epoch(value) : std::nullopt;
}

std::int64_t parse_when(std::string_view text, std::int64_t now) {
    std::string whole(text);
    if (whole.size() == 10 && whole[4] == '-') {
        whole += " 00:00:00";
    } else if (whole.size() == 16 && whole[13] == ':') {
        whole += ":00";
    }
    std::string_view rest = whole;
    time_reader reader;
    if (const auto when = reader.take(rest); when && rest.empty()) {
        return *when;
    }
    const bool is_since_epoch = text.starts_with('@');
    const std::string_view digits = text.substr(is_since_epoch ? 1 : 0);
    std::int64_t number = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    const std::string_view unit(end, static_cast<std::size_t>(digits.data() + digits.size() - end));
    const std::int64_t seconds = is_since_epoch ? (unit.empty() ? 1 : 0)
                                 : unit == "s"  ? 1
                                 : unit == "m"  ? 60
                                 : unit == "h"  ? 3600
                                 : unit == "d"  ? seconds_per_day
                                                : 0;
    constexpr std::int64_t seconds_max = 9'000'000'000;
    if (error != std::errc() || seconds == 0 || number < 0 || number > seconds_max / seconds) {
        throw std::invalid_argument(fmt::format(
            "'{}' is no time: give 2026-11-21, 2026-11-21 22:39, 2026-11-21T22:39:56.123+01:00 "
            "(UTC where it names no zone), 90s, 10m, 2h or 7d before now, or @1795300796",
            text));
    }
    const std::int64_t span = number * seconds * nanoseconds_per_second;
    return is_since_epoch ? span : now - span;
}

std::string time_text(std::int64_t ns, int digits, char between) {
    using namespace std::chrono;
    const auto second = floor<seconds>(sys_time<nanoseconds>(nanoseconds(ns)));
    const auto day = floor<days>(second);
    const year_month_day date(day);
    const hh_mm_ss time(second - day);
    std::string text =
        fmt::format("{:04}-{:02}-{:02}{}{:02}:{:02}:{:02}", int(date.year()),
                    unsigned(date.month()), unsigned(date.day()), between, time.hours().count(),
                    time.minutes().count(), time.seconds().count());
    if (digits > 0) {
        const auto fraction = ns - second.time_since_epoch().count() * nanoseconds_per_second;
        text += '.';
        text += fmt::format("{:09}", fraction).substr(0, static_cast<std::size_t>(digits));
    }
    return text;
}

} // namespace sapwood::tools
