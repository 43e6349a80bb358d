// What can be said of an SQE before it is carried out, for poll_ring: whether the kernel's ring
// would take it, and how it hangs together with those behind it. Any thread.
#pragma once

#include <cstdint>
#include <liburing.h>

namespace sapwood::detail {

/// Whether poll_ring knows the operation.
[[nodiscard]] bool is_known(std::uint8_t opcode) noexcept;

/// Whether the SQE behind it is linked to it.
[[nodiscard]] inline bool is_in_chain(const io_uring_sqe& sqe) noexcept {
    return (sqe.flags & (IOSQE_IO_LINK | IOSQE_IO_HARDLINK)) != 0;
}

/// Receives into buffers that the ring chooses, or accepts, again and again.
[[nodiscard]] inline bool is_multishot(const io_uring_sqe& sqe) noexcept {
    return (sqe.opcode == IORING_OP_RECV && sqe.ioprio == IORING_RECV_MULTISHOT) ||
           (sqe.opcode == IORING_OP_ACCEPT && sqe.ioprio == IORING_ACCEPT_MULTISHOT);
}

/// What makes the kernel refuse an SQE before it starts anything of its chain. 0 if nothing.
[[nodiscard]] std::int32_t refusal(const io_uring_sqe& sqe) noexcept;

/// Whether the rest of the chain is not to happen, where it ended with `value`.
[[nodiscard]] bool breaks_chain(const io_uring_sqe& sqe, std::int32_t value) noexcept;

} // namespace sapwood::detail
