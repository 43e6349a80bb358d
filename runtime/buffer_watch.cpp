#include "buffer_watch.hpp"

#if SAPWOOD_ADDRESS_SANITIZER

#include "sqe_calls.hpp"

#include <sapwood/assert.hpp>

#include <csignal>
#include <cstring>
#include <linux/openat2.h>
#include <sanitizer/asan_interface.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

namespace sapwood::detail {

namespace {

template <class T>
T* pointer(std::uint64_t address) noexcept {
    return reinterpret_cast<T*>(static_cast<std::uintptr_t>(address));
}

void check_bytes(const void* bytes, std::size_t size) noexcept {
    SAPWOOD_ASSERT(bytes == nullptr || size == 0 ||
                       ::__asan_region_is_poisoned(const_cast<void*>(bytes), size) == nullptr,
                   "memory was freed while the kernel had it: what an operation points to must "
                   "live until it has been awaited");
}

void check_text(std::uint64_t address) noexcept {
    if (const auto* const text = pointer<const char>(address)) {
        check_bytes(text, 1);
        check_bytes(text, std::strlen(text) + 1);
    }
}

void check_vectors(const iovec* vectors, std::size_t count) noexcept {
    check_bytes(vectors, count * sizeof(iovec));
    for (std::size_t i = 0; i < count; ++i) {
        check_bytes(vectors[i].iov_base, vectors[i].iov_len);
    }
}

void check_message(const msghdr* message) noexcept {
    check_bytes(message, sizeof(*message));
    check_bytes(message->msg_name, message->msg_namelen);
    check_bytes(message->msg_control, message->msg_controllen);
    check_vectors(message->msg_iov, message->msg_iovlen);
}

/// Everything that `sqe` names. What the kernel would copy at submission (paths, addresses,
/// vectors) included: poll_ring looks at it later.
void check(const io_uring_sqe& sqe) noexcept {
    const bool selects_buffer = (sqe.flags & IOSQE_BUFFER_SELECT) != 0;
    switch (sqe.opcode) {
    case IORING_OP_READ:
    case IORING_OP_WRITE:
    case IORING_OP_RECV:
    case IORING_OP_SEND:
    case IORING_OP_SEND_ZC:
        if (!selects_buffer) {
            check_bytes(pointer<const void>(sqe.addr), sqe.len);
        }
        break;
    case IORING_OP_READV:
    case IORING_OP_WRITEV:
        check_vectors(pointer<const iovec>(sqe.addr), sqe.len);
        break;
    case IORING_OP_RECVMSG:
    case IORING_OP_SENDMSG:
    case IORING_OP_SENDMSG_ZC:
        check_message(pointer<const msghdr>(sqe.addr));
        break;
    case IORING_OP_CONNECT:
        check_bytes(pointer<const void>(sqe.addr), sqe.off);
        break;
    case IORING_OP_ACCEPT:
        if (const auto* const size = pointer<const socklen_t>(sqe.addr2)) {
            check_bytes(size, sizeof(*size));
            check_bytes(pointer<const void>(sqe.addr), *size);
        }
        break;
    case IORING_OP_OPENAT:
    case IORING_OP_UNLINKAT:
    case IORING_OP_MKDIRAT:
        check_text(sqe.addr);
        break;
    case IORING_OP_OPENAT2:
        check_text(sqe.addr);
        check_bytes(pointer<const void>(sqe.addr2), sizeof(open_how));
        break;
    case IORING_OP_RENAMEAT:
    case IORING_OP_LINKAT:
    case IORING_OP_SYMLINKAT:
        check_text(sqe.addr);
        check_text(sqe.addr2);
        break;
    case IORING_OP_STATX:
        check_text(sqe.addr);
        check_bytes(pointer<const void>(sqe.addr2), sizeof(struct ::statx));
        break;
    case opcode_waitid:
        check_bytes(pointer<const void>(sqe.addr2), sizeof(siginfo_t));
        break;
    case IORING_OP_TIMEOUT:
    case IORING_OP_LINK_TIMEOUT:
        check_bytes(pointer<const void>(sqe.addr), sizeof(__kernel_timespec));
        break;
    default: // names no memory of ours
        break;
    }
}

} // namespace

void buffer_watch::submitted(const io_uring_sqe& sqe) noexcept {
    check(sqe);
    try {
        in_flight_.insert_or_assign(sqe.user_data, sqe);
    } catch (const std::bad_alloc&) {
        // Then its completion is not looked at.
    }
}

void buffer_watch::completed(std::uint64_t user_data, std::uint32_t flags) noexcept {
    const auto found = in_flight_.find(user_data);
    if (found == in_flight_.end()) {
        return;
    }
    check(found->second);
    if ((flags & IORING_CQE_F_MORE) == 0) {
        in_flight_.erase(found);
    }
}

} // namespace sapwood::detail

#endif
