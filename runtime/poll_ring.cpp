#include "poll_ring.hpp"

#include "poll_ring_request.hpp"
#include "sqe_rules.hpp"

#include <sapwood/assert.hpp>
#include <sapwood/fmt_library.hpp>

#include <algorithm>
#include <bit>
#include <new>
#include <stdexcept>
#include <utility>

namespace sapwood {

namespace {

constexpr unsigned sq_entries_max = 32768; // the kernel's own limits
constexpr unsigned cq_entries_max = 65536;

/// Requests are made this many at a time, and kept.
constexpr std::size_t chunk_size = 64;

/// Where there was no memory for what is staged, it is taken after so long.
constexpr clock::duration take_again_after = std::chrono::milliseconds(1);

/// One file's share of the disk workers: a write and, beside it, a sync or a read.
constexpr unsigned file_running_max = 2;

} // namespace

poll_ring::poll_ring(options wanted)
    : options_([&] {
          if (wanted.sq_entries == 0) {
              throw std::invalid_argument("loop_options.sq_entries must be at least 1");
          }
          wanted.sq_entries = std::bit_ceil(std::clamp(wanted.sq_entries, 1u, sq_entries_max));
          wanted.cq_entries = std::bit_ceil(
              std::clamp(std::max(wanted.cq_entries, wanted.sq_entries), 1u, cq_entries_max));
          return std::move(wanted);
      }()),
      sqes_(std::make_unique<io_uring_sqe[]>(options_.sq_entries)),
      cqes_(options_.cq_entries),
      lists_(std::make_unique<lists>()),
      disk_workers_({.threads_max = options_.disk_threads_max,
                     .file_running_max = file_running_max,
                     .path_running_max = std::max(options_.disk_threads_max / 2, 1u)},
                    doorbell_),
      peer_workers_({.threads_max = options_.peer_threads_max,
                     .file_running_max = options_.peer_threads_max,
                     .path_running_max = options_.peer_threads_max},
                    doorbell_) {
    // With nothing in flight everything that fits into the queue can be taken, come what may.
    if (!reserve(options_.sq_entries)) {
        throw std::bad_alloc();
    }
    readiness_.watch_doorbell(doorbell_.fd());
    sq_ = {.sqes = sqes_.get(),
           .entries = options_.sq_entries,
           .mask = options_.sq_entries - 1,
           .tail = 0,
           .head = &sq_head_,
           .flags = &sq_flags_};
    cq_ = {.cqes = cqes_.data(),
           .mask = options_.cq_entries - 1,
           .head = &cq_head_,
           .tail = &cq_tail_};
}

poll_ring::~poll_ring() {
    for (auto& bucket : lists_->buckets) {
        for (auto* node = bucket.front(); node != nullptr;
             node = lists::bucket_list::after(*node)) {
            if (node->armed()) {
                timers_.remove(*node);
            }
        }
    }
}

std::string poll_ring::report() const {
    return fmt::format("epoll and up to {} threads, {} submission and {} completion entries{}{}",
                       options_.disk_threads_max, options_.sq_entries, options_.cq_entries,
                       options_.reason.empty() ? "" : "; ", options_.reason);
}

clock::time_point poll_ring::coarse_now() const noexcept {
    return coarse_clock_now();
}

std::vector<ring_feature> poll_ring::features() const {
    using state = ring_feature::state;
    return {
        {"epoll", state::used, {}, {}},
        {"threads", state::used, {}, {}},
        {"io_uring", state::missing, "5.6",
         "two changes of threads for each operation on a file, some 10 us, and a system call for "
         "each on a socket; no sends without a copy"},
    };
}

bool poll_ring::knows(std::uint8_t opcode) noexcept {
    return detail::is_known(opcode);
}

void poll_ring::enter(clock::time_point until) {
    flush_overflow();
    take_staged();
    look();
    if (staged() != 0 && until != dont_wait) [[unlikely]] {
        until = std::min(until, saturating_add(now(), take_again_after));
    }
    sleep(has_completions() ? dont_wait : until);
    look();
    flush_overflow();
    // There is no kernel to say so later: while anything is in flight, entering may help it.
    sq_flags_ = (in_flight_ != 0 ? IORING_SQ_TASKRUN : 0u) |
                (lists_->overflow.empty() ? 0u : IORING_SQ_CQ_OVERFLOW);
}

/// Looks at the descriptors, after having slept if nothing is there yet.
void poll_ring::sleep(clock::time_point until) noexcept {
    if (until == dont_wait) {
        if (readiness_.any()) {
            readiness_.wait(dont_wait);
        }
        return;
    }
    until = std::min(until, repeat_interrupts_at_);
    if (!timers_.empty()) {
        until = std::min(until, timers_.nearest());
    }
    doorbell_.want(true);
    const bool has_finished = disk_workers_.has_finished() || peer_workers_.has_finished();
    readiness_.wait(has_finished ? dont_wait : until);
    doorbell_.want(false);
}

/// Takes in what has happened.
void poll_ring::look() noexcept {
    readiness_.serve([this](detail::readiness::waiting& node, std::uint32_t events) {
        return attempt(static_cast<request&>(node), events);
    });
    const auto take = [this](worker_pool::job& job) { take_performed(static_cast<request&>(job)); };
    disk_workers_.take_finished(take);
    peer_workers_.take_finished(take);
    if (!timers_.empty()) {
        timers_.fire_due(now());
    }
    if (repeat_interrupts_at_ != no_deadline && now() >= repeat_interrupts_at_) {
        const bool on_disk = disk_workers_.repeat_interrupts();
        const bool on_peers = peer_workers_.repeat_interrupts();
        repeat_interrupts_after_ = std::min(repeat_interrupts_after_ * 2, interrupt_again_max);
        repeat_interrupts_at_ =
            on_disk || on_peers ? now() + repeat_interrupts_after_ : no_deadline;
    }
    run_starting();
}

// --- taking SQEs ---

/// Whether there are as many free requests.
bool poll_ring::reserve(std::size_t count) noexcept {
    while (free_count_ < count) {
        try {
            auto made = std::make_unique<request[]>(chunk_size);
            chunks_.push_back(std::move(made));
        } catch (const std::bad_alloc&) {
            return false;
        }
        for (std::size_t i = 0; i < chunk_size; ++i) {
            request& node = chunks_.back()[i];
            node.ring = this;
            lists_->free.push_back(node);
        }
        free_count_ += chunk_size;
    }
    return true;
}

void poll_ring::take_staged() {
    // As the kernel does: while completions lie aside, or memory is short, nothing new is taken.
    if (!lists_->overflow.empty() || !reserve(staged())) {
        return;
    }
    request* first = nullptr;
    request* last = nullptr;
    while (sq_head_ != sq_.tail) {
        if (first == nullptr && send_at_once(sq_.sqes[sq_head_ & sq_.mask])) {
            std::atomic_ref(sq_head_).store(sq_head_ + 1, std::memory_order_release);
            continue;
        }
        request& node = lists_->free.pop_front();
        --free_count_;
        ++in_flight_;
        node.sqe = sq_.sqes[sq_head_ & sq_.mask];
        node.rest = nullptr;
        node.where = request::place::none;
        node.is_interrupted = false;
        std::atomic_ref(sq_head_).store(sq_head_ + 1, std::memory_order_release);
        (first == nullptr ? first : last->rest) = &node;
        last = &node;
        if (!detail::is_in_chain(node.sqe) ||
            sq_head_ == sq_.tail) { // chains do not cross an enter
            admit(*std::exchange(first, nullptr));
            run_starting();
        }
    }
}

/// What a server does most: a send by itself, for which there is room. It needs no request.
bool poll_ring::send_at_once(const io_uring_sqe& sqe) noexcept {
    if (sqe.opcode != IORING_OP_SEND || sqe.flags != 0 || detail::refusal(sqe) != 0 || is_full() ||
        !lists_->overflow.empty() || !lists_->counted.empty()) {
        return false;
    }
    const std::int32_t value = detail::try_socket_call(sqe);
    if (value == -EAGAIN) {
        return false;
    }
    ++completion_count_;
    write_completion(sqe.user_data, value, 0);
    return true;
}

/// Starts a chain, unless one of it is refused: then none of it happens.
void poll_ring::admit(request& first) noexcept {
    bool is_refused = false;
    for (request* node = &first; node != nullptr; node = node->rest) {
        is_refused = is_refused || detail::refusal(node->sqe) != 0;
    }
    if (!is_refused) {
        lists_->starting.push_back(first);
        return;
    }
    for (request* node = &first; node != nullptr;) {
        request* const next = std::exchange(node->rest, nullptr);
        const std::int32_t error = detail::refusal(node->sqe);
        node->value = error != 0 ? error : -ECANCELED;
        post(*node);
        node = next;
    }
}

void poll_ring::run_starting() noexcept {
    while (!lists_->starting.empty()) {
        request& node = lists_->starting.pop_front();
        lists_->bucket(node.sqe.user_data).push_back(node);
        begin(node);
    }
}

} // namespace sapwood
