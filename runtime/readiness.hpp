// Who waits for which descriptor to become readable or writable, over one epoll. Any number may
// wait on one descriptor; they are served in the order in which they came. A descriptor must stay
// open while somebody waits on it. Loop thread only.
#pragma once

#include <sapwood/intrusive_list.hpp>

#include <sapwood/clock.hpp>

#include <array>
#include <cstdint>
#include <deque>
#include <span>
#include <sys/epoll.h>

namespace sapwood::detail {

class readiness {
  public:
    /// Lives with whoever waits.
    class waiting {
      public:
        waiting() = default;
        waiting(const waiting&) = delete;
        waiting& operator=(const waiting&) = delete;

        /// EPOLLIN and so on: what is waited for. Errors and hang-ups come unasked.
        [[nodiscard]] std::uint32_t events() const noexcept { return events_; }

      protected:
        ~waiting() = default;

      private:
        friend class readiness;
        list_links<waiting> links_;
        int fd_ = -1;
        std::uint32_t events_ = 0;
        bool is_standing_ = false;
    };

    /// Throws std::system_error.
    readiness();
    readiness(const readiness&) = delete;
    readiness& operator=(const readiness&) = delete;
    ~readiness();

    /// Waits for `events` on `fd` from now on. Returns 0 or a negative errno: -EPERM where the
    /// descriptor has no readiness to wait for.
    [[nodiscard]] std::int32_t add(waiting& node, int fd, std::uint32_t events) noexcept;

    /// The same for one that stays when it got what it waited for, and is removed before the
    /// descriptor is closed: epoll is not asked anew each time.
    [[nodiscard]] std::int32_t add_standing(waiting& node, int fd, std::uint32_t events) noexcept;

    void remove(waiting& node) noexcept;

    /// Nobody waits on `fd` and it is about to be closed.
    void forget(int fd) noexcept;

    /// Whether anybody waits.
    [[nodiscard]] bool any() const noexcept { return waiting_count_ != 0; }

    /// Wakes the wait whenever `fd` becomes readable, and means nothing else.
    void watch_doorbell(int fd);

    /// Sleeps until something is ready or `until` has come, clock::time_point::min() for not at
    /// all, or until a signal.
    void wait(clock::time_point until) noexcept;

    /// After wait: calls `attempt(waiting&, events)` for those whose time it may be. It returns
    /// whether it got what it waited for, after having removed that node, unless it is a standing
    /// one that goes on, and no other.
    template <class F>
    void serve(F&& attempt) {
        for (const epoll_event& event : std::span(events_).first(ready_count_)) {
            if (event.data.fd == doorbell_) {
                continue;
            }
            watch& on = by_fd_[static_cast<std::size_t>(event.data.fd)];
            if (!on.is_standing) {
                on.armed = 0; // one event disarms it
            }
            std::uint32_t in_vain = 0;
            for (waiting* node = on.waiters.front(); node != nullptr;) {
                waiting* const next = waiting_list::after(*node);
                const bool is_due = (event.events & (node->events_ | EPOLLERR | EPOLLHUP)) != 0;
                if (is_due && (node->events_ & in_vain) == 0 && !attempt(*node, event.events)) {
                    in_vain |= node->events_; // those behind it must not overtake
                }
                node = next;
            }
            // It was armed before, so nothing can be wrong with it now.
            (void)arm(event.data.fd);
        }
        ready_count_ = 0;
    }

  private:
    using waiting_list = intrusive_list<waiting, &waiting::links_>;

    struct watch {
        waiting_list waiters;
        /// What epoll will tell, once.
        std::uint32_t armed = 0;
        /// Or always.
        bool is_standing = false;
    };

    [[nodiscard]] std::int32_t add_any(waiting& node, int fd, std::uint32_t events) noexcept;
    [[nodiscard]] std::int32_t arm(int fd) noexcept;

    const int epoll_fd_;
    int doorbell_ = -1;
    /// By descriptor. A deque, because it grows without moving what is there.
    std::deque<watch> by_fd_;
    std::size_t waiting_count_ = 0;
    std::array<epoll_event, 64> events_{};
    std::size_t ready_count_ = 0;
    /// epoll_pwait2 (5.11) was refused: wait with ppoll.
    bool lacks_pwait2_ = false;
};

} // namespace sapwood::detail
