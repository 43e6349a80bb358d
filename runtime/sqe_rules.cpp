#include "sqe_rules.hpp"

#include "sqe_calls.hpp"

#include <cerrno>
#include <sys/socket.h>

namespace sapwood::detail {

namespace {

constexpr unsigned sqe_flags_known =
    IOSQE_IO_LINK | IOSQE_IO_HARDLINK | IOSQE_ASYNC | IOSQE_CQE_SKIP_SUCCESS | IOSQE_BUFFER_SELECT;

constexpr unsigned cancel_flags_known =
    IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_FD | IORING_ASYNC_CANCEL_ANY;

/// Those that choose a buffer are those that receive again and again.
bool chooses_buffer(const io_uring_sqe& sqe) noexcept {
    return (sqe.flags & IOSQE_BUFFER_SELECT) != 0;
}

} // namespace

bool is_known(std::uint8_t opcode) noexcept {
    switch (opcode) {
    case IORING_OP_NOP:
    case IORING_OP_POLL_ADD:
    case IORING_OP_POLL_REMOVE:
    case IORING_OP_TIMEOUT:
    case IORING_OP_TIMEOUT_REMOVE:
    case IORING_OP_ASYNC_CANCEL:
    case opcode_waitid:
        return true;
    default:
        return is_performed(opcode) || is_socket_call(opcode);
    }
}

std::int32_t refusal(const io_uring_sqe& sqe) noexcept {
    if (!is_known(sqe.opcode)) {
        return -ENOSYS;
    }
    const bool is_refused =
        (sqe.flags & ~sqe_flags_known) != 0 ||
        (sqe.opcode == IORING_OP_TIMEOUT &&
         (sqe.len != 1 || (sqe.timeout_flags & ~IORING_TIMEOUT_ABS) != 0)) ||
        // Direct descriptors, polling first.
        (is_socket_call(sqe.opcode) && !is_multishot(sqe) &&
         (sqe.ioprio != 0 || sqe.splice_fd_in != 0)) ||
        (is_multishot(sqe) && is_in_chain(sqe)) ||
        chooses_buffer(sqe) != (is_multishot(sqe) && sqe.opcode == IORING_OP_RECV) ||
        // The kernel's ring goes on until it has everything, and takes an address.
        ((sqe.opcode == IORING_OP_RECV || sqe.opcode == IORING_OP_RECVMSG ||
          sqe.opcode == IORING_OP_SEND || sqe.opcode == IORING_OP_SENDMSG) &&
         (sqe.msg_flags & MSG_WAITALL) != 0) ||
        (sqe.opcode == IORING_OP_SEND && sqe.addr2 != 0) ||
        ((sqe.opcode == IORING_OP_POLL_ADD || sqe.opcode == IORING_OP_POLL_REMOVE) &&
         sqe.len != 0) ||
        (sqe.opcode == IORING_OP_TIMEOUT_REMOVE && sqe.timeout_flags != 0) ||
        (sqe.opcode == IORING_OP_ASYNC_CANCEL && (sqe.cancel_flags & ~cancel_flags_known) != 0);
    return is_refused ? -EINVAL : 0;
}

bool breaks_chain(const io_uring_sqe& sqe, std::int32_t value) noexcept {
    if ((sqe.flags & IOSQE_IO_HARDLINK) != 0) {
        return false;
    }
    return value < 0 ||
           (is_transfer(sqe.opcode) && static_cast<std::uint64_t>(value) != transfer_size(sqe));
}

} // namespace sapwood::detail
