// A ring without a loop: SQEs go in one by one and completions are looked at one by one, on
// poll_ring and, for comparison, on the kernel's. With what such tests have in common.
#pragma once

#include "poll_ring.hpp"
#include "uring_ring.hpp"

#include <array>
#include <cstdint>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string_view>
#include <system_error>
#include <unistd.h>
#include <utility>
#include <vector>

namespace sapwood::test {

/// So long that only a hang gets there.
inline constexpr auto patience = std::chrono::seconds(20);

/// Submits SQEs and collects their completions by user_data.
class driver {
  public:
    explicit driver(ring& ring) : ring_(ring) {}

    template <class Prepare>
    void stage(std::uint64_t user_data, Prepare&& prepare, unsigned flags = 0) {
        io_uring_sqe* sqe = ring_.next_sqe();
        while (sqe == nullptr) {
            turn(ring::dont_wait);
            sqe = ring_.next_sqe();
        }
        prepare(sqe);
        sqe->flags = static_cast<__u8>(sqe->flags | flags);
        sqe->user_data = user_data;
    }

    void stage_read(std::uint64_t user_data, int fd, std::span<char> into,
                    std::uint64_t offset = static_cast<std::uint64_t>(-1), unsigned flags = 0) {
        stage(
            user_data,
            [&](io_uring_sqe* sqe) {
                ::io_uring_prep_read(sqe, fd, into.data(), static_cast<unsigned>(into.size()),
                                     offset);
            },
            flags);
    }

    void stage_write(std::uint64_t user_data, int fd, std::span<const char> bytes,
                     std::uint64_t offset = static_cast<std::uint64_t>(-1), unsigned flags = 0) {
        stage(
            user_data,
            [&](io_uring_sqe* sqe) {
                ::io_uring_prep_write(sqe, fd, bytes.data(), static_cast<unsigned>(bytes.size()),
                                      offset);
            },
            flags);
    }

    void stage_nop(std::uint64_t user_data, unsigned flags = 0) {
        stage(
            user_data, [](io_uring_sqe* sqe) { ::io_uring_prep_nop(sqe); }, flags);
    }

    void stage_cancel(std::uint64_t user_data, std::uint64_t target, int flags = 0) {
        stage(user_data, [&](io_uring_sqe* sqe) { ::io_uring_prep_cancel64(sqe, target, flags); });
    }

    void turn(clock::time_point until) {
        ring_.enter(until);
        collect();
    }

    /// Waits for the completion and gives its result.
    std::int32_t result_of(std::uint64_t user_data) {
        const auto give_up = clock::now() + patience;
        while (!results_.contains(user_data)) {
            if (clock::now() > give_up) {
                FAIL("no completion came for user_data " << user_data);
            }
            turn(give_up);
        }
        const auto at = results_.find(user_data);
        const std::int32_t value = at->second;
        results_.erase(at);
        return value;
    }

    /// Whether the ring, entered, still has no completion for it.
    bool is_pending(std::uint64_t user_data) {
        turn(ring::dont_wait);
        return !results_.contains(user_data);
    }

    /// In the order in which they came.
    const std::vector<std::uint64_t>& order() const { return order_; }

  private:
    void collect() {
        ring_.reap([this](std::uint64_t user_data, std::int32_t value, std::uint32_t) {
            CHECK_MESSAGE(!results_.contains(user_data), "a second completion of one operation");
            results_[user_data] = value;
            order_.push_back(user_data);
        });
    }

    ring& ring_;
    std::map<std::uint64_t, std::int32_t> results_;
    std::vector<std::uint64_t> order_;
};

/// Runs `body` on poll_ring and, where this machine has it, on io_uring.
inline void on_both_rings(const std::function<void(driver&)>& body) {
    SUBCASE("on epoll and threads") {
        poll_ring ring(poll_ring::options{});
        driver on(ring);
        body(on);
    }
    SUBCASE("on io_uring") {
        std::optional<uring_ring> ring;
        try {
            ring.emplace(uring_ring::options{});
        } catch (const std::system_error& refused) {
            MESSAGE("not compared with the kernel: " << refused.what());
            return;
        }
        driver on(*ring);
        body(on);
    }
}

inline void on_poll_ring(const std::function<void(driver&)>& body) {
    poll_ring ring(poll_ring::options{});
    driver on(ring);
    body(on);
}

class descriptor {
  public:
    explicit descriptor(int fd) : fd_(fd) { REQUIRE(fd >= 0); }

    descriptor(const descriptor&) = delete;
    descriptor& operator=(const descriptor&) = delete;

    ~descriptor() { close(); }

    void close() {
        if (fd_ >= 0) {
            ::close(std::exchange(fd_, -1));
        }
    }

    operator int() const { return fd_; }

  private:
    int fd_;
};

struct pipe_ends {
    static std::array<int, 2> make() {
        std::array<int, 2> ends{};
        REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
        return ends;
    }

    explicit pipe_ends(std::array<int, 2> ends = make()) : read(ends[0]), write(ends[1]) {}

    descriptor read;
    descriptor write;
};

inline std::string_view text(const std::array<char, 64>& bytes, std::int32_t size) {
    return {bytes.data(), static_cast<std::size_t>(std::max(size, 0))};
}

/// What a cancelled open of a FIFO gives: io_uring shows the kernel's own ERESTARTSYS.
inline bool is_broken_off(std::int32_t value) {
    return value == -ECANCELED || value == -EINTR || value == -512;
}

} // namespace sapwood::test
