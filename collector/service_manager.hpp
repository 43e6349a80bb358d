// service_manager: tells systemd, or whoever has set NOTIFY_SOCKET, how a service is
// (sd_notify(3)). Without that variable it tells nobody. Loop thread only.
#pragma once

#include <sapwood/clock.hpp>
#include <sapwood/datagram.hpp>
#include <sapwood/endpoint.hpp>
#include <sapwood/task.hpp>

#include <optional>
#include <string>
#include <string_view>

namespace sapwood::collector {

class service_manager {
  public:
    /// Reads the environment, and takes what it uses out of it: it is not our children's.
    service_manager();

    /// `READY=1`, `STOPPING=1`, ..., a line each. What cannot be told within a second is no failure
    /// of the service.
    [[nodiscard]] task<> tell(std::string state);

    /// Settings are read again; `READY=1` ends it.
    [[nodiscard]] task<> tell_reloading();

    /// While it begins, which may take long after a crash: until it is cancelled, the manager waits
    /// on. Ends at once where there is none.
    [[nodiscard]] task<> keep_waiting();

    /// It ends, and may take so long.
    [[nodiscard]] task<> tell_stopping(clock::duration at_most);

    /// Tells that the loop lives, four times in each span that WATCHDOG_USEC gives, until it is
    /// cancelled. It is a task as all others: where the loop hangs, nothing is told. Ends at once
    /// where nobody waits for that.
    [[nodiscard]] task<> keep_alive();

  private:
    std::optional<endpoint> to_;
    unix_datagram socket_;
    clock::duration watchdog_{};
};

} // namespace sapwood::collector
