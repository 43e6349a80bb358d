// Signals that hit this process all the time, with a handler that does not restart calls: what is
// interrupted ends with EINTR.
#pragma once

#include <atomic>
#include <csignal>
#include <sys/time.h>

namespace sapwood::test {

/// From its construction to its destruction SIGALRM comes about every 50 us. One at a time.
class signal_storm {
  public:
    signal_storm() {
        count = 0;

        struct sigaction action {};

        action.sa_handler = [](int) { ++count; };
        ::sigaction(SIGALRM, &action, &before_); // without SA_RESTART
        const itimerval often{{0, 50}, {0, 50}};
        ::setitimer(ITIMER_REAL, &often, nullptr);
    }

    signal_storm(const signal_storm&) = delete;
    signal_storm& operator=(const signal_storm&) = delete;

    ~signal_storm() {
        const itimerval never{};
        ::setitimer(ITIMER_REAL, &never, nullptr);
        ::sigaction(SIGALRM, &before_, nullptr);
    }

    /// How many have come.
    [[nodiscard]] int alarms() const noexcept { return count; }

  private:
    static inline std::atomic<int> count = 0;

    struct sigaction before_ {};
};

} // namespace sapwood::test
