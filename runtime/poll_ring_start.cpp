// How poll_ring begins what an SQE asks for: a call that does not block, then the wait for its
// descriptor, a thread, or a timer.
#include "poll_ring_request.hpp"
#include "sqe_rules.hpp"

#include <cerrno>
#include <chrono>
#include <new>
#include <poll.h>
#include <sys/socket.h>

namespace sapwood {

namespace {

using detail::descriptor;

/// Of a multishot: nothing is left to receive.
constexpr std::int32_t ended_well = 1;

/// Linux numbers the events of poll(2) and epoll alike.
constexpr std::uint32_t events_of_disks = POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM;

} // namespace

void poll_ring::begin(request& node) noexcept {
    switch (node.sqe.opcode) {
    case IORING_OP_NOP:
        finish(node, 0);
        return;
    case IORING_OP_ASYNC_CANCEL:
        finish(node, cancel(node.sqe));
        return;
    case IORING_OP_POLL_REMOVE:
        finish(node, cancel_of_type(node.sqe, IORING_OP_POLL_ADD));
        return;
    case IORING_OP_TIMEOUT_REMOVE:
        finish(node, cancel_of_type(node.sqe, IORING_OP_TIMEOUT));
        return;
    case IORING_OP_TIMEOUT:
        begin_timeout(node);
        return;
    case IORING_OP_POLL_ADD:
        begin_poll(node);
        return;
    case detail::opcode_waitid:
        begin_wait(node);
        return;
    case IORING_OP_SHUTDOWN:
        finish(node, detail::perform(node.sqe, false)); // which waits for nobody
        return;
    default:
        if (detail::is_multishot(node.sqe)) {
            begin_multishot(node);
        } else if (detail::is_socket_call(node.sqe.opcode)) {
            begin_socket_call(node);
        } else if (detail::is_transfer(node.sqe.opcode)) {
            begin_transfer(node);
        } else {
            begin_performed(node);
        }
        return;
    }
}

void poll_ring::begin_socket_call(request& node) noexcept {
    const std::int32_t value = detail::try_socket_call(node.sqe);
    const bool is_connect = node.sqe.opcode == IORING_OP_CONNECT;
    if (value == -EOPNOTSUPP && (is_connect || node.sqe.opcode == IORING_OP_ACCEPT)) {
        give_to_peer_workers(node);
        return;
    }
    // EAGAIN of a connect is a Unix socket whose listener has no room: there is no event for it, so
    // who asks without blocking is told.
    const bool would_block = value == (is_connect ? -EINPROGRESS : -EAGAIN);
    if (!would_block || (node.sqe.msg_flags & MSG_DONTWAIT) != 0) {
        finish(node, value);
        return;
    }
    node.where = request::place::watched;
    const std::int32_t refused =
        readiness_.add(node, node.sqe.fd, detail::awaited_events(node.sqe));
    if (refused != 0) {
        finish(node, refused);
    }
}

void poll_ring::begin_multishot(request& node) noexcept {
    const std::int32_t value = attempt_multishot(node);
    if (value != 0) {
        finish(node, value == ended_well ? 0 : value);
        return;
    }
    node.where = request::place::watched;
    const std::int32_t refused = readiness_.add_standing(node, node.sqe.fd, EPOLLIN);
    if (refused != 0) {
        finish(node, refused);
    }
}

/// A call for each event, as a loop over epoll would make it: with more there, epoll tells again.
/// Returns 0 while it goes on, otherwise what it ends with, or ended_well.
std::int32_t poll_ring::attempt_multishot(const request& node) noexcept {
    if (is_full()) {
        return 0; // epoll tells again
    }
    std::uint32_t flags = IORING_CQE_F_MORE;
    const bool is_receive = node.sqe.opcode == IORING_OP_RECV;
    const std::int32_t value =
        is_receive ? receive_into_buffer(node, flags) : detail::try_socket_call(node.sqe);
    if (value == -EAGAIN || value == -EINTR) {
        return 0;
    }
    if (is_receive && value == 0) {
        return ended_well;
    }
    if (value == -EOPNOTSUPP) {
        return -EINVAL; // one at a time, by a thread
    }
    if (value >= 0) {
        write_completion(node.sqe.user_data, value, flags);
        return 0;
    }
    return value;
}

std::int32_t poll_ring::receive_into_buffer(const request& node, std::uint32_t& flags) noexcept {
    if (buffers_ == nullptr || node.sqe.buf_group != buffers_group_) {
        return -ENOENT;
    }
    if (buffers_head_ == buffers_->tail) {
        return -ENOBUFS;
    }
    const io_uring_buf& buffer = buffers_->bufs[buffers_head_ & buffers_mask_];
    const std::int32_t value =
        detail::try_receive(node.sqe.fd, reinterpret_cast<void*>(buffer.addr), buffer.len);
    if (value > 0) {
        flags |= IORING_CQE_F_BUFFER | std::uint32_t{buffer.bid} << IORING_CQE_BUFFER_SHIFT;
        ++buffers_head_;
    }
    return value;
}

bool poll_ring::register_buffers(io_uring_buf_ring& entries, unsigned count,
                                 std::uint16_t group) noexcept {
    buffers_ = &entries;
    buffers_mask_ = count - 1;
    buffers_group_ = group;
    return true;
}

void poll_ring::begin_transfer(request& node) noexcept {
    const descriptor on = detail::look_at(node.sqe.fd);
    if (on.error != 0) {
        finish(node, on.error);
        return;
    }
    node.type = on.type;
    if (on.type == descriptor::kind::disk) {
        give_to_disk_workers(node, {.device = on.device, .inode = on.inode});
        return;
    }
    const std::int32_t value = detail::try_transfer(node.sqe, on.type);
    if (value != -EAGAIN && value != -EOPNOTSUPP) {
        finish(node, value);
        return;
    }
    if ((node.sqe.rw_flags & RWF_NOWAIT) != 0) {
        finish(node, value);
        return;
    }
    const bool is_write = node.sqe.opcode == IORING_OP_WRITE || node.sqe.opcode == IORING_OP_WRITEV;
    node.where = request::place::watched;
    const std::int32_t refused = readiness_.add(node, node.sqe.fd, is_write ? EPOLLOUT : EPOLLIN);
    if (refused == -EPERM) { // a device that is always ready, such as /dev/zero
        give_to_disk_workers(node, {});
    } else if (refused != 0) {
        finish(node, refused);
    }
}

/// A descriptor is ready. Whether that was enough.
bool poll_ring::attempt(request& node, std::uint32_t events) noexcept {
    if (node.sqe.opcode == IORING_OP_POLL_ADD) {
        readiness_.remove(node);
        finish(node, static_cast<std::int32_t>(events & (node.events() | EPOLLERR | EPOLLHUP)));
        return true;
    }
    if (detail::is_multishot(node.sqe)) {
        const std::int32_t outcome = attempt_multishot(node);
        if (outcome != 0) {
            readiness_.remove(node);
            finish(node, outcome == ended_well ? 0 : outcome);
        }
        return true;
    }
    std::int32_t value = 0;
    if (node.sqe.opcode == detail::opcode_waitid) {
        value = detail::try_wait(node.sqe);
    } else if (node.sqe.opcode == IORING_OP_CONNECT) {
        value = detail::finish_connect(node.sqe.fd);
    } else if (detail::is_socket_call(node.sqe.opcode)) {
        value = detail::try_socket_call(node.sqe);
    } else {
        value = detail::try_transfer(node.sqe, node.type);
    }
    if (value == -EAGAIN) {
        return false; // somebody else was faster
    }
    readiness_.remove(node);
    if (value == -EOPNOTSUPP && detail::is_performed(node.sqe.opcode)) {
        // Ready, so the blocking call will hardly block; but if somebody else is faster it will.
        give_to_peer_workers(node);
    } else {
        finish(node, value);
    }
    return true;
}

void poll_ring::begin_poll(request& node) noexcept {
    const descriptor on = detail::look_at(node.sqe.fd);
    if (on.error != 0) {
        finish(node, on.error);
        return;
    }
    std::uint32_t refused_events = 0;
    if (on.type != descriptor::kind::disk) {
        node.where = request::place::watched;
        const std::int32_t refused = readiness_.add(node, node.sqe.fd, node.sqe.poll32_events);
        if (refused == 0) {
            return;
        }
        if (refused != -EPERM) {
            finish(node, refused);
            return;
        }
    }
    refused_events = node.sqe.poll32_events & events_of_disks;
    finish(node, refused_events != 0 ? static_cast<std::int32_t>(refused_events) : -EINVAL);
}

void poll_ring::begin_wait(request& node) noexcept {
    std::int32_t value = detail::try_wait(node.sqe);
    if (value == -EAGAIN) {
        node.where = request::place::watched;
        value = readiness_.add(node, node.sqe.fd, EPOLLIN);
        if (value == 0) {
            return;
        }
    }
    finish(node, value);
}

void poll_ring::begin_timeout(request& node) noexcept {
    const auto& time =
        *reinterpret_cast<const __kernel_timespec*>(static_cast<std::uintptr_t>(node.sqe.addr));
    const clock::duration duration =
        std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
    const bool is_absolute = (node.sqe.timeout_flags & IORING_TIMEOUT_ABS) != 0;
    try {
        timers_.add(node,
                    is_absolute ? clock::time_point(duration) : saturating_add(now(), duration));
    } catch (const std::bad_alloc&) {
        finish(node, -ENOMEM);
        return;
    }
    node.where = request::place::timed;
    node.last_completion = node.sqe.off == 0 ? 0 : completion_count_ + node.sqe.off;
    if (node.last_completion != 0) {
        lists_->counted.push_back(node);
    }
}

void poll_ring::begin_performed(request& node) noexcept {
    worker_pool::lane_key lane;
    const bool is_of_descriptor =
        node.sqe.opcode == IORING_OP_CLOSE || node.sqe.opcode == IORING_OP_FSYNC ||
        node.sqe.opcode == IORING_OP_SYNC_FILE_RANGE || node.sqe.opcode == IORING_OP_FADVISE ||
        node.sqe.opcode == IORING_OP_FALLOCATE || node.sqe.opcode == detail::opcode_ftruncate ||
        (node.sqe.opcode == IORING_OP_STATX && node.sqe.fd >= 0);
    if (is_of_descriptor) {
        const descriptor on = detail::look_at(node.sqe.fd);
        if (on.error != 0) {
            finish(node, on.error);
            return;
        }
        lane = {.device = on.device, .inode = on.inode};
        if (node.sqe.opcode == IORING_OP_CLOSE && on.type != descriptor::kind::disk) {
            readiness_.forget(node.sqe.fd);
            finish(node, detail::perform(node.sqe, false));
            return;
        }
    }
    give_to_disk_workers(node, lane);
}

void poll_ring::give_to_disk_workers(request& node, worker_pool::lane_key lane) noexcept {
    const bool changes_file =
        node.sqe.opcode == IORING_OP_WRITE || node.sqe.opcode == IORING_OP_WRITEV ||
        node.sqe.opcode == IORING_OP_FALLOCATE || node.sqe.opcode == detail::opcode_ftruncate;
    node.where = request::place::disk_workers;
    if (const std::int32_t refused = disk_workers_.submit(node, lane, changes_file)) {
        // Who closes has given the descriptor up: it would be lost.
        const bool closes = node.sqe.opcode == IORING_OP_CLOSE;
        finish(node, closes ? detail::perform(node.sqe, false) : refused);
    }
}

void poll_ring::give_to_peer_workers(request& node) noexcept {
    node.where = request::place::peer_workers;
    if (const std::int32_t refused = peer_workers_.submit(node, {}, false)) {
        finish(node, refused);
    }
}

} // namespace sapwood
