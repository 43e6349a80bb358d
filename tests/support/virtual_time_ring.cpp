#include "support/virtual_time_ring.hpp"

#include "make_ring.hpp"

#include <sapwood/event_loop.hpp>

#include <algorithm>

namespace sapwood::test {

namespace {

bool ends_by_itself(const io_uring_sqe& sqe) {
    switch (sqe.opcode) {
    case IORING_OP_READ:
    case IORING_OP_POLL_ADD:
    case IORING_OP_ASYNC_CANCEL:
    case IORING_OP_ACCEPT:
    case IORING_OP_CONNECT:
    case IORING_OP_RECV:
    case IORING_OP_RECVMSG:
    case IORING_OP_SEND:
    case IORING_OP_SENDMSG:
    case 50: // WAITID, which is newer than the header
        return false;
    default:
        return true;
    }
}

} // namespace

virtual_time_ring::virtual_time_ring(std::unique_ptr<ring> real)
    : real_(real != nullptr ? std::move(real) : make_ring(loop_options{})) {
    sq_ = (*real_).*(&virtual_time_ring::sq_);
    cq_ = (*real_).*(&virtual_time_ring::cq_);
    completions_seen_ = load_acquire(cq_.tail);
}

void virtual_time_ring::enter(clock::time_point until) {
    if (until == no_deadline) {
        enter_real(until);
        return;
    }
    enter_real(dont_wait);
    if (until == dont_wait) {
        return;
    }
    while (!has_completions() && !sure_to_end_.empty()) {
        enter_real(no_deadline);
    }
    if (!has_completions()) {
        now_ = std::max(now_, until);
    }
}

std::string virtual_time_ring::report() const {
    return "virtual time on " + real_->report();
}

void virtual_time_ring::enter_real(clock::time_point until) {
    const unsigned head = load_acquire(sq_.head);
    ((*real_).*(&virtual_time_ring::sq_)).tail = sq_.tail;
    // Before the enter: what it submits may be complete when it returns.
    note_submissions(head, sq_.tail);
    real_->enter(until);
    note_completions();
}

void virtual_time_ring::note_submissions(unsigned from, unsigned to) {
    for (unsigned i = from; i != to; ++i) {
        const io_uring_sqe& sqe = sq_.sqes[i & sq_.mask];
        if (ends_by_itself(sqe)) {
            sure_to_end_.insert(sqe.user_data);
        }
    }
}

void virtual_time_ring::note_completions() {
    const unsigned tail = load_acquire(cq_.tail);
    for (; completions_seen_ != tail; ++completions_seen_) {
        sure_to_end_.erase(cq_.cqes[completions_seen_ & cq_.mask].user_data);
    }
}

} // namespace sapwood::test
