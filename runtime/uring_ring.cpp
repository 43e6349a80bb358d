#include "uring_ring.hpp"

#include "sqe_calls.hpp"
#include "uring_features.hpp"

#include <sapwood/fmt_library.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <stdexcept>
#include <sys/resource.h>
#include <system_error>

#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

namespace sapwood {

namespace {

/// Best first. DEFER_TASKRUN (6.1) runs completions when the loop asks, not in the middle of a
/// task; COOP_TASKRUN (5.19) at least sends no interrupts; SUBMIT_ALL (5.18) keeps one bad SQE
/// from holding up those behind it.
constexpr std::array setup_ladder{
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
        IORING_SETUP_SUBMIT_ALL,
    IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
    IORING_SETUP_SUBMIT_ALL,
    0u,
};

/// NODROP (5.5): completions that do not fit are kept. SUBMIT_STABLE (5.5): what an SQE points to
/// is copied at submission. RW_CUR_POS (5.6): reads and writes where the file stands.
constexpr unsigned features_required =
    IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE | IORING_FEAT_RW_CUR_POS;

constexpr unsigned sq_entries_min = 4;

// Newer than liburing 2.3's header: a thread that waits is idle, and not waiting for a disk (6.15).
constexpr unsigned feature_no_iowait = 1u << 17;
constexpr unsigned enter_no_iowait = 1u << 7;

/// How long one sleeps for which the kernel has taken nothing for want of memory.
constexpr clock::duration enter_again_after = std::chrono::milliseconds(1);
constexpr clock::duration interrupt_again_after = std::chrono::milliseconds(4);

/// kernel.io_uring_disabled (6.6): 0 allowed, 1 only for a group, 2 for nobody. -1 where unknown.
int io_uring_disabled_sysctl() {
    std::ifstream file("/proc/sys/kernel/io_uring_disabled");
    int value = -1;
    file >> value;
    return file ? value : -1;
}

std::string why_refused(int error) {
    switch (error) {
    case ENOSYS:
        return "this kernel has no io_uring (it needs Linux 5.6 or later, built with "
               "CONFIG_IO_URING)";
    case EPERM:
        switch (io_uring_disabled_sysctl()) {
        case 2:
            return "kernel.io_uring_disabled is 2, which forbids it to everybody; allow it with "
                   "`sysctl kernel.io_uring_disabled=0`";
        case 1:
            return "kernel.io_uring_disabled is 1, which forbids it to unprivileged processes; "
                   "join the group of kernel.io_uring_group or allow it with `sysctl "
                   "kernel.io_uring_disabled=0`";
        default:
            return "a seccomp filter refuses it, as Docker's default profile does; allow the "
                   "syscalls io_uring_setup, io_uring_enter and io_uring_register (425 to 427) in "
                   "the container's seccomp profile";
        }
    case ENOMEM: {
        rlimit limit{};
        ::getrlimit(RLIMIT_MEMLOCK, &limit);
        return fmt::format("the memory lock limit of {} KiB is too small even for {} entries; "
                           "raise it with `ulimit -l` or LimitMEMLOCK=",
                           limit.rlim_cur / 1024, sq_entries_min);
    }
    case EMFILE:
    case ENFILE:
        return "no file descriptor is free; raise the limit with `ulimit -n`";
    case EINVAL:
    case EOPNOTSUPP:
        return "this kernel is too old: the event loop needs Linux 5.6 or later";
    default:
        return "the kernel refused";
    }
}

[[noreturn]] void throw_unavailable(int error) {
    throw std::system_error(error, std::generic_category(),
                            "cannot make an io_uring: " + why_refused(error));
}

/// One try. Returns 0 or a negative errno, as liburing does.
int try_setup(io_uring& uring, unsigned flags, const uring_ring::options& wanted) {
    io_uring_params params{};
    params.flags = flags | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
    params.cq_entries = wanted.cq_entries;
    const int outcome = ::io_uring_queue_init_params(wanted.sq_entries, &uring, &params);
    if (outcome == 0 && (params.features & features_required) != features_required) {
        ::io_uring_queue_exit(&uring);
        return -EOPNOTSUPP;
    }
    return outcome;
}

/// The thread sanitizer does not see liburing map and unmap. Where one thread's ring takes the
/// place in memory of another's that is gone, it would report a race: tell it that they follow each
/// other.
#if defined(__SANITIZE_THREAD__)
char ring_memory;

void note_mapped() noexcept {
    ::__tsan_acquire(&ring_memory);
}

void note_unmapped() noexcept {
    ::__tsan_release(&ring_memory);
}
#else
void note_mapped() noexcept {}

void note_unmapped() noexcept {}
#endif

void end_ring(io_uring* uring) noexcept {
    note_unmapped();
    ::io_uring_queue_exit(uring);
}

} // namespace

uring_ring::uring_ring(options wanted) : granted_(wanted) {
    if (wanted.sq_entries == 0) {
        throw std::invalid_argument("loop_options.sq_entries must be at least 1");
    }
    wanted.cq_entries = std::max(wanted.cq_entries, wanted.sq_entries);
    granted_ = wanted;
    const auto* flags = std::ranges::find_if(
        setup_ladder, [&](unsigned each) { return (each & wanted.setup_withheld) == 0; });
    int outcome = try_setup(uring_, *flags, granted_);
    while (outcome < 0) {
        if (outcome == -EINVAL && std::next(flags) != setup_ladder.end()) {
            ++flags;
        } else if (outcome == -ENOMEM && granted_.sq_entries > sq_entries_min) {
            granted_.sq_entries = std::max(granted_.sq_entries / 2, sq_entries_min);
            granted_.cq_entries = std::max(granted_.cq_entries / 2, granted_.sq_entries);
        } else {
            throw_unavailable(-outcome);
        }
        outcome = try_setup(uring_, *flags, granted_);
    }
    note_mapped();
    std::unique_ptr<io_uring, void (*)(io_uring*)> unfinished(&uring_, end_ring);
    setup_flags_ = *flags;
    granted_ = {.sq_entries = uring_.sq.ring_entries,
                .cq_entries = uring_.cq.ring_entries,
                .workers_max = wanted.workers_max,
                .setup_withheld = wanted.setup_withheld,
                .features_withheld = wanted.features_withheld,
                .opcodes_withheld = wanted.opcodes_withheld,
                .withholds_buffer_rings = wanted.withholds_buffer_rings};
    features_ = uring_.features & ~wanted.features_withheld;
    has_ext_arg_ = (features_ & IORING_FEAT_EXT_ARG) != 0;
    is_no_iowait_ = (features_ & feature_no_iowait) != 0;

    // Both are only savings: a registered descriptor spares a reference per enter (5.18), and
    // without dontfork a child could scribble on the rings.
    ring_fd_is_registered_ = ::io_uring_register_ring_fd(&uring_) == 1;
    (void)::io_uring_ring_dontfork(&uring_);
    // Of bounded work; 0 leaves the other kind as it is. 5.15 has it.
    unsigned workers_max[2] = {wanted.workers_max, 0};
    (void)::io_uring_register_iowq_max_workers(&uring_, workers_max);

    // The indirection array stays the identity for ever: entry i of the ring is SQE i.
    for (unsigned i = 0; i < uring_.sq.ring_entries; ++i) {
        uring_.sq.array[i] = i;
    }
    sq_ = {.sqes = uring_.sq.sqes,
           .entries = uring_.sq.ring_entries,
           .mask = uring_.sq.ring_mask,
           .tail = *uring_.sq.ktail,
           .head = uring_.sq.khead,
           .flags = uring_.sq.kflags};
    cq_ = {.cqes = uring_.cq.cqes,
           .mask = uring_.cq.ring_mask,
           .head = uring_.cq.khead,
           .tail = uring_.cq.ktail};
    published_ = sq_.tail;
    opcodes_ = known_opcodes() & ~wanted.opcodes_withheld;
    if (const std::uint64_t missing = missing_opcodes()) {
        fallback_ = std::make_unique<opcode_fallback>(missing);
        use_own_completion_queue();
    }
    (void)unfinished.release();
}

uring_ring::~uring_ring() {
    end_ring(&uring_);
}

/// Those below 64 that this kernel's ring knows. One that does not say may know them all: there is
/// no ring then.
std::uint64_t uring_ring::known_opcodes() {
    constexpr unsigned asked = 64;
    const std::unique_ptr<io_uring_probe, void (*)(void*)> probe(
        static_cast<io_uring_probe*>(
            std::calloc(1, sizeof(io_uring_probe) + asked * sizeof(io_uring_probe_op))),
        std::free);
    if (probe == nullptr) {
        throw std::bad_alloc();
    }
    const int outcome = ::io_uring_register_probe(&uring_, probe.get(), asked);
    if (outcome == -ENOMEM) {
        throw std::system_error(ENOMEM, std::generic_category(),
                                "cannot make an io_uring: the kernel has no memory to say which "
                                "operations it has");
    }
    if (outcome < 0) {
        throw_unavailable(-outcome);
    }
    std::uint64_t known = 0;
    for (unsigned opcode = 0; opcode < asked; ++opcode) {
        if (::io_uring_opcode_supported(probe.get(), static_cast<int>(opcode)) != 0) {
            known |= std::uint64_t{1} << opcode;
        }
    }
    return known;
}

/// Those that we can carry out otherwise and this kernel's ring does not know.
std::uint64_t uring_ring::missing_opcodes() const noexcept {
    std::uint64_t performed = 0;
    for (unsigned opcode = 0; opcode < 64; ++opcode) {
        if (opcode_fallback::knows(static_cast<std::uint8_t>(opcode))) {
            performed |= std::uint64_t{1} << opcode;
        }
    }
    return performed & ~opcodes_;
}

/// Asked by trying, since no bit tells.
bool uring_ring::has_buffer_rings() const noexcept {
    if (granted_.withholds_buffer_rings) {
        return false;
    }
    constexpr std::size_t page_bytes = 4096;
    const std::unique_ptr<void, void (*)(void*)> page(std::aligned_alloc(page_bytes, page_bytes),
                                                      std::free);
    if (page == nullptr) {
        return false;
    }
    io_uring_buf_reg trial{};
    trial.ring_addr = reinterpret_cast<std::uintptr_t>(page.get());
    trial.ring_entries = 1;
    trial.bgid = UINT16_MAX;
    auto& uring = const_cast<io_uring&>(uring_);
    const int outcome = ::io_uring_register_buf_ring(&uring, &trial, 0);
    if (outcome == 0) {
        ::io_uring_unregister_buf_ring(&uring, UINT16_MAX);
    }
    return outcome == 0 || outcome == -EEXIST;
}

std::vector<ring_feature> uring_ring::features() const {
    return detail::uring_features({.setup = setup_flags_,
                                   .features = features_,
                                   .opcodes = opcodes_,
                                   .ring_fd_is_registered = ring_fd_is_registered_,
                                   .has_buffer_rings = has_buffer_rings()});
}

clock::time_point uring_ring::coarse_now() const noexcept {
    return coarse_clock_now();
}

void uring_ring::enter(clock::time_point until) {
    if (fallback_ != nullptr) [[unlikely]] {
        publish_staged();
        copy_completions();
        if (has_completions()) {
            until = dont_wait;
        } else if (until != dont_wait && fallback_->repeat_interrupts()) {
            until = std::min(until, clock::now() + interrupt_again_after);
        }
    }
    const int outcome = submit_and_wait(until);
    if (fallback_ != nullptr) [[unlikely]] {
        copy_completions();
    }
    switch (outcome < 0 ? -outcome : 0) {
    case 0:
    case ETIME:  // the deadline came
    case EINTR:  // a signal came
    case EAGAIN: // the kernel is short of memory for requests: reap, then try again
    case EBUSY:  // completions wait to be reaped before more can be taken
        return;
    default:
        // EBADR (completions were dropped) included: operations whose completion never comes
        // leave their tasks waiting for ever, which is worse than to stop here.
        throw std::system_error(-outcome, std::generic_category(),
                                "io_uring_enter failed; the event loop cannot go on");
    }
}

int uring_ring::submit_and_wait(clock::time_point until) noexcept {
    // GETEVENTS even without waiting: with DEFER_TASKRUN nothing completes otherwise.
    unsigned flags = IORING_ENTER_GETEVENTS;
    if ((uring_.int_flags & 1) != 0) { // INT_FLAG_REG_RING of liburing 2.2 and later
        flags |= IORING_ENTER_REGISTERED_RING;
    }
    if (is_no_iowait_) {
        flags |= enter_no_iowait;
    }
    io_uring_getevents_arg arg{};
    arg.sigmask_sz = _NSIG / 8;
    unsigned min_complete = 0;
    if (until != dont_wait) {
        min_complete = 1;
        if (until != no_deadline) {
            const auto left = std::max(until - clock::now(), clock::duration::zero());
            const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(left);
            timeout_.tv_sec = seconds.count();
            timeout_.tv_nsec = std::chrono::nanoseconds(left - seconds).count();
            arg.ts = reinterpret_cast<std::uintptr_t>(&timeout_);
            if (!has_ext_arg_) [[unlikely]] {
                // Ends with the next completion or at the deadline, so they never pile up. Its own
                // completion, with user_data 0, is nobody's.
                if (auto* const sqe = next_sqe()) {
                    ::io_uring_prep_timeout(sqe, &timeout_, 1, 0);
                    sqe->user_data = 0;
                } else {
                    min_complete = 0;
                }
            }
        }
    }
    std::atomic_ref(*uring_.sq.ktail).store(sq_.tail, std::memory_order_release);
    // What is staged is counted anew each time: an enter that a signal broke off has perhaps
    // taken only some of it.
    const auto ring_fd = static_cast<unsigned>(uring_.enter_ring_fd);
    int outcome = 0;
    if (arg.ts == 0 || !has_ext_arg_) {
        // Without a deadline the argument would only cost its copy into the kernel, some 20 ns.
        outcome = ::io_uring_enter(ring_fd, staged(), min_complete, flags, nullptr);
    } else {
        outcome = ::io_uring_enter2(ring_fd, staged(), min_complete, flags | IORING_ENTER_EXT_ARG,
                                    reinterpret_cast<sigset_t*>(&arg), sizeof(arg));
    }
    if (outcome == -EAGAIN || outcome == -EBUSY) [[unlikely]] {
        // The kernel has got no further than to what it would not take, and what it wants for that
        // is that others complete, which with DEFER_TASKRUN is done where it is asked for. Memory
        // may take a while: who would have slept sleeps for a moment.
        const bool waits = until != dont_wait && has_ext_arg_;
        if (waits) {
            const auto left =
                std::clamp(until - clock::now(), clock::duration::zero(), enter_again_after);
            timeout_ = {.tv_sec = 0, .tv_nsec = std::chrono::nanoseconds(left).count()};
            arg.ts = reinterpret_cast<std::uintptr_t>(&timeout_);
            (void)::io_uring_enter2(ring_fd, 0, 1, flags | IORING_ENTER_EXT_ARG,
                                    reinterpret_cast<sigset_t*>(&arg), sizeof(arg));
        } else {
            (void)::io_uring_enter(ring_fd, 0, 0, flags, nullptr);
        }
    }
    return outcome;
}

// --- what the kernel lacks ---

/// Looks through what has been staged since the last time for operations that the kernel lacks.
void uring_ring::publish_staged() noexcept {
    while (fallback_->has_to_resume()) {
        auto* const sqe = next_sqe();
        if (sqe == nullptr) {
            break;
        }
        fallback_->resume(*sqe);
    }
    bool is_linked = false;
    for (; published_ != sq_.tail; ++published_) {
        io_uring_sqe& sqe = sq_.sqes[published_ & sq_.mask];
        if (fallback_->lacks(sqe.opcode) && !is_linked) {
            fallback_->replace(sqe);
        }
        is_linked = (sqe.flags & (IOSQE_IO_LINK | IOSQE_IO_HARDLINK)) != 0;
    }
}

/// Completions pass through our hands, which costs each a copy.
void uring_ring::use_own_completion_queue() {
    own_cqes_.resize(granted_.cq_entries);
    cq_ = {.cqes = own_cqes_.data(),
           .mask = granted_.cq_entries - 1,
           .head = &own_cq_head_,
           .tail = &own_cq_tail_};
    if ((setup_flags_ & IORING_SETUP_DEFER_TASKRUN) == 0) {
        // Completions appear without a sign that we would see, with COOP_TASKRUN in the midst of
        // any system call: enter in every turn.
        own_sq_flags_ = IORING_SQ_TASKRUN;
        sq_.flags = &own_sq_flags_;
    }
}

void uring_ring::copy_completions() noexcept {
    unsigned head = *uring_.cq.khead;
    const unsigned tail = load_acquire(uring_.cq.ktail);
    while (head != tail && own_cq_tail_ - own_cq_head_ != granted_.cq_entries) {
        const io_uring_cqe& cqe = uring_.cq.cqes[head & uring_.cq.ring_mask];
        if (const auto value = fallback_->result(cqe.user_data, cqe.res)) {
            own_cqes_[own_cq_tail_ & cq_.mask] = {
                .user_data = cqe.user_data, .res = *value, .flags = cqe.flags};
            std::atomic_ref(own_cq_tail_).store(own_cq_tail_ + 1, std::memory_order_release);
        }
        std::atomic_ref(*uring_.cq.khead).store(++head, std::memory_order_release);
    }
}

bool uring_ring::register_buffers(io_uring_buf_ring& entries, unsigned count,
                                  std::uint16_t group) noexcept {
    io_uring_buf_reg wanted{};
    wanted.ring_addr = reinterpret_cast<std::uintptr_t>(&entries);
    wanted.ring_entries = count;
    wanted.bgid = group;
    return !granted_.withholds_buffer_rings &&
           ::io_uring_register_buf_ring(&uring_, &wanted, 0) == 0; // Linux 5.19
}

std::string uring_ring::report() const {
    return fmt::format("io_uring, {} submission and {} completion entries, {}{}{}",
                       granted_.sq_entries, granted_.cq_entries,
                       (setup_flags_ & IORING_SETUP_DEFER_TASKRUN) != 0  ? "deferred task work"
                       : (setup_flags_ & IORING_SETUP_COOP_TASKRUN) != 0 ? "cooperative task work"
                                                                         : "plain setup",
                       has_ext_arg_ ? "" : ", a timeout per wait",
                       fallback_ == nullptr ? "" : ", threads for what the kernel lacks");
}

} // namespace sapwood
