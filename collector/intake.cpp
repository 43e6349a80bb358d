#include "intake.hpp"

#include "http_answers.hpp"

#include <sapwood/event_loop.hpp>
#include <sapwood/say.hpp>
#include <sapwood/wall_clock.hpp>

#include <algorithm>
#include <cstdint>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <system_error>
#include <utility>

namespace sapwood::collector {

intake::intake(const collector_limits& wanted)
    : limits(wanted),
      usual(wanted.json, wanted.decompression, 4 * long_body_bytes),
      long_body(wanted.json, wanted.decompression, body_limits{}.made_bytes_max) {
    look_at_clock();
}

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

intake::given intake::give_now(named_log& to, record& made) {
    const std::size_t bytes = made.message().size();
    try {
        auto handing_over = to.log().append(std::move(made));
        if (!handing_over.await_ready()) {
            return given::no_room;
        }
        note_given(to, handing_over.await_resume(), bytes);
    } catch (const std::system_error&) {
        return given::refused;
    }
    return given::taken;
}

bool intake::give_now(named_log& to, const record_view& made) noexcept {
    const lsn place = to.log().append_now(made);
    if (place == lsn::none) [[unlikely]] {
        return false;
    }
    note_given(to, place, made.size());
    return true;
}

void say(std::string_view what) {
    detail::say(what);
}

void intake::tell(std::string_view what) {
    const auto at = event_loop::current().now();
    if (at < may_tell_) {
        ++untold_;
        return;
    }
    may_tell_ = at + std::chrono::seconds(1);
    say(what);
    if (const auto left_out = std::exchange(untold_, 0); left_out > 0) {
        say(fmt::format("{} lines more of that kind were left out before", left_out));
    }
}

void intake::look_at_clock() {
    using namespace std::chrono;
    now = event_loop::current().now() + look_every;
    const auto second = floor<seconds>(wall_clock::now());
    if (second != date_second_) {
        date_ = fmt::format("Date: {:%a, %d %b %Y %H:%M:%S} GMT\r\n",
                            fmt::gmtime(system_clock::to_time_t(second)));
        date_second_ = second;
    }
}

std::string_view intake::usual_success(const http_interface& as, ack_level ack) {
    if (usual_of_ != &as || usual_ack_ != ack || usual_second_ != date_second_) {
        usual_.clear();
        http_answers::append({}, as.success(ack, {}), *this, usual_);
        usual_of_ = &as;
        usual_ack_ = ack;
        usual_second_ = date_second_;
    }
    return usual_;
}

} // namespace sapwood::collector
