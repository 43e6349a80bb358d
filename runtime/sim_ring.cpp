#include "sim_ring.hpp"

#include "sqe_calls.hpp"
#include "sqe_rules.hpp"

#include <sapwood/fmt_library.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <poll.h>
#include <system_error>

namespace sapwood {

namespace {

using std::chrono::nanoseconds;

/// A turn of the loop takes up to this.
constexpr std::uint64_t turn_nanoseconds_max = 2'000;

/// A process that enters the ring so often has no end.
constexpr std::uint64_t enters_max = 20'000'000;

/// A read or a poll that only somebody outside of the simulation could answer.
bool is_for_others(const io_uring_sqe& sqe) noexcept {
    return !detail::is_simulated(sqe.fd) &&
           (sqe.opcode == IORING_OP_READ || sqe.opcode == IORING_OP_READV ||
            sqe.opcode == IORING_OP_POLL_ADD);
}

clock::duration timeout_of(const io_uring_sqe& sqe) noexcept {
    const auto* const time =
        reinterpret_cast<const __kernel_timespec*>(static_cast<std::uintptr_t>(sqe.addr));
    return std::chrono::seconds(time->tv_sec) + nanoseconds(time->tv_nsec);
}

} // namespace

sim_ring::sim_ring(detail::sim_machine& machine)
    : machine_(machine),
      sqes_(machine.options.sq_entries),
      cqes_(machine.options.cq_entries) {
    machine.begin_process();
    sq_ = {.sqes = sqes_.data(),
           .entries = machine.options.sq_entries,
           .mask = machine.options.sq_entries - 1,
           .tail = 0,
           .head = &sq_head_,
           .flags = &sq_flags_};
    cq_ = {.cqes = cqes_.data(),
           .mask = machine.options.cq_entries - 1,
           .head = &cq_head_,
           .tail = &cq_tail_};
}

bool sim_ring::is_standing(const io_uring_sqe& sqe) noexcept {
    return is_for_others(sqe) || sqe.opcode == detail::opcode_sim_stop;
}

sim_ring::~sim_ring() {
    machine_.end_process();
}

std::string sim_ring::report() const {
    return fmt::format("simulated by seed {}, {} submission and {} completion entries",
                       machine_.options.seed, machine_.options.sq_entries,
                       machine_.options.cq_entries);
}

void sim_ring::enter(clock::time_point until) {
    auto& chance = machine_.chance;
    machine_.pass(machine_.now + nanoseconds(chance.between(1, turn_nanoseconds_max)));
    if (++machine_.enters > enters_max) {
        hang("the process goes on and on");
    }
    flush_overflow();
    if (!machine_.is_ghost() && chance.one_in(machine_.faults.early_return)) {
        ++machine_.counts.early_returns;
        take_staged(static_cast<unsigned>(chance.below(staged() + 1)));
        return;
    }
    if (overflow_.empty()) { // as the kernel: before that it takes nothing
        take_staged(staged());
    }
    run_due();
    while (until != dont_wait && !has_completions()) {
        if (!is_there_event_until(until)) {
            if (until == no_deadline) {
                hang("nothing is left that could wake the process");
                continue;
            }
            machine_.pass(until);
            break;
        }
        machine_.pass(events_.front().when);
        run_event();
        if (chance.one_in(2)) { // what completes a little later comes with it
            machine_.pass(machine_.now + nanoseconds(chance.below(20'000)));
        }
        run_due();
    }
    if (machine_.now - machine_.began > machine_.options.patience) {
        hang("the process has not come to its end");
    }
}

// --- taking SQEs ---

void sim_ring::take_staged(unsigned count) {
    std::uint32_t first = nobody;
    std::uint32_t last = nobody;
    for (; count > 0; --count) {
        const io_uring_sqe& sqe = sqes_[sq_head_ & sq_.mask];
        ++sq_head_;
        const std::uint32_t index = add(sqe);
        if (first == nobody) {
            first = index;
        } else {
            flights_[last].rest = index;
        }
        last = index;
        if (detail::is_in_chain(sqe) && count > 1) { // chains do not cross an enter
            continue;
        }
        bool is_refused = false;
        for (std::uint32_t each = first; each != nobody; each = flights_[each].rest) {
            is_refused = is_refused || (flights_[each].sqe.opcode != detail::opcode_sim_stop &&
                                        detail::refusal(flights_[each].sqe) != 0);
        }
        if (is_refused) {
            for (std::uint32_t each = first; each != nobody;) {
                const std::uint32_t next = std::exchange(flights_[each].rest, nobody);
                const std::int32_t error = detail::refusal(flights_[each].sqe);
                finish(each, error != 0 ? error : -ECANCELED);
                each = next;
            }
        } else {
            start(first);
        }
        first = nobody;
    }
}

std::uint32_t sim_ring::add(const io_uring_sqe& sqe) {
    std::uint32_t index = 0;
    if (free_.empty()) {
        index = static_cast<std::uint32_t>(flights_.size());
        flights_.emplace_back();
    } else {
        index = free_.back();
        free_.pop_back();
    }
    flights_[index] = {.sqe = sqe,
                       .mark = 0,
                       .serial = ++serials_,
                       .rest = nobody,
                       .at = stage::waiting,
                       .is_cancelled = false};
    return index;
}

void sim_ring::schedule(std::uint32_t index, clock::time_point when) {
    events_.push_back({.when = when, .serial = flights_[index].serial, .index = index});
    std::push_heap(events_.begin(), events_.end());
}

/// From now on the operation begins as soon as a worker gets to it.
void sim_ring::start(std::uint32_t index) {
    const io_uring_sqe sqe = flights_[index].sqe;
    switch (sqe.opcode) {
    case IORING_OP_ASYNC_CANCEL:
    case IORING_OP_POLL_REMOVE:
    case IORING_OP_TIMEOUT_REMOVE: {
        const std::int32_t outcome = cancel(index);
        finish(index, outcome);
        return;
    }
    case IORING_OP_TIMEOUT: {
        if (sqe.off != 0) { // counts completions
            finish(index, -EINVAL);
            return;
        }
        const clock::duration time = timeout_of(sqe);
        schedule(index, (sqe.timeout_flags & IORING_TIMEOUT_ABS) != 0
                            ? clock::time_point(time)
                            : saturating_add(machine_.now, time));
        return;
    }
    case detail::opcode_sim_stop:
        if (machine_.is_ghost()) {
            finish(index, 0);
        }
        return;
    default:
        if (is_standing(sqe)) {
            return;
        }
        // At once, or after a while in a queue.
        const bool is_queued = !machine_.is_ghost() && machine_.chance.one_in(2);
        if (is_queued) {
            schedule(index, machine_.now + nanoseconds(machine_.chance.below(30'000)));
        } else {
            begin(index);
        }
        return;
    }
}

// --- what happens ---

bool sim_ring::is_there_event_until(clock::time_point until) noexcept {
    return !events_.empty() && events_.front().when <= until;
}

void sim_ring::run_due() {
    while (is_there_event_until(machine_.now)) {
        run_event();
    }
}

void sim_ring::run_event() {
    std::pop_heap(events_.begin(), events_.end());
    const event next = events_.back();
    events_.pop_back();
    const flight& node = flights_[next.index];
    if (node.at == stage::free || node.serial != next.serial) {
        return; // it was cancelled
    }
    if (node.is_cancelled) {
        finish(next.index, -ECANCELED);
    } else if (node.at == stage::waiting && node.sqe.opcode != IORING_OP_TIMEOUT) {
        begin(next.index);
    } else {
        end(next.index);
    }
}

void sim_ring::begin(std::uint32_t index) {
    flight& node = flights_[index];
    node.at = stage::begun;
    node.mark = node.sqe.opcode == IORING_OP_FSYNC ? machine_.files.sync_mark(node.sqe.fd) : 0;
    schedule(index, machine_.now + machine_.duration_of(node.sqe));
}

void sim_ring::end(std::uint32_t index) {
    const io_uring_sqe sqe = flights_[index].sqe;
    if (sqe.opcode == IORING_OP_TIMEOUT) {
        finish(index, -ETIME);
        return;
    }
    if (machine_.is_crash_due()) {
        crash();
    }
    if (sqe.opcode == IORING_OP_NOP) {
        finish(index, 0);
    } else if (sqe.opcode == IORING_OP_POLL_ADD) {
        finish(index, static_cast<std::int32_t>(sqe.poll32_events & (POLLIN | POLLOUT)));
    } else {
        const std::string closed = sqe.opcode == IORING_OP_CLOSE && machine_.options.traces
                                       ? machine_.files.name_of(sqe.fd)
                                       : std::string();
        const std::int32_t value = machine_.perform(sqe, flights_[index].mark);
        if (value == detail::sim_files::never) [[unlikely]] {
            wait_for_ever(index);
            return;
        }
        machine_.trace_operation(sqe, value, closed);
        finish(index, value);
    }
}

/// Until the process ends: it has no patience for that.
void sim_ring::wait_for_ever(std::uint32_t index) {
    if (!machine_.is_ghost() && machine_.now - machine_.began > machine_.options.patience) {
        hang("who opens a FIFO waits for its other end");
    }
    if (machine_.is_ghost()) {
        finish(index, -ECANCELED); // who is told that it was interrupted tries again
    } else {
        schedule(index, machine_.now + machine_.options.patience / 2);
    }
}

void sim_ring::finish(std::uint32_t index, std::int32_t value) {
    flight& node = flights_[index];
    const io_uring_sqe sqe = node.sqe;
    const std::uint32_t rest = std::exchange(node.rest, nobody);
    node.at = stage::free;
    free_.push_back(index);
    machine_.count(sqe, value);
    if ((sqe.flags & IOSQE_CQE_SKIP_SUCCESS) == 0 || value < 0) {
        post(sqe.user_data, value);
    }
    if (rest == nobody) {
        return;
    }
    if (detail::breaks_chain(sqe, value)) {
        cancel_chain(rest);
    } else {
        start(rest);
    }
}

void sim_ring::cancel_chain(std::uint32_t index) {
    while (index != nobody) {
        const std::uint32_t next = std::exchange(flights_[index].rest, nobody);
        finish(index, -ECANCELED);
        index = next;
    }
}

void sim_ring::post(std::uint64_t user_data, std::int32_t value) {
    io_uring_cqe cqe{};
    cqe.user_data = user_data;
    cqe.res = value;
    if (!overflow_.empty() || cq_tail_ - cq_head_ == cqes_.size()) {
        ++machine_.counts.overflows;
        overflow_.push_back(cqe);
        sq_flags_ |= IORING_SQ_CQ_OVERFLOW;
        return;
    }
    cqes_[cq_tail_ & cq_.mask] = cqe;
    std::atomic_ref(cq_tail_).store(cq_tail_ + 1, std::memory_order_release);
}

void sim_ring::flush_overflow() {
    if (overflow_.empty()) {
        return;
    }
    std::size_t fitting = 0;
    while (fitting < overflow_.size() && cq_tail_ - cq_head_ < cqes_.size()) {
        cqes_[cq_tail_ & cq_.mask] = overflow_[fitting++];
        ++cq_tail_;
    }
    overflow_.erase(overflow_.begin(), overflow_.begin() + static_cast<std::ptrdiff_t>(fitting));
    sq_flags_ = IORING_SQ_TASKRUN | (overflow_.empty() ? 0u : IORING_SQ_CQ_OVERFLOW);
}

// --- ends ---

void sim_ring::crash() {
    machine_.crash_process([this] {
        for (const flight& each : flights_) {
            if (each.at == stage::begun && !each.is_cancelled) {
                machine_.perform_in_part(each.sqe, each.mark);
            }
        }
    });
    // What is under way in the world that goes on for a while, ends now.
    for (event& each : events_) {
        if (flights_[each.index].sqe.opcode != IORING_OP_TIMEOUT) {
            each.when = std::min(each.when, machine_.now);
        }
    }
    std::make_heap(events_.begin(), events_.end());
    for (std::uint32_t index = 0; index < flights_.size(); ++index) {
        if (flights_[index].at != stage::free &&
            flights_[index].sqe.opcode == detail::opcode_sim_stop) {
            finish(index, 0);
        }
    }
}

void sim_ring::hang(const char* why) {
    if (std::exchange(is_stopping_, true) || machine_.has_hung) {
        for (const std::string& line : machine_.lines) { // nobody will be able to ask for it
            std::fprintf(stderr, "%s\n", line.c_str());
        }
        throw std::system_error(EDEADLK, std::generic_category(),
                                fmt::format("simulation of seed {}: {}, not even to be cancelled",
                                            machine_.options.seed, why));
    }
    machine_.trace("-- {}", why);
    machine_.has_hung = true;
    machine_.began = machine_.now;
    machine_.enters = 0;
    bool was_told = false;
    for (std::uint32_t index = 0; index < flights_.size(); ++index) {
        if (flights_[index].at != stage::free &&
            flights_[index].sqe.opcode == detail::opcode_sim_stop) {
            finish(index, 0);
            was_told = true;
        }
    }
    if (!was_told && !machine_.has_crashed) {
        throw std::system_error(EDEADLK, std::generic_category(), why);
    }
}

} // namespace sapwood
