// How an operation of poll_ring ends: by itself, with its completion and what is linked to it, or
// because it was cancelled.
#include "poll_ring_request.hpp"
#include "sqe_rules.hpp"

#include <cerrno>
#include <fcntl.h>
#include <utility>

namespace sapwood {

// --- completing ---

void poll_ring::take_performed(request& node) noexcept {
    if (node.performed_value() != detail::would_wait_for_a_peer) {
        finish(node, node.performed_value());
    } else if (node.is_interrupted) {
        finish(node, -ECANCELED);
    } else {
        give_to_peer_workers(node);
    }
}

/// The operation is over; what is linked to it starts or is cancelled.
void poll_ring::finish(request& node, std::int32_t value) noexcept {
    lists_->bucket(node.sqe.user_data).remove(node);
    node.where = request::place::none;
    node.value = value;
    request* rest = std::exchange(node.rest, nullptr);
    const bool is_broken = rest != nullptr && detail::breaks_chain(node.sqe, value);
    if (node.sqe.opcode == IORING_OP_TIMEOUT && node.last_completion != 0) {
        lists_->counted.remove(node);
    }
    post(node);
    if (rest != nullptr && !is_broken) {
        lists_->starting.push_front(*rest);
    }
    while (is_broken && rest != nullptr) {
        request& cancelled = *std::exchange(rest, rest->rest);
        cancelled.rest = nullptr;
        cancelled.value = -ECANCELED;
        post(cancelled);
    }
}

void poll_ring::post(request& node) noexcept {
    const bool is_counted = node.sqe.opcode != IORING_OP_TIMEOUT;
    if (node.value < 0 || (node.sqe.flags & IOSQE_CQE_SKIP_SUCCESS) == 0) {
        if (!lists_->overflow.empty() || is_full()) {
            lists_->overflow.push_back(node);
            return;
        }
        write_completion(node.sqe.user_data, node.value, 0);
    }
    lists_->free.push_front(node); // the warmest first
    ++free_count_;
    --in_flight_;
    if (!is_counted) {
        return;
    }
    ++completion_count_;
    for (request* timeout = lists_->counted.front(); timeout != nullptr;) {
        request* const next = lists::counted_list::after(*timeout);
        if (timeout->last_completion <= completion_count_) {
            timers_.remove(*timeout);
            finish(*timeout, 0);
        }
        timeout = next;
    }
}

void poll_ring::flush_overflow() noexcept {
    while (!lists_->overflow.empty() && !is_full()) {
        // One by one through an empty list, or post would only append it again.
        request& node = lists_->overflow.pop_front();
        write_completion(node.sqe.user_data, node.value, 0);
        lists_->free.push_front(node);
        ++free_count_;
        --in_flight_;
    }
}

// --- cancelling ---

std::int32_t poll_ring::cancel(const io_uring_sqe& sqe) noexcept {
    const unsigned flags = sqe.cancel_flags;
    const bool by_fd = (flags & IORING_ASYNC_CANCEL_FD) != 0;
    const bool any = (flags & IORING_ASYNC_CANCEL_ANY) != 0;
    const bool all = (flags & IORING_ASYNC_CANCEL_ALL) != 0 || any;
    if (by_fd && ::fcntl(sqe.fd, F_GETFD) < 0) {
        return -EBADF;
    }
    std::int32_t count = 0;
    const auto stop_in = [&](lists::bucket_list& bucket) -> std::int32_t {
        for (request* node = bucket.front(); node != nullptr;) {
            request* const next = lists::bucket_list::after(*node);
            const bool is_meant =
                node->where != request::place::none &&
                (any || (by_fd ? node->sqe.opcode != IORING_OP_TIMEOUT && node->sqe.fd == sqe.fd
                               : node->sqe.user_data == sqe.addr));
            if (is_meant) {
                const std::int32_t outcome = stop(*node);
                if (!all) {
                    return outcome;
                }
                ++count;
            }
            node = next;
        }
        return -ENOENT;
    };
    if (!by_fd && !any) {
        const std::int32_t outcome = stop_in(lists_->bucket(sqe.addr));
        return all ? count : outcome;
    }
    for (auto& bucket : lists_->buckets) {
        const std::int32_t outcome = stop_in(bucket);
        if (!all && outcome != -ENOENT) {
            return outcome;
        }
    }
    return all ? count : -ENOENT;
}

std::int32_t poll_ring::cancel_of_type(const io_uring_sqe& sqe, std::uint8_t opcode) noexcept {
    auto& bucket = lists_->bucket(sqe.addr);
    for (request* node = bucket.front(); node != nullptr; node = lists::bucket_list::after(*node)) {
        if (node->sqe.user_data == sqe.addr && node->sqe.opcode == opcode &&
            node->where != request::place::none) {
            return stop(*node);
        }
    }
    return -ENOENT;
}

/// Asks an operation to end. 0 if it has; -EALREADY if it will, or will not.
std::int32_t poll_ring::stop(request& node) noexcept {
    switch (node.where) {
    case request::place::none:
        break;
    case request::place::watched:
        readiness_.remove(node);
        finish(node, -ECANCELED);
        return 0;
    case request::place::timed:
        timers_.remove(node);
        finish(node, -ECANCELED);
        return 0;
    case request::place::disk_workers:
    case request::place::peer_workers: {
        if (node.sqe.opcode == IORING_OP_CLOSE) {
            return -EALREADY; // or the descriptor would be lost
        }
        if (node.is_interrupted) {
            return -EALREADY; // it is interrupted again in good time
        }
        auto& workers = node.where == request::place::disk_workers ? disk_workers_ : peer_workers_;
        if (workers.withdraw(node)) {
            finish(node, -ECANCELED);
            return 0;
        }
        workers.interrupt(node);
        node.is_interrupted = true;
        repeat_interrupts_after_ = interrupt_again_first;
        repeat_interrupts_at_ = now() + interrupt_again_first;
        return -EALREADY;
    }
    }
    return -ENOENT;
}

} // namespace sapwood
