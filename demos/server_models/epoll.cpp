// epoll: the kernel keeps the list, and returns only those that are ready, so that a call costs
// what there is to do and not how many are connected. Readiness is still all it tells: to read
// and to write are further calls.
#include "event_client.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <list>
#include <sys/epoll.h>
#include <unordered_map>

namespace server_models {

namespace {

class epoll_loop {
  public:
    explicit epoll_loop(const service& what)
        : what_(what),
          entrance_(what),
          epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
        if (epoll_.fd() < 0) {
            fail("cannot make an epoll");
        }
        watch(signals_.fd(), EPOLL_CTL_ADD, EPOLLIN);
        watch(entrance_.fd(), EPOLL_CTL_ADD, EPOLLIN);
    }

    void run() {
        std::array<epoll_event, 256> ready{};
        for (;;) {
            keep_door();
            const int count = ::epoll_wait(epoll_.fd(), ready.data(),
                                           static_cast<int>(ready.size()), entrance_.wait_ms_max());
            bool somebody_knocks = false;
            for (int i = 0; i < count; ++i) {
                const int fd = ready[static_cast<std::size_t>(i)].data.fd;
                if (fd == signals_.fd()) {
                    return;
                }
                if (fd == entrance_.fd()) {
                    somebody_knocks = true;
                } else {
                    serve(clients_.find(fd));
                }
            }
            if (somebody_knocks) { // last: a new client must not meet its predecessor's event
                let_in();
            }
        }
    }

  private:
    using client_map = std::unordered_map<int, event_client>;

    void watch(int fd, int how, unsigned events) const {
        epoll_event event{.events = events, .data = {.fd = fd}};
        if (::epoll_ctl(epoll_.fd(), how, fd, &event) != 0) {
            fail("cannot watch a descriptor by epoll");
        }
    }

    void serve(client_map::iterator at) {
        event_client& client = at->second;
        const bool wrote = client.wants_to_write();
        if (!client.on_ready()) {
            clients_.erase(at); // closing takes it out of the epoll as well
        } else if (client.wants_to_write() != wrote) {
            watch(client.fd(), EPOLL_CTL_MOD, wrote ? EPOLLIN : EPOLLOUT);
        }
    }

    void let_in() {
        while (descriptor client = entrance_.accept(true)) {
            const int fd = client.fd();
            watch(fd, EPOLL_CTL_ADD, EPOLLIN);
            clients_.try_emplace(fd, std::move(client), what_);
        }
    }

    /// A door that pauses is not watched: it would stay ready, and the loop would spin.
    void keep_door() {
        if (entrance_.is_open() != is_watched_) {
            is_watched_ = entrance_.is_open();
            watch(entrance_.fd(), EPOLL_CTL_MOD, is_watched_ ? EPOLLIN : 0u);
        }
    }

    const service& what_;
    const signal_watch signals_{SIGINT, SIGTERM};
    door entrance_;
    bool is_watched_ = true;
    const descriptor epoll_;
    client_map clients_;
};

} // namespace

void serve_by_epoll(const service& what) {
    epoll_loop(what).run();
}

} // namespace server_models
