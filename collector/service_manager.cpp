#include "service_manager.hpp"

#include "environment.hpp"

#include <sapwood/sleep.hpp>

#include <cstdint>
#include <cstdlib>
#include <system_error>
#include <unistd.h>

namespace sapwood::collector {

service_manager::service_manager() {
    const char* const place = std::getenv("NOTIFY_SOCKET");
    if (place == nullptr || *place == '\0') {
        return;
    }
    const std::string_view name = place;
    try {
        to_ = name.front() == '@' ? endpoint::unix_abstract(name.substr(1))
                                  : endpoint::unix_path(name);
        socket_ = unix_datagram::make_unnamed();
    } catch (const std::system_error&) {
        to_.reset(); // nobody we could reach
    }
    ::unsetenv("NOTIFY_SOCKET");
    const std::uint64_t whose = number_in("WATCHDOG_PID");
    if (whose == 0 || whose == static_cast<std::uint64_t>(::getpid())) {
        watchdog_ = std::chrono::microseconds(number_in("WATCHDOG_USEC"));
    }
}

task<> service_manager::tell(std::string_view state) {
    if (to_) {
        (void)co_await as_result(socket_.send_to(std::span<const char>(state), *to_));
    }
}

task<> service_manager::keep_alive() {
    if (!to_ || watchdog_ <= clock::duration::zero()) {
        co_return;
    }
    for (;;) {
        co_await tell("WATCHDOG=1");
        co_await sleep_for(watchdog_ / 2);
    }
}

} // namespace sapwood::collector
