#include <sapwood/receive.hpp>

#include "receive_buffers.hpp"

#include <sapwood/socket.hpp>

#include <cerrno>
#include <cstdlib>
#include <liburing.h>
#include <utility>

namespace sapwood::detail {

namespace {

std::uint16_t buffer_of(std::uint32_t flags) noexcept {
    return static_cast<std::uint16_t>(flags >> IORING_CQE_BUFFER_SHIFT);
}

/// The kernel may take a buffer and come back with an error, or the end.
void give_back_unused(receive_buffers* to, std::int32_t value, std::uint32_t flags) noexcept {
    if (value <= 0 && (flags & IORING_CQE_F_BUFFER) != 0) [[unlikely]] {
        to->give_back(to->take(buffer_of(flags), 0));
    }
}

} // namespace

// --- the operation ---

standing_receive::~standing_receive() {
    while (first_ != nullptr) {
        give_back(*std::exchange(first_, first_->next));
    }
}

void standing_receive::loop_joined() {
    buffers_ = loop().receive_buffers();
    method_ = buffers_ != nullptr ? method::multishot : method::poll;
}

void standing_receive::prepare(io_uring_sqe& sqe) noexcept {
    switch (method_) {
    case method::multishot:
        ::io_uring_prep_recv_multishot(&sqe, fd(), nullptr, 0, 0);
        sqe.flags |= IOSQE_BUFFER_SELECT;
        sqe.buf_group = receive_buffers::group;
        return;
    case method::poll:
        prepare_poll(sqe, fd(), POLLIN);
        return;
    case method::single:
        ::io_uring_prep_recv(&sqe, fd(), into_->data, receive_buffers::piece_bytes_max,
                             MSG_DONTWAIT);
        return;
    }
}

bool standing_receive::give(standing_wait& who) noexcept {
    if (first_ == nullptr) {
        may_give_ = is_at_end_;
        return is_at_end_;
    }
    received_slot& piece = *std::exchange(first_, first_->next);
    if (first_ == nullptr) {
        last_ = &first_;
    }
    --pending_;
    static_cast<receive_piece&>(who).set(piece);
    return true;
}

inline received_slot& standing_receive::slot_of(std::int32_t size, std::uint32_t flags) noexcept {
    received_slot& slot = buffers_->take(buffer_of(flags), static_cast<std::uint32_t>(size));
    return buffers_->is_short() ? receive_buffers::copy_out(slot) : slot;
}

void standing_receive::progress(std::int32_t value, std::uint32_t flags) noexcept {
    give_back_unused(buffers_, value, flags);
    if (value > 0) {
        arrived(slot_of(value, flags));
    }
}

void standing_receive::arrived(received_slot& slot) noexcept {
    if (standing_wait* const who = next_waiting()) { // then nothing was pending
        static_cast<receive_piece*>(who)->set(slot);
        who->wake();
        return;
    }
    slot.next = nullptr;
    *last_ = &slot;
    last_ = &slot.next;
    ++pending_;
    may_give_ = true;
    // Where many keep what they were lent, nobody receives ahead.
    const bool is_short = buffers_ != nullptr && buffers_->is_short();
    if (pending_ >= (is_short ? 1 : pending_max)) {
        break_off();
    }
}

void standing_receive::rest(std::int32_t value, std::uint32_t flags) noexcept {
    give_back_unused(buffers_, value, flags);
    received_slot* const into = std::exchange(into_, nullptr);
    if (method_ == method::poll && value >= 0) {
        if (is_waited_for()) {
            begin_single();
        }
        return;
    }
    if (method_ == method::single) {
        method_ = method::poll;
    }
    if (value > 0 && into != nullptr) {
        into->size = static_cast<std::uint32_t>(value);
        arrived(*into);
    } else if (value > 0) {
        arrived(slot_of(value, flags));
    } else {
        std::free(into);
        rest_without_bytes(value);
    }
}

void standing_receive::rest_without_bytes(std::int32_t value) noexcept {
    switch (-value) {
    case 0:
        is_at_end_ = may_give_ = true;
        wake_waiting();
        return;
    case EINVAL:
        // Linux before 6.0 has the buffers, but receives once only. Where it is something else,
        // the single receive will tell.
        if (method_ != method::multishot) {
            failed(EINVAL);
        }
        method_ = method::poll;
        return;
    case ENOBUFS:
        // All that the ring had were taken in one pass. Where too many are lent, they have been
        // copied out by now, unless there is no memory.
        if (buffers_->is_empty()) {
            failed(ENOBUFS);
        }
        buffers_->lacked_one();
        return;
    case ECANCELED: // broken off
    case EINTR:
    case EAGAIN:
        return;
    default:
        failed(-value);
        return;
    }
}

/// There is something to receive: now it costs memory.
void standing_receive::begin_single() noexcept {
    into_ = receive_buffers::allocate(receive_buffers::piece_bytes_max);
    if (into_ == nullptr) {
        failed(ENOMEM);
        return;
    }
    method_ = method::single;
    arm();
}

void standing_receive::drop(std::int32_t value, std::uint32_t flags) noexcept {
    std::free(std::exchange(into_, nullptr));
    give_back_unused(buffers_, value, flags);
    if (value > 0 && (flags & IORING_CQE_F_BUFFER) != 0) {
        give_back(slot_of(value, flags));
    }
}

// --- the wait ---

std::unique_ptr<standing_operation> receive_piece::make() const {
    return std::make_unique<standing_receive>(fd());
}

std::string receive_piece::describe() const {
    return "receiving from " + peer_name(fd());
}

result<received> receive_piece::outcome() {
    if (const std::int32_t error = take_error()) {
        return std::error_code(error, std::generic_category());
    }
    return std::move(piece_);
}

} // namespace sapwood::detail
