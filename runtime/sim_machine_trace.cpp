// What a simulated machine tells people of its operations.
#include "sim_machine.hpp"

#include "sqe_calls.hpp"

#include <chrono>
#include <system_error>
#include <utility>

namespace sapwood::detail {

void sim_machine::add_line(std::string text) {
    lines.push_back(fmt::format(
        "{:14.6f} ms  {}",
        std::chrono::duration<double, std::milli>(now.time_since_epoch() - std::chrono::hours(24))
            .count(),
        text));
}

std::string_view name_of_opcode(std::uint8_t opcode) noexcept {
    switch (opcode) {
    case IORING_OP_NOP:
        return "nop";
    case IORING_OP_READ:
    case IORING_OP_READV:
        return "read";
    case IORING_OP_WRITE:
    case IORING_OP_WRITEV:
        return "write";
    case IORING_OP_OPENAT:
    case IORING_OP_OPENAT2:
        return "open";
    case IORING_OP_CLOSE:
        return "close";
    case IORING_OP_STATX:
        return "statx";
    case IORING_OP_RENAMEAT:
        return "rename";
    case IORING_OP_UNLINKAT:
        return "unlink";
    case IORING_OP_MKDIRAT:
        return "mkdir";
    case IORING_OP_LINKAT:
        return "link";
    case IORING_OP_SYMLINKAT:
        return "symlink";
    case IORING_OP_FSYNC:
        return "sync";
    case IORING_OP_SYNC_FILE_RANGE:
        return "write back";
    case IORING_OP_FADVISE:
        return "drop cached";
    case IORING_OP_FALLOCATE:
        return "allocate";
    case IORING_OP_TIMEOUT:
        return "timeout";
    case IORING_OP_POLL_ADD:
        return "poll";
    case opcode_ftruncate:
        return "truncate";
    default:
        return "operation";
    }
}

void sim_machine::trace_operation(const io_uring_sqe& sqe, std::int32_t value,
                                  const std::string& closed) {
    if (!options.traces || is_ghost()) {
        return;
    }
    std::string what(name_of_opcode(sqe.opcode));
    switch (sqe.opcode) {
    case IORING_OP_OPENAT:
    case IORING_OP_OPENAT2:
    case IORING_OP_UNLINKAT:
    case IORING_OP_MKDIRAT:
        what += fmt::format(" {}", at_address<const char>(sqe.addr));
        break;
    case IORING_OP_RENAMEAT:
    case IORING_OP_LINKAT:
    case IORING_OP_SYMLINKAT:
        what += fmt::format(" {} to {}", at_address<const char>(sqe.addr),
                            at_address<const char>(sqe.addr2));
        break;
    default:
        if (is_simulated(sqe.fd)) {
            what += fmt::format(" #{} ({})", sqe.fd - simulated_fd_first,
                                closed.empty() ? files.name_of(sqe.fd) : closed);
        }
    }
    if (is_transfer(sqe.opcode)) {
        what += fmt::format(", {} bytes", transfer_size(sqe));
    }
    if (sqe.opcode == opcode_ftruncate) {
        what += fmt::format(", to {} bytes", sqe.off);
    }
    if (value < 0) {
        what += fmt::format(": {}", std::generic_category().message(-value));
    } else if (sqe.opcode == IORING_OP_OPENAT || sqe.opcode == IORING_OP_OPENAT2) {
        what += fmt::format(": #{}", value - simulated_fd_first);
    } else {
        what += fmt::format(": {}", value);
    }
    add_line(std::move(what));
}

} // namespace sapwood::detail
