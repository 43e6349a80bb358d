#include "opcode_fallback.hpp"

#include "sqe_calls.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <fcntl.h>
#include <new>
#include <poll.h>
#include <unistd.h>
#include <utility>

namespace sapwood {

struct opcode_fallback::request final : worker_pool::job {
    request() = default;

    ~request() {
        close_end(0);
        close_end(1);
    }

    std::int32_t perform() noexcept override {
        do {
            value = detail::perform(sqe, true);
        } while (value == -EINTR && !is_interrupted());
        if (value >= 0) {
            (void)!::write(ends[1], "", 1);
        }
        end();
        return value;
    }

    void end() noexcept {
        is_done.store(true, std::memory_order_release);
        close_end(1); // without a byte the read is short, which breaks a chain
    }

    void close_end(std::size_t end) noexcept {
        if (ends[end] >= 0) {
            ::close(std::exchange(ends[end], -1));
        }
    }

    void prepare_stand_in(io_uring_sqe& into) noexcept {
        if (sqe.opcode == detail::opcode_waitid) {
            ::io_uring_prep_poll_add(&into, sqe.fd, POLLIN);
            into.user_data = sqe.user_data;
            return;
        }
        ::io_uring_prep_read(&into, ends[0], &byte, 1, 0);
        into.user_data = sqe.user_data;
    }

    std::array<int, 2> ends{-1, -1};
    char byte = 0;
    std::int32_t value = 0;
    std::atomic<bool> is_done{false};
    /// The pool has let go of it, or never had it.
    bool is_free = false;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic" // the header's array of no size at the end
    io_uring_sqe sqe{};
#pragma GCC diagnostic pop
};

opcode_fallback::opcode_fallback(std::uint64_t missing)
    : missing_(missing),
      workers_({.threads_max = 4, .file_running_max = 2, .path_running_max = 2}, unused_bell_) {}

opcode_fallback::~opcode_fallback() = default;

bool opcode_fallback::knows(std::uint8_t opcode) noexcept {
    return detail::is_performed(opcode) || opcode == detail::opcode_waitid;
}

void opcode_fallback::replace(io_uring_sqe& sqe) noexcept {
    drop_finished();
    // Not ASYNC: a read that a kernel worker is about to begin can escape its cancel.
    const auto flags = static_cast<__u8>(sqe.flags & ~IOSQE_ASYNC);
    try {
        auto made = std::make_unique<request>();
        request& node = *made;
        node.sqe = sqe;
        in_flight_[sqe.user_data] = std::move(made);
        if (sqe.opcode == detail::opcode_waitid) {
            node.is_free = true; // no thread ever has it
            node.prepare_stand_in(sqe);
            sqe.flags = flags;
            return;
        }
        const detail::descriptor on = sqe.fd >= 0 ? detail::look_at(sqe.fd) : detail::descriptor{};
        std::int32_t refused = 0;
        if (::pipe2(node.ends.data(), O_CLOEXEC) == 0) {
            node.prepare_stand_in(sqe);
            refused = workers_.submit(node, {.device = on.device, .inode = on.inode}, true);
        } else {
            refused = -errno;
            ::io_uring_prep_nop(&sqe);
            sqe.user_data = node.sqe.user_data;
        }
        if (refused != 0) {
            node.value = refused;
            node.is_free = true;
            node.end();
        }
    } catch (const std::bad_alloc&) {
        return; // the kernel says EINVAL, as it would without us
    }
    sqe.flags = flags;
}

std::optional<std::int32_t> opcode_fallback::result(std::uint64_t user_data,
                                                    std::int32_t value) noexcept {
    const auto at = in_flight_.find(user_data);
    if (at == in_flight_.end()) {
        return value;
    }
    request& node = *at->second;
    if (node.sqe.opcode == detail::opcode_waitid) {
        // Cancelled or refused; or the pidfd is readable, and the process is there to be reaped.
        const std::int32_t outcome = value < 0 ? value : detail::try_wait(node.sqe);
        if (outcome == -EAGAIN) {
            try {
                to_resume_.push_back(&node);
                return std::nullopt;
            } catch (const std::bad_alloc&) {
                // It is told as it is; the caller may ask again.
            }
        }
        in_flight_.erase(at);
        return outcome;
    }
    if (!node.is_done.load(std::memory_order_acquire)) {
        // The stand-in was cancelled, and that is all the kernel can do.
        if (workers_.withdraw(node)) {
            node.is_free = true;
            node.value = -ECANCELED;
        } else {
            workers_.interrupt(node);
            try {
                to_resume_.push_back(&node);
                return std::nullopt;
            } catch (const std::bad_alloc&) {
                // Wait for it here; nothing else can be done for it.
                while (!node.is_done.load(std::memory_order_acquire)) {
                    (void)workers_.repeat_interrupts();
                }
            }
        }
    }
    const std::int32_t outcome = node.value;
    if (!node.is_free) {
        try {
            told_.push_back(std::move(at->second));
        } catch (const std::bad_alloc&) {
            (void)at->second.release(); // a leak, instead of memory that a worker still uses
        }
    }
    in_flight_.erase(at);
    drop_finished();
    return outcome;
}

void opcode_fallback::resume(io_uring_sqe& sqe) noexcept {
    request& node = *to_resume_.back();
    to_resume_.pop_back();
    node.prepare_stand_in(sqe);
}

void opcode_fallback::drop_finished() noexcept {
    workers_.take_finished(
        [](worker_pool::job& job) { static_cast<request&>(job).is_free = true; });
    std::erase_if(told_, [](const auto& node) { return node->is_free; });
}

} // namespace sapwood
