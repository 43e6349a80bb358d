// select: the kernel looks at every descriptor of three sets, and the loop looks at them again.
// The sets are arrays of 1024 bits, so no descriptor above 1023 can be watched, which is said to
// whoever comes too late; to set such a bit would write past the array.
#include "event_client.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <iterator>
#include <map>
#include <sys/select.h>

namespace server_models {

namespace {

/// The descriptors that are waited for, and afterwards those that are ready.
struct watched {
    fd_set inputs{};
    fd_set outputs{};
    fd_set exceptional{};
    int end = 0;

    void add(int fd, bool input, bool output) {
        if (input) {
            FD_SET(fd, &inputs);
        }
        if (output) {
            FD_SET(fd, &outputs);
        }
        FD_SET(fd, &exceptional);
        end = std::max(end, fd + 1);
    }

    [[nodiscard]] bool is_ready(int fd) const {
        return FD_ISSET(fd, &inputs) || FD_ISSET(fd, &outputs);
    }
};

/// Takes in as many as can be watched.
void let_in(door& entrance, std::map<int, event_client>& clients, const service& what) {
    while (descriptor client = entrance.accept(true)) {
        const int fd = client.fd();
        if (fd < FD_SETSIZE) {
            clients.try_emplace(fd, std::move(client), what);
            continue;
        }
        what.say("{} is turned away: select watches descriptors below {} only", peer_of(fd),
                 FD_SETSIZE);
        turn_away(fd, "this server is full: select watches descriptors below 1024 only\n");
    }
}

bool is_gone(event_client& client, const watched& now) {
    if (FD_ISSET(client.fd(), &now.exceptional)) { // urgent data, of which there is none here
        client.say_lost(EPROTO);
        return true;
    }
    return now.is_ready(client.fd()) && !client.on_ready();
}

} // namespace

void serve_by_select(const service& what) {
    static_assert(FD_SETSIZE == 1024, "it is told so");
    const signal_watch signals{SIGINT, SIGTERM};
    door entrance(what);
    what.say("select watches descriptors below {}: some {} clients at once", FD_SETSIZE,
             FD_SETSIZE - 1 - std::max(signals.fd(), entrance.fd()));
    if (std::max(signals.fd(), entrance.fd()) >= FD_SETSIZE) {
        errno = EMFILE;
        fail("cannot serve by select: the first 1024 descriptors are taken already");
    }
    std::map<int, event_client> clients;
    for (;;) {
        watched now;
        now.add(signals.fd(), true, false);
        if (entrance.is_open()) {
            now.add(entrance.fd(), true, false);
        }
        for (const auto& [fd, client] : clients) {
            now.add(fd, client.wants_to_read(), client.wants_to_write());
        }
        timeval at_most{.tv_sec = 0, .tv_usec = suseconds_t{1000} * entrance.wait_ms_max()};
        const int ready = ::select(now.end, &now.inputs, &now.outputs, &now.exceptional,
                                   at_most.tv_usec < 0 ? nullptr : &at_most);
        if (ready < 0) {
            continue; // a signal that is not ours; the sets say nothing
        }
        if (now.is_ready(signals.fd()) && signals.next() != 0) {
            return;
        }
        for (auto at = clients.begin(); at != clients.end();) {
            at = is_gone(at->second, now) ? clients.erase(at) : std::next(at);
        }
        if (now.is_ready(entrance.fd())) { // last: a number that was closed is not ready, but new
            let_in(entrance, clients, what);
        }
    }
}

} // namespace server_models
