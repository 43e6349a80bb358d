// What an SQE asks for, done by system calls: by a blocking one, for a thread that may block, or
// by one that never blocks, for the loop. Results and errors are those that the kernel's ring
// gives. Any thread; what the SQE points to must be alive.
#pragma once

#include <cstddef>
#include <cstdint>
#include <liburing.h>

namespace sapwood::detail {

// Opcodes newer than the header, by number.
inline constexpr std::uint8_t opcode_waitid = 50;    // Linux 6.7
inline constexpr std::uint8_t opcode_ftruncate = 55; // Linux 6.9

/// What can be known of a descriptor without waiting for a disk or a server.
struct descriptor {
    enum class kind : std::uint8_t {
        /// A regular file, a directory, a block device: has no readiness, its calls may wait for a
        /// disk.
        disk,
        /// A pipe or FIFO.
        pipe,
        socket,
        /// An eventfd, a signalfd, a terminal or another device.
        other,
    };

    /// 0, or a negative errno: there is no such descriptor.
    std::int32_t error = 0;
    kind type = kind::other;
    std::uint64_t device = 0;
    std::uint64_t inode = 0;
};

[[nodiscard]] descriptor look_at(int fd) noexcept;

/// Whether perform knows the operation. Of those on sockets, what is sent and received is not among
/// them: there is always a call for it that does not block.
[[nodiscard]] bool is_performed(std::uint8_t opcode) noexcept;

/// In place of a result: the open would wait for whoever opens the other end, which may take for
/// ever.
inline constexpr std::int32_t would_wait_for_a_peer = INT32_MIN;

/// Makes the system call, which may block. Of an open, only one that does not have to wait for a
/// peer, unless `may_wait_for_a_peer`.
[[nodiscard]] std::int32_t perform(const io_uring_sqe& sqe, bool may_wait_for_a_peer) noexcept;

/// Whether the SQE reads or writes bytes of a descriptor.
[[nodiscard]] bool is_transfer(std::uint8_t opcode) noexcept;

/// The bytes that a transfer asks for; fewer of them break a chain of links.
[[nodiscard]] std::uint64_t transfer_size(const io_uring_sqe& sqe) noexcept;

/// A transfer without blocking, on a descriptor of `type`, which is not `disk`. -EAGAIN where it
/// would block; -EOPNOTSUPP where this kernel has no call for it that is sure not to.
[[nodiscard]] std::int32_t try_transfer(const io_uring_sqe& sqe, descriptor::kind type) noexcept;

/// Whether the SQE asks for what waits for a peer: to accept, connect, send or receive.
[[nodiscard]] bool is_socket_call(std::uint8_t opcode) noexcept;

/// EPOLLIN or EPOLLOUT: what a socket call waits for.
[[nodiscard]] std::uint32_t awaited_events(const io_uring_sqe& sqe) noexcept;

/// A socket call without blocking. -EAGAIN where it would block, -EINPROGRESS where it has begun to
/// connect and finish_connect tells how it ended; -EOPNOTSUPP where only a blocking call can be
/// made: accepting and connecting on a socket without O_NONBLOCK, which is not ours to set.
[[nodiscard]] std::int32_t try_socket_call(const io_uring_sqe& sqe) noexcept;

/// A receive into `size` bytes at `into`, without blocking.
[[nodiscard]] std::int32_t try_receive(int fd, void* into, std::size_t size) noexcept;

/// How a connect ended that was in progress; -EAGAIN where it has not.
[[nodiscard]] std::int32_t finish_connect(int fd) noexcept;

/// A wait for a process that a pidfd stands for, without waiting: -EAGAIN where the process has not
/// ended. Its pidfd becomes readable when it has. -EINVAL for any other kind of wait.
[[nodiscard]] std::int32_t try_wait(const io_uring_sqe& sqe) noexcept;

} // namespace sapwood::detail
