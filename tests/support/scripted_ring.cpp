#include "support/scripted_ring.hpp"

#include <algorithm>
#include <cerrno>
#include <system_error>

namespace sapwood::test {

scripted_ring::scripted_ring(options wanted) : sqes_(wanted.sq_entries), cqes_(wanted.cq_entries) {
    sq_ = {.sqes = sqes_.data(),
           .entries = wanted.sq_entries,
           .mask = wanted.sq_entries - 1,
           .tail = 0,
           .head = &sq_head_,
           .flags = &sq_flags_};
    cq_ = {
        .cqes = cqes_.data(), .mask = wanted.cq_entries - 1, .head = &cq_head_, .tail = &cq_tail_};
}

void scripted_ring::complete(std::uint64_t user_data, std::int32_t value, std::uint32_t flags) {
    if ((flags & IORING_CQE_F_MORE) == 0) {
        std::erase_if(in_flight_, [=](const auto& sqe) { return sqe.user_data == user_data; });
    }
    post(user_data, value, flags);
}

void scripted_ring::enter(clock::time_point until) {
    ++enters_;
    if (interrupt && !interrupt()) {
        return;
    }
    while (sq_head_ != sq_.tail) {
        submit(sqes_[sq_head_ & sq_.mask]);
        ++sq_head_;
    }
    flush();
    if (until == dont_wait || has_completions()) {
        return;
    }
    if (until == no_deadline && wait_for_thread) {
        wait_for_thread();
        return;
    }
    if (until == no_deadline) {
        throw std::system_error(EDEADLK, std::generic_category(),
                                "the loop would wait for ever: nothing is in flight that ends");
    }
    now_ = std::max(now_, until);
}

void scripted_ring::submit(const io_uring_sqe& sqe) {
    if (sqe.opcode == IORING_OP_ASYNC_CANCEL) {
        cancel(sqe);
        return;
    }
    const auto value = answer ? answer(sqe) : std::nullopt;
    if (value) {
        post(sqe.user_data, *value);
    } else {
        in_flight_.push_back(sqe);
    }
}

void scripted_ring::cancel(const io_uring_sqe& request) {
    const auto target = std::find_if(in_flight_.begin(), in_flight_.end(), [&](const auto& sqe) {
        return sqe.user_data == request.addr;
    });
    if (target == in_flight_.end()) {
        post(request.user_data, -ENOENT);
        return;
    }
    const io_uring_sqe sqe = *target;
    const auto value = answer_cancel ? answer_cancel(sqe) : std::optional(-ECANCELED);
    if (value) {
        complete(sqe.user_data, *value);
    }
    post(request.user_data, value ? 0 : -EALREADY);
}

void scripted_ring::post(std::uint64_t user_data, std::int32_t value, std::uint32_t flags) {
    io_uring_cqe cqe{};
    cqe.user_data = user_data;
    cqe.res = value;
    cqe.flags = flags;
    overflow_.push_back(cqe);
    flush();
}

void scripted_ring::flush() {
    std::size_t fitting = 0;
    while (fitting < overflow_.size() && cq_tail_ - cq_head_ < cqes_.size()) {
        cqes_[cq_tail_ & cq_.mask] = overflow_[fitting++];
        ++cq_tail_;
    }
    overflow_.erase(overflow_.begin(), overflow_.begin() + static_cast<std::ptrdiff_t>(fitting));
    sq_flags_ = overflow_.empty() ? 0 : IORING_SQ_CQ_OVERFLOW;
}

} // namespace sapwood::test
