#include "service_manager.hpp"

#include "environment.hpp"

#include <sapwood/sleep.hpp>
#include <sapwood/timeout.hpp>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <fmt/format.h>
#include <system_error>
#include <unistd.h>

namespace sapwood::collector {

namespace {

constexpr clock::duration telling_takes_at_most = std::chrono::seconds(1);

constexpr clock::duration longer_every = std::chrono::seconds(10);

std::int64_t microseconds(clock::duration of) noexcept {
    return std::chrono::duration_cast<std::chrono::microseconds>(of).count();
}

} // namespace

service_manager::service_manager() {
    const char* const place = std::getenv("NOTIFY_SOCKET");
    const std::string name = place != nullptr ? place : "";
    const std::uint64_t whose = number_in("WATCHDOG_PID");
    const std::uint64_t every = number_in("WATCHDOG_USEC");
    for (const char* each : {"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"}) {
        ::unsetenv(each);
    }
    if (name.empty()) {
        return;
    }
    try {
        to_ = name.front() == '@' ? endpoint::unix_abstract(std::string_view(name).substr(1))
                                  : endpoint::unix_path(name);
        socket_ = unix_datagram::make_unnamed();
    } catch (const std::system_error&) {
        to_.reset(); // nobody we could reach
    }
    if (whose == 0 || whose == static_cast<std::uint64_t>(::getpid())) {
        watchdog_ = std::chrono::microseconds(every);
    }
}

task<> service_manager::tell(std::string state) {
    if (to_) {
        const std::span<const char> bytes(state);
        const auto told =
            co_await as_result(timeout(telling_takes_at_most, socket_.send_to(bytes, *to_)));
        if (told.error() == std::errc::operation_canceled) {
            throw cancelled{}; // or who says something for ever would never end
        }
    }
}

task<> service_manager::tell_reloading() {
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    return tell(fmt::format("RELOADING=1\nMONOTONIC_USEC={}", microseconds(now)));
}

task<> service_manager::tell_stopping(clock::duration at_most) {
    return tell(fmt::format("STOPPING=1\nEXTEND_TIMEOUT_USEC={}", microseconds(at_most)));
}

task<> service_manager::keep_waiting() {
    while (to_) {
        co_await sleep_for(longer_every);
        co_await tell(fmt::format("EXTEND_TIMEOUT_USEC={}", microseconds(3 * longer_every)));
    }
}

task<> service_manager::keep_alive() {
    if (!to_ || watchdog_ <= clock::duration::zero()) {
        co_return;
    }
    for (;;) {
        co_await tell("WATCHDOG=1");
        co_await sleep_for(watchdog_ / 4);
    }
}

} // namespace sapwood::collector
