#include "intake.hpp"

#include <sapwood/event_loop.hpp>
#include <sapwood/wall_clock.hpp>

#include <cstdio>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <utility>

namespace sapwood::collector {

namespace {

constexpr std::size_t spare_max = 64;
constexpr std::size_t usual_records = 1024;

} // namespace

named_log* intake::find(std::string_view name) noexcept {
    if (name.empty()) {
        return logs.empty() ? nullptr : &logs.front();
    }
    for (named_log& each : logs) {
        if (each.name() == name) {
            return &each;
        }
    }
    return nullptr;
}

const named_log* intake::refusing_log() const noexcept {
    for (const named_log& each : logs) {
        if (each.log().health().is_degraded()) {
            return &each;
        }
    }
    return nullptr;
}

std::vector<record> intake::take_records() {
    if (spare_.empty()) {
        return {};
    }
    std::vector<record> records = std::move(spare_.back());
    spare_.pop_back();
    return records;
}

void intake::keep_records(std::vector<record>&& used) noexcept {
    used.clear();
    if (spare_.size() < spare_max && used.capacity() <= usual_records) {
        try {
            spare_.push_back(std::move(used));
        } catch (const std::bad_alloc&) {
            return; // then it is made anew
        }
    }
}

void intake::tell(std::string_view what) {
    const auto now = event_loop::current().now();
    if (now < may_tell_) {
        ++untold_;
        return;
    }
    may_tell_ = now + std::chrono::seconds(1);
    fmt::print(stderr, "sapwood: {}\n", what);
    if (const auto left_out = std::exchange(untold_, 0); left_out > 0) {
        fmt::print(stderr, "sapwood: {} lines more of that kind were left out before\n", left_out);
    }
}

std::string_view intake::date_field() {
    using namespace std::chrono;
    const auto second = floor<seconds>(wall_clock::now());
    if (second != date_second_) {
        date_second_ = second;
        date_ = fmt::format("Date: {:%a, %d %b %Y %H:%M:%S} GMT\r\n",
                            fmt::gmtime(system_clock::to_time_t(second)));
    }
    return date_;
}

} // namespace sapwood::collector
