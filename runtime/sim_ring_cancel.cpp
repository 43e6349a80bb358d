// How operations of a simulated ring are cancelled.
#include "sim_ring.hpp"

#include <cerrno>

namespace sapwood {

bool sim_ring::matches(const flight& each, const io_uring_sqe& sqe) const noexcept {
    if (each.at == stage::free) {
        return false;
    }
    if (sqe.opcode == IORING_OP_POLL_REMOVE || sqe.opcode == IORING_OP_TIMEOUT_REMOVE) {
        const auto of =
            sqe.opcode == IORING_OP_POLL_REMOVE ? IORING_OP_POLL_ADD : IORING_OP_TIMEOUT;
        return each.sqe.opcode == of && each.sqe.user_data == sqe.addr;
    }
    if ((sqe.cancel_flags & IORING_ASYNC_CANCEL_ANY) != 0) {
        return true;
    }
    return (sqe.cancel_flags & IORING_ASYNC_CANCEL_FD) != 0 ? each.sqe.fd == sqe.fd
                                                            : each.sqe.user_data == sqe.addr;
}

std::int32_t sim_ring::cancel(std::uint32_t request) {
    const io_uring_sqe sqe = flights_[request].sqe;
    const bool is_for_all =
        sqe.opcode == IORING_OP_ASYNC_CANCEL &&
        (sqe.cancel_flags & (IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_ANY)) != 0;
    std::int32_t stopped = 0;
    for (std::uint32_t index = 0; index < flights_.size(); ++index) {
        if (index == request || !matches(flights_[index], sqe)) {
            continue;
        }
        const std::int32_t outcome = stop(index);
        if (!is_for_all) {
            return outcome;
        }
        ++stopped;
    }
    return is_for_all ? stopped : -ENOENT;
}

/// Asks an operation to end; how it ends is its own completion's to say, which comes before the
/// request's or behind it.
std::int32_t sim_ring::stop(std::uint32_t index) {
    flight& node = flights_[index];
    const bool is_told = !is_standing(node.sqe) && !machine_.is_ghost();
    if (node.at != stage::waiting) {
        machine_.counts.cancelled_too_late += is_told ? 1 : 0;
        return -EALREADY;
    }
    if (is_told) {
        ++machine_.counts.cancelled;
        machine_.trace("{}: cancelled before it began", detail::name_of_opcode(node.sqe.opcode));
    }
    if (machine_.chance.one_in(2)) {
        finish(index, -ECANCELED);
    } else {
        node.at = stage::begun;
        node.is_cancelled = true;
        schedule(index, machine_.now);
    }
    return 0;
}

} // namespace sapwood
