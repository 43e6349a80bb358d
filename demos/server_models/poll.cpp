// poll: as select, with a list of any length instead of sets of 1024. The kernel still walks the
// whole list at every call, and so does the loop, however few are ready.
#include "event_client.hpp"

#include <csignal>
#include <poll.h>
#include <vector>

namespace server_models {

void serve_by_poll(const service& what) {
    const signal_watch signals{SIGINT, SIGTERM};
    door entrance(what);
    constexpr std::size_t first_client = 2;
    std::vector<event_client> clients;
    std::vector<pollfd> watched; // of the signals, of the door, and of each client
    for (;;) {
        watched.assign(
            {{.fd = signals.fd(), .events = POLLIN, .revents = 0},
             // A negative descriptor is skipped.
             {.fd = entrance.is_open() ? entrance.fd() : -1, .events = POLLIN, .revents = 0}});
        for (const auto& client : clients) {
            watched.push_back(
                {.fd = client.fd(),
                 .events = static_cast<short>(client.wants_to_write() ? POLLOUT : POLLIN),
                 .revents = 0});
        }
        if (::poll(watched.data(), watched.size(), entrance.wait_ms_max()) < 0) {
            continue;
        }
        if (watched[0].revents != 0 && signals.next() != 0) {
            return;
        }
        // Backwards, so that the last one may take the place of one that is gone.
        for (std::size_t i = clients.size(); i-- > 0;) {
            if (watched[first_client + i].revents != 0 && !clients[i].on_ready()) {
                std::swap(clients[i], clients.back());
                clients.pop_back();
            }
        }
        if (watched[1].revents != 0) {
            while (descriptor client = entrance.accept(true)) {
                clients.emplace_back(std::move(client), what);
            }
        }
    }
}

} // namespace server_models
