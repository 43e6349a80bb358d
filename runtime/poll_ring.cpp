#include "poll_ring.hpp"

#include "sqe_calls.hpp"

#include <sapwood/assert.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <new>
#include <poll.h>
#include <stdexcept>
#include <sys/socket.h>
#include <utility>

namespace sapwood {

namespace {

using detail::descriptor;

constexpr unsigned sq_entries_max = 32768; // the kernel's own limits
constexpr unsigned cq_entries_max = 65536;

/// Requests are made this many at a time, and kept.
constexpr std::size_t chunk_size = 64;

constexpr std::size_t bucket_count = 256;

/// One file's share of the disk workers: a write and, beside it, a sync or a read.
constexpr unsigned file_running_max = 2;

/// An interrupt that came a moment too early is repeated after this long, then after twice as long
/// and so on. A disk that hangs cannot be interrupted and need not be asked often.
constexpr clock::duration interrupt_again_first = std::chrono::milliseconds(1);
constexpr clock::duration interrupt_again_max = std::chrono::milliseconds(256);

constexpr unsigned sqe_flags_known =
    IOSQE_IO_LINK | IOSQE_IO_HARDLINK | IOSQE_ASYNC | IOSQE_CQE_SKIP_SUCCESS | IOSQE_BUFFER_SELECT;

constexpr unsigned cancel_flags_known =
    IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_FD | IORING_ASYNC_CANCEL_ANY;

bool is_in_chain(const io_uring_sqe& sqe) noexcept {
    return (sqe.flags & (IOSQE_IO_LINK | IOSQE_IO_HARDLINK)) != 0;
}

/// Receives into buffers that the ring chooses, or accepts, again and again.
bool is_multishot(const io_uring_sqe& sqe) noexcept {
    return (sqe.opcode == IORING_OP_RECV && sqe.ioprio == IORING_RECV_MULTISHOT) ||
           (sqe.opcode == IORING_OP_ACCEPT && sqe.ioprio == IORING_ACCEPT_MULTISHOT);
}

/// Those that choose a buffer are those that receive again and again.
bool chooses_buffer(const io_uring_sqe& sqe) noexcept {
    return (sqe.flags & IOSQE_BUFFER_SELECT) != 0;
}

/// Of a multishot: nothing is left to receive.
constexpr std::int32_t ended_well = 1;

/// Linux numbers the events of poll(2) and epoll alike.
constexpr std::uint32_t events_of_disks = POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM;

/// What makes the kernel refuse an SQE before it starts anything of its chain. 0 if nothing.
std::int32_t refusal(const io_uring_sqe& sqe) noexcept {
    if (!poll_ring::knows(sqe.opcode)) {
        return -ENOSYS;
    }
    const bool is_refused =
        (sqe.flags & ~sqe_flags_known) != 0 ||
        (sqe.opcode == IORING_OP_TIMEOUT &&
         (sqe.len != 1 || (sqe.timeout_flags & ~IORING_TIMEOUT_ABS) != 0)) ||
        // Direct descriptors, polling first.
        (detail::is_socket_call(sqe.opcode) && !is_multishot(sqe) &&
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

/// Whether the rest of the chain is not to happen.
bool breaks_chain(const io_uring_sqe& sqe, std::int32_t value) noexcept {
    if ((sqe.flags & IOSQE_IO_HARDLINK) != 0) {
        return false;
    }
    return value < 0 || (detail::is_transfer(sqe.opcode) &&
                         static_cast<std::uint64_t>(value) != detail::transfer_size(sqe));
}

} // namespace

/// An SQE that has been taken, until its completion has been written.
struct poll_ring::request final : worker_pool::job, detail::readiness::waiting, timer {
    /// Who has it.
    enum class place : std::uint8_t {
        /// Nobody: free, behind another one of its chain, or about to start or to complete.
        none,
        /// readiness_: it waits for its descriptor.
        watched,
        /// timers_, or only the count of completions.
        timed,
        disk_workers,
        peer_workers,
    };

    std::int32_t perform() noexcept override {
        return detail::perform(sqe, where == place::peer_workers);
    }

    void fire() noexcept override { ring->finish(*this, -ETIME); }

    poll_ring* ring = nullptr;
    /// The rest of its chain.
    request* rest = nullptr;
    std::int32_t value = 0;
    place where = place::none;
    /// Its worker has been asked to break off.
    bool is_interrupted = false;
    descriptor::kind type = descriptor::kind::other;
    /// Of a timeout that counts: the completion that ends it. 0 for one that does not.
    std::uint64_t last_completion = 0;
    /// In free, starting or overflow.
    detail::list_links<request> links;
    /// In the bucket of its user_data, while it is in flight and may be cancelled.
    detail::list_links<request> bucket_links;
    detail::list_links<request> counted_links;
// The header's io_uring_sqe ends in an array of no size, which we never touch.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
    io_uring_sqe sqe{};
#pragma GCC diagnostic pop
};

struct poll_ring::lists {
    using list = detail::intrusive_list<request, &request::links>;
    using bucket_list = detail::intrusive_list<request, &request::bucket_links>;
    using counted_list = detail::intrusive_list<request, &request::counted_links>;

    [[nodiscard]] bucket_list& bucket(std::uint64_t user_data) noexcept {
        return buckets[(user_data ^ (user_data >> 12) ^ (user_data >> 6)) % bucket_count];
    }

    list free;
    /// To be started, in this order. Chains grow no stack that way.
    list starting;
    /// Completed, and the completion queue was full.
    list overflow;
    counted_list counted;
    std::array<bucket_list, bucket_count> buckets;
};

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
    switch (opcode) {
    case IORING_OP_NOP:
    case IORING_OP_POLL_ADD:
    case IORING_OP_POLL_REMOVE:
    case IORING_OP_TIMEOUT:
    case IORING_OP_TIMEOUT_REMOVE:
    case IORING_OP_ASYNC_CANCEL:
    case detail::opcode_waitid:
        return true;
    default:
        return detail::is_performed(opcode) || detail::is_socket_call(opcode);
    }
}

void poll_ring::enter(clock::time_point until) {
    flush_overflow();
    take_staged();
    look();
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
            chunks_.emplace_back();
            chunks_.back() = std::make_unique<request[]>(chunk_size);
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
        if (!is_in_chain(node.sqe) || sq_head_ == sq_.tail) { // chains do not cross an enter
            admit(*std::exchange(first, nullptr));
            run_starting();
        }
    }
}

/// What a server does most: a send by itself, for which there is room. It needs no request.
bool poll_ring::send_at_once(const io_uring_sqe& sqe) noexcept {
    if (sqe.opcode != IORING_OP_SEND || sqe.flags != 0 || refusal(sqe) != 0 || is_full() ||
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
        is_refused = is_refused || refusal(node->sqe) != 0;
    }
    if (!is_refused) {
        lists_->starting.push_back(first);
        return;
    }
    for (request* node = &first; node != nullptr;) {
        request* const next = std::exchange(node->rest, nullptr);
        const std::int32_t error = refusal(node->sqe);
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

void poll_ring::begin(request& node) noexcept {
    switch (node.sqe.opcode) {
    case IORING_OP_NOP:
        finish(node, 0);
        return;
    case IORING_OP_ASYNC_CANCEL:
        finish(node, cancel(node.sqe));
        return;
    case IORING_OP_POLL_REMOVE:
        finish(node, cancel_of_type(node.sqe, IORING_OP_POLL_ADD));
        return;
    case IORING_OP_TIMEOUT_REMOVE:
        finish(node, cancel_of_type(node.sqe, IORING_OP_TIMEOUT));
        return;
    case IORING_OP_TIMEOUT:
        begin_timeout(node);
        return;
    case IORING_OP_POLL_ADD:
        begin_poll(node);
        return;
    case detail::opcode_waitid:
        begin_wait(node);
        return;
    case IORING_OP_SHUTDOWN:
        finish(node, detail::perform(node.sqe, false)); // which waits for nobody
        return;
    default:
        if (is_multishot(node.sqe)) {
            begin_multishot(node);
        } else if (detail::is_socket_call(node.sqe.opcode)) {
            begin_socket_call(node);
        } else if (detail::is_transfer(node.sqe.opcode)) {
            begin_transfer(node);
        } else {
            begin_performed(node);
        }
        return;
    }
}

void poll_ring::begin_socket_call(request& node) noexcept {
    const std::int32_t value = detail::try_socket_call(node.sqe);
    const bool is_connect = node.sqe.opcode == IORING_OP_CONNECT;
    if (value == -EOPNOTSUPP && (is_connect || node.sqe.opcode == IORING_OP_ACCEPT)) {
        give_to_peer_workers(node);
        return;
    }
    // EAGAIN of a connect is a Unix socket whose listener has no room: there is no event for it, so
    // who asks without blocking is told.
    const bool would_block = value == (is_connect ? -EINPROGRESS : -EAGAIN);
    if (!would_block || (node.sqe.msg_flags & MSG_DONTWAIT) != 0) {
        finish(node, value);
        return;
    }
    node.where = request::place::watched;
    const std::int32_t refused =
        readiness_.add(node, node.sqe.fd, detail::awaited_events(node.sqe));
    if (refused != 0) {
        finish(node, refused);
    }
}

void poll_ring::begin_multishot(request& node) noexcept {
    const std::int32_t value = attempt_multishot(node);
    if (value != 0) {
        finish(node, value == ended_well ? 0 : value);
        return;
    }
    node.where = request::place::watched;
    const std::int32_t refused = readiness_.add_standing(node, node.sqe.fd, EPOLLIN);
    if (refused != 0) {
        finish(node, refused);
    }
}

/// A call for each event, as a loop over epoll would make it: with more there, epoll tells again.
/// Returns 0 while it goes on, otherwise what it ends with, or ended_well.
std::int32_t poll_ring::attempt_multishot(const request& node) noexcept {
    if (is_full()) {
        return 0; // epoll tells again
    }
    std::uint32_t flags = IORING_CQE_F_MORE;
    const bool is_receive = node.sqe.opcode == IORING_OP_RECV;
    const std::int32_t value =
        is_receive ? receive_into_buffer(node, flags) : detail::try_socket_call(node.sqe);
    if (value == -EAGAIN || value == -EINTR) {
        return 0;
    }
    if (is_receive && value == 0) {
        return ended_well;
    }
    if (value == -EOPNOTSUPP) {
        return -EINVAL; // one at a time, by a thread
    }
    if (value >= 0) {
        write_completion(node.sqe.user_data, value, flags);
        return 0;
    }
    return value;
}

std::int32_t poll_ring::receive_into_buffer(const request& node, std::uint32_t& flags) noexcept {
    if (buffers_ == nullptr || node.sqe.buf_group != buffers_group_) {
        return -ENOENT;
    }
    if (buffers_head_ == buffers_->tail) {
        return -ENOBUFS;
    }
    const io_uring_buf& buffer = buffers_->bufs[buffers_head_ & buffers_mask_];
    const std::int32_t value =
        detail::try_receive(node.sqe.fd, reinterpret_cast<void*>(buffer.addr), buffer.len);
    if (value > 0) {
        flags |= IORING_CQE_F_BUFFER | std::uint32_t{buffer.bid} << IORING_CQE_BUFFER_SHIFT;
        ++buffers_head_;
    }
    return value;
}

bool poll_ring::register_buffers(io_uring_buf_ring& entries, unsigned count,
                                 std::uint16_t group) noexcept {
    buffers_ = &entries;
    buffers_mask_ = count - 1;
    buffers_group_ = group;
    return true;
}

void poll_ring::begin_transfer(request& node) noexcept {
    const descriptor on = detail::look_at(node.sqe.fd);
    if (on.error != 0) {
        finish(node, on.error);
        return;
    }
    node.type = on.type;
    if (on.type == descriptor::kind::disk) {
        give_to_disk_workers(node, {.device = on.device, .inode = on.inode});
        return;
    }
    const std::int32_t value = detail::try_transfer(node.sqe, on.type);
    if (value != -EAGAIN && value != -EOPNOTSUPP) {
        finish(node, value);
        return;
    }
    if ((node.sqe.rw_flags & RWF_NOWAIT) != 0) {
        finish(node, value);
        return;
    }
    const bool is_write = node.sqe.opcode == IORING_OP_WRITE || node.sqe.opcode == IORING_OP_WRITEV;
    node.where = request::place::watched;
    const std::int32_t refused = readiness_.add(node, node.sqe.fd, is_write ? EPOLLOUT : EPOLLIN);
    if (refused == -EPERM) { // a device that is always ready, such as /dev/zero
        give_to_disk_workers(node, {});
    } else if (refused != 0) {
        finish(node, refused);
    }
}

/// A descriptor is ready. Whether that was enough.
bool poll_ring::attempt(request& node, std::uint32_t events) noexcept {
    if (node.sqe.opcode == IORING_OP_POLL_ADD) {
        readiness_.remove(node);
        finish(node, static_cast<std::int32_t>(events & (node.events() | EPOLLERR | EPOLLHUP)));
        return true;
    }
    if (is_multishot(node.sqe)) {
        const std::int32_t outcome = attempt_multishot(node);
        if (outcome != 0) {
            readiness_.remove(node);
            finish(node, outcome == ended_well ? 0 : outcome);
        }
        return true;
    }
    std::int32_t value = 0;
    if (node.sqe.opcode == detail::opcode_waitid) {
        value = detail::try_wait(node.sqe);
    } else if (node.sqe.opcode == IORING_OP_CONNECT) {
        value = detail::finish_connect(node.sqe.fd);
    } else if (detail::is_socket_call(node.sqe.opcode)) {
        value = detail::try_socket_call(node.sqe);
    } else {
        value = detail::try_transfer(node.sqe, node.type);
    }
    if (value == -EAGAIN) {
        return false; // somebody else was faster
    }
    readiness_.remove(node);
    if (value == -EOPNOTSUPP && detail::is_performed(node.sqe.opcode)) {
        // Ready, so the blocking call will hardly block; but if somebody else is faster it will.
        give_to_peer_workers(node);
    } else {
        finish(node, value);
    }
    return true;
}

void poll_ring::begin_poll(request& node) noexcept {
    const descriptor on = detail::look_at(node.sqe.fd);
    if (on.error != 0) {
        finish(node, on.error);
        return;
    }
    std::uint32_t refused_events = 0;
    if (on.type != descriptor::kind::disk) {
        node.where = request::place::watched;
        const std::int32_t refused = readiness_.add(node, node.sqe.fd, node.sqe.poll32_events);
        if (refused == 0) {
            return;
        }
        if (refused != -EPERM) {
            finish(node, refused);
            return;
        }
    }
    refused_events = node.sqe.poll32_events & events_of_disks;
    finish(node, refused_events != 0 ? static_cast<std::int32_t>(refused_events) : -EINVAL);
}

void poll_ring::begin_wait(request& node) noexcept {
    std::int32_t value = detail::try_wait(node.sqe);
    if (value == -EAGAIN) {
        node.where = request::place::watched;
        value = readiness_.add(node, node.sqe.fd, EPOLLIN);
        if (value == 0) {
            return;
        }
    }
    finish(node, value);
}

void poll_ring::begin_timeout(request& node) noexcept {
    const auto& time =
        *reinterpret_cast<const __kernel_timespec*>(static_cast<std::uintptr_t>(node.sqe.addr));
    const clock::duration duration =
        std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
    const bool is_absolute = (node.sqe.timeout_flags & IORING_TIMEOUT_ABS) != 0;
    try {
        timers_.add(node,
                    is_absolute ? clock::time_point(duration) : saturating_add(now(), duration));
    } catch (const std::bad_alloc&) {
        finish(node, -ENOMEM);
        return;
    }
    node.where = request::place::timed;
    node.last_completion = node.sqe.off == 0 ? 0 : completion_count_ + node.sqe.off;
    if (node.last_completion != 0) {
        lists_->counted.push_back(node);
    }
}

void poll_ring::begin_performed(request& node) noexcept {
    worker_pool::lane_key lane;
    const bool is_of_descriptor =
        node.sqe.opcode == IORING_OP_CLOSE || node.sqe.opcode == IORING_OP_FSYNC ||
        node.sqe.opcode == IORING_OP_FALLOCATE || node.sqe.opcode == detail::opcode_ftruncate ||
        (node.sqe.opcode == IORING_OP_STATX && node.sqe.fd >= 0);
    if (is_of_descriptor) {
        const descriptor on = detail::look_at(node.sqe.fd);
        if (on.error != 0) {
            finish(node, on.error);
            return;
        }
        lane = {.device = on.device, .inode = on.inode};
        if (node.sqe.opcode == IORING_OP_CLOSE && on.type != descriptor::kind::disk) {
            readiness_.forget(node.sqe.fd);
            finish(node, detail::perform(node.sqe, false));
            return;
        }
    }
    give_to_disk_workers(node, lane);
}

void poll_ring::give_to_disk_workers(request& node, worker_pool::lane_key lane) noexcept {
    const bool changes_file =
        node.sqe.opcode == IORING_OP_WRITE || node.sqe.opcode == IORING_OP_WRITEV ||
        node.sqe.opcode == IORING_OP_FALLOCATE || node.sqe.opcode == detail::opcode_ftruncate;
    node.where = request::place::disk_workers;
    if (const std::int32_t refused = disk_workers_.submit(node, lane, changes_file)) {
        finish(node, refused);
    }
}

void poll_ring::give_to_peer_workers(request& node) noexcept {
    node.where = request::place::peer_workers;
    if (const std::int32_t refused = peer_workers_.submit(node, {}, false)) {
        finish(node, refused);
    }
}

// --- completing ---

void poll_ring::take_performed(request& node) noexcept {
    if (node.performed_value() != detail::would_wait_for_a_peer) {
        finish(node, node.performed_value());
    } else if (node.is_interrupted) {
        finish(node, -ECANCELED);
    } else {
        give_to_peer_workers(node);
    }
}

/// The operation is over; what is linked to it starts or is cancelled.
void poll_ring::finish(request& node, std::int32_t value) noexcept {
    lists_->bucket(node.sqe.user_data).remove(node);
    node.where = request::place::none;
    node.value = value;
    request* rest = std::exchange(node.rest, nullptr);
    const bool is_broken = rest != nullptr && breaks_chain(node.sqe, value);
    if (node.sqe.opcode == IORING_OP_TIMEOUT && node.last_completion != 0) {
        lists_->counted.remove(node);
    }
    post(node);
    if (rest != nullptr && !is_broken) {
        lists_->starting.push_front(*rest);
    }
    while (is_broken && rest != nullptr) {
        request& cancelled = *std::exchange(rest, rest->rest);
        cancelled.rest = nullptr;
        cancelled.value = -ECANCELED;
        post(cancelled);
    }
}

bool poll_ring::is_full() const noexcept {
    return cq_tail_ - *cq_.head == options_.cq_entries;
}

void poll_ring::write_completion(std::uint64_t user_data, std::int32_t value,
                                 std::uint32_t flags) noexcept {
    cqes_[cq_tail_ & cq_.mask] = {.user_data = user_data, .res = value, .flags = flags};
    std::atomic_ref(cq_tail_).store(cq_tail_ + 1, std::memory_order_release);
}

void poll_ring::post(request& node) noexcept {
    const bool is_counted = node.sqe.opcode != IORING_OP_TIMEOUT;
    if (node.value < 0 || (node.sqe.flags & IOSQE_CQE_SKIP_SUCCESS) == 0) {
        if (!lists_->overflow.empty() || is_full()) {
            lists_->overflow.push_back(node);
            return;
        }
        write_completion(node.sqe.user_data, node.value, 0);
    }
    lists_->free.push_front(node); // the warmest first
    ++free_count_;
    --in_flight_;
    if (!is_counted) {
        return;
    }
    ++completion_count_;
    for (request* timeout = lists_->counted.front(); timeout != nullptr;) {
        request* const next = lists::counted_list::after(*timeout);
        if (timeout->last_completion <= completion_count_) {
            timers_.remove(*timeout);
            finish(*timeout, 0);
        }
        timeout = next;
    }
}

void poll_ring::flush_overflow() noexcept {
    while (!lists_->overflow.empty() && !is_full()) {
        // One by one through an empty list, or post would only append it again.
        request& node = lists_->overflow.pop_front();
        write_completion(node.sqe.user_data, node.value, 0);
        lists_->free.push_front(node);
        ++free_count_;
        --in_flight_;
    }
}

// --- cancelling ---

std::int32_t poll_ring::cancel(const io_uring_sqe& sqe) noexcept {
    const unsigned flags = sqe.cancel_flags;
    const bool by_fd = (flags & IORING_ASYNC_CANCEL_FD) != 0;
    const bool any = (flags & IORING_ASYNC_CANCEL_ANY) != 0;
    const bool all = (flags & IORING_ASYNC_CANCEL_ALL) != 0 || any;
    if (by_fd && ::fcntl(sqe.fd, F_GETFD) < 0) {
        return -EBADF;
    }
    std::int32_t count = 0;
    const auto stop_in = [&](lists::bucket_list& bucket) -> std::int32_t {
        for (request* node = bucket.front(); node != nullptr;) {
            request* const next = lists::bucket_list::after(*node);
            const bool is_meant =
                node->where != request::place::none &&
                (any || (by_fd ? node->sqe.opcode != IORING_OP_TIMEOUT && node->sqe.fd == sqe.fd
                               : node->sqe.user_data == sqe.addr));
            if (is_meant) {
                const std::int32_t outcome = stop(*node);
                if (!all) {
                    return outcome;
                }
                ++count;
            }
            node = next;
        }
        return -ENOENT;
    };
    if (!by_fd && !any) {
        const std::int32_t outcome = stop_in(lists_->bucket(sqe.addr));
        return all ? count : outcome;
    }
    for (auto& bucket : lists_->buckets) {
        const std::int32_t outcome = stop_in(bucket);
        if (!all && outcome != -ENOENT) {
            return outcome;
        }
    }
    return all ? count : -ENOENT;
}

std::int32_t poll_ring::cancel_of_type(const io_uring_sqe& sqe, std::uint8_t opcode) noexcept {
    auto& bucket = lists_->bucket(sqe.addr);
    for (request* node = bucket.front(); node != nullptr; node = lists::bucket_list::after(*node)) {
        if (node->sqe.user_data == sqe.addr && node->sqe.opcode == opcode &&
            node->where != request::place::none) {
            return stop(*node);
        }
    }
    return -ENOENT;
}

/// Asks an operation to end. 0 if it has; -EALREADY if it will, or will not.
std::int32_t poll_ring::stop(request& node) noexcept {
    switch (node.where) {
    case request::place::none:
        break;
    case request::place::watched:
        readiness_.remove(node);
        finish(node, -ECANCELED);
        return 0;
    case request::place::timed:
        timers_.remove(node);
        finish(node, -ECANCELED);
        return 0;
    case request::place::disk_workers:
    case request::place::peer_workers: {
        if (node.sqe.opcode == IORING_OP_CLOSE) {
            return -EALREADY; // or the descriptor would be lost
        }
        if (node.is_interrupted) {
            return -EALREADY; // it is interrupted again in good time
        }
        auto& workers = node.where == request::place::disk_workers ? disk_workers_ : peer_workers_;
        if (workers.withdraw(node)) {
            finish(node, -ECANCELED);
            return 0;
        }
        workers.interrupt(node);
        node.is_interrupted = true;
        repeat_interrupts_after_ = interrupt_again_first;
        repeat_interrupts_at_ = now() + interrupt_again_first;
        return -EALREADY;
    }
    }
    return -ENOENT;
}

} // namespace sapwood
