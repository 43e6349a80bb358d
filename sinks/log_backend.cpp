#include <sapwood/log_backend.hpp>

#include "log_registry.hpp"
#include "thread_rings.hpp"

#include <sapwood/assert.hpp>
#include <sapwood/errors.hpp>
#include <sapwood/list_awaiter.hpp>

#include <algorithm>
#include <ctime>
#include <linux/membarrier.h>
#include <pthread.h>
#include <string_view>
#include <sys/syscall.h>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace sapwood::detail {

namespace {

std::atomic<std::uint64_t> last_backend_id{0};

int membarrier(int command) noexcept {
    return static_cast<int>(::syscall(SYS_membarrier, command, 0, 0));
}

std::string name_of_thread() {
    char name[16] = {};
    return ::pthread_getname_np(::pthread_self(), name, sizeof(name)) == 0 ? name : "";
}

} // namespace

log_producer::log_producer(std::size_t ring_bytes, std::uint32_t ordinal)
    : memory(ring_bytes),
      thread{.id = static_cast<std::uint32_t>(memory.header().thread),
             .ordinal = ordinal,
             .name = name_of_thread()},
      writer(memory.header()),
      reader(memory.header()) {}

/// The loop knows the bell, and may outlive it. Who is the last to keep a ring is its thread, whose
/// the loop is, or comes when that has ended.
log_producer::~log_producer() {
    if (room_bell != nullptr) {
        room_bell->retire();
    }
}

log_backend::log_backend(const log_backend_options& options)
    : id_(last_backend_id.fetch_add(1, std::memory_order_relaxed) + 1),
      redacted_(options.redacted),
      ticks_are_trusted_(kernel_trusts_ticks()),
      wants_location_(options.wants_location),
      wants_task_(options.wants_task),
      has_crash_handler_(options.has_crash_handler),
      wants_site_(options.wants_site),
      has_membarrier_(membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0),
      is_durable_(options.is_durable),
      ring_bytes_(options.ring_bytes),
      full_(options.full) {}

// --- fork ---

void log_backend::become_childs(void (*start)(void*), void* with) noexcept {
    // What threads of the parent wait on, and what its loops own, is left as it is: nobody may
    // touch it any more.
    std::construct_at(&flushed_);
    std::construct_at(&bell_);
    std::construct_at(&flush_bells_);
    for (const auto& each : counted_) {
        std::construct_at(&each->room_waiters);
        std::construct_at(&each->room_bell);
    }
    id_ = last_backend_id.fetch_add(1, std::memory_order_relaxed) + 1;
    new_producers_.clear();
    counted_.clear();
    retired_ = {};
    wake_ups_.store(0, std::memory_order_relaxed);
    requests_.become_childs();
    has_new_producers_.store(false, std::memory_order_relaxed);
    dropped_without_ring_.store(0, std::memory_order_relaxed);
    flushes_requested_.store(0, std::memory_order_relaxed);
    dumps_requested_.store(0, std::memory_order_relaxed);
    flush_failed_.store(false, std::memory_order_relaxed);
    sync_requested_.store(0, std::memory_order_relaxed);
    is_durable_ = false; // that is the parent's affair
    note_.store(nullptr, std::memory_order_relaxed);
    consumer_loop_.store(nullptr, std::memory_order_relaxed);
    if (close_requested()) {
        finished_.store(true, std::memory_order_relaxed);
        flushes_done_.store(~std::uint64_t{0}, std::memory_order_relaxed);
        return;
    }
    flushes_done_.store(0, std::memory_order_relaxed);
    start_with_ = with;
    start_.store(start, std::memory_order_release);
    // The first record makes its thread come to wake(), and so does the first flush.
    consumer_state_.store(state::asleep, std::memory_order_relaxed);
    tell_asleep(true);
}

// --- threads that log ---

log_producer* log_backend::find_producer() noexcept {
    if (log_producer* const known = find_thread_ring(id_)) {
        thread_log = {id_, known};
        return known;
    }
    try {
        const std::lock_guard lock(mutex_);
        auto made = std::make_shared<log_producer>(ring_bytes_, threads_seen_ + 1);
        new_producers_.reserve(new_producers_.size() + 1);
        counted_.reserve(counted_.size() + 1);
        // What was lost before is no affair of the records that come; but what this thread could
        // not put into a ring that it did not have is.
        made->losses_told = durable_lost_.load(std::memory_order_acquire);
        made->is_late = !keep_thread_ring(id_, made, has_crash_handler_);
        thread_log = {id_, made.get()};
        if (++threads_seen_ == 1) {
            log_registry::note_first_record();
        }
        counted_.push_back(made);
        new_producers_.push_back(std::move(made));
        has_new_producers_.store(true, std::memory_order_release);
        return thread_log.producer;
    } catch (const std::exception&) { // no memory
        return nullptr;
    }
}

bool log_backend::may_wait(level importance) const noexcept {
    if (running_loop != nullptr || finished_.load(std::memory_order_acquire)) {
        return false;
    }
    switch (full_.policy) {
    case log_full_policy::block:
    case log_full_policy::block_for:
        return true;
    case log_full_policy::drop_newest:
    case log_full_policy::drop_oldest:
        return false;
    case log_full_policy::drop_below:
        return importance >= full_.keep;
    }
    return false;
}

char* log_backend::make_room(log_producer& producer, std::size_t bytes, level importance) noexcept {
    log_ring_writer& ring = producer.writer;
    std::int64_t deadline = -1;
    while (true) {
        bool half_full = false;
        char* const place = ring.reserve_slowly(bytes, half_full);
        if (half_full) {
            wake_napping();
        }
        if (place != nullptr) {
            return place;
        }
        if (full_.policy == log_full_policy::drop_oldest && ring.drop_oldest(bytes)) {
            continue;
        }
        if (!may_wait(importance)) {
            break;
        }
        if (full_.policy == log_full_policy::block_for) {
            const auto now = static_cast<std::int64_t>(monotonic_ns());
            deadline = deadline < 0 ? now + full_.at_most.count() : deadline;
            if (now >= deadline) {
                break;
            }
        }
        ring.wait_for_room(deadline, finished_);
    }
    ring.drop(full_.policy == log_full_policy::drop_below ? drop_reason::below_level
                                                          : drop_reason::ring_full);
    notify();
    return nullptr;
}

bool log_backend::must_wait_for_room(log_producer& producer) {
    if (producer.room_bell == nullptr || !producer.room_bell->is_for_this_loop()) {
        auto bell = loop_bell::make();
        bell->on_ring([](void* list) { wake_all(*static_cast<waiter_list*>(list)); },
                      &producer.room_waiters);
        {
            const std::lock_guard lock(mutex_);
            producer.room_bell.swap(bell);
        }
        if (bell != nullptr) {
            bell->retire(); // another loop's that this thread has: none of its tasks waits
        }
    }
    if (!producer.writer.ask_for_room()) {
        // That took back what others have asked for: who made the room may have found no request.
        wake_all(producer.room_waiters);
        return false;
    }
    wake_napping();
    return !finished_.load(std::memory_order_seq_cst);
}

void log_backend::ring_for_room(const log_producer& producer) noexcept {
    std::shared_ptr<loop_bell> bell;
    {
        const std::lock_guard lock(mutex_);
        bell = producer.room_bell;
    }
    bell->ring();
}

void log_backend::wake() noexcept {
    if (consumer_state_.exchange(state::awake, std::memory_order_acq_rel) == state::awake) {
        return; // somebody else does it
    }
    tell_asleep(false);
    wake_ups_.fetch_add(1, std::memory_order_relaxed);
    if (waits_for_start()) [[unlikely]] {
        start_.exchange(nullptr, std::memory_order_acq_rel)(start_with_);
        return;
    }
    std::shared_ptr<loop_bell> bell;
    {
        const std::lock_guard lock(mutex_);
        bell = bell_;
    }
    if (bell != nullptr) {
        bell->ring();
    }
}

/// After a change of consumer_state_. A thread that still sees the old word asks wake(), which
/// knows better.
void log_backend::tell_asleep(bool asleep) noexcept {
    if (is_asleep_.load(std::memory_order_relaxed) != asleep) {
        is_asleep_.store(asleep, std::memory_order_relaxed);
    }
}

void log_backend::wake_napping() noexcept {
    if (consumer_state_.load(std::memory_order_seq_cst) != state::awake) {
        wake();
    }
}

bool log_backend::flush_blocking() {
    SAPWOOD_ASSERT(running_loop == nullptr || running_loop != consumer_loop(),
                   "flush_blocking() on the loop that writes the log would wait for itself: "
                   "co_await flush() there");
    std::uint64_t number = 0;
    {
        const std::lock_guard lock(mutex_);
        number = flushes_requested_.fetch_add(1, std::memory_order_seq_cst) + 1;
    }
    wake_napping();
    std::unique_lock lock(mutex_);
    flushed_.wait(lock, [&] { return flushes_done() >= number; });
    return !last_flush_failed();
}

bool log_backend::flush_until(std::chrono::steady_clock::time_point deadline) {
    std::unique_lock lock(mutex_);
    const std::uint64_t number = flushes_requested_.fetch_add(1, std::memory_order_seq_cst) + 1;
    lock.unlock();
    wake_napping();
    lock.lock();
    return flushed_.wait_until(lock, deadline, [&] { return flushes_done() >= number; }) &&
           !last_flush_failed();
}

bool log_backend::wait_until_finished(std::chrono::steady_clock::time_point deadline) {
    std::unique_lock lock(mutex_);
    return flushed_.wait_until(lock, deadline, [&] { return flushes_done() == ~std::uint64_t{0}; });
}

void log_backend::flush_then_ring(const std::shared_ptr<loop_bell>& bell) {
    {
        const std::lock_guard lock(mutex_);
        if (finished_.load(std::memory_order_relaxed)) {
            bell->ring();
            return;
        }
        flush_bells_.emplace_back(flushes_requested_.load(std::memory_order_relaxed) + 1, bell);
        flushes_requested_.fetch_add(1, std::memory_order_seq_cst);
    }
    wake_napping();
}

// --- on disk ---

/// What of a thread's records was dropped, and what durable outputs have lost of anybody's.
std::uint64_t log_backend::losses_of(const log_producer* producer) const noexcept {
    std::uint64_t losses = durable_lost_.load(std::memory_order_acquire) + dropped_without_ring();
    for (std::size_t i = 0; producer != nullptr && i < drop_reasons; ++i) {
        losses += producer->reader.drops(static_cast<drop_reason>(i));
    }
    return losses;
}

log_backend::durable_wait log_backend::begin_durable() {
    if (!is_durable_) {
        throw std::system_error(std::make_error_code(std::errc::operation_not_supported),
                                "waiting for a log to be durable: none of its outputs is to be; "
                                "set logger_options::durable, or file_log_sink_options::durable of "
                                "a file among its outputs");
    }
    if (has_finished()) {
        throw std::system_error(errc::closed, "waiting for a log to be durable");
    }
    const bool waits_for_others = !has_logged();
    log_producer* const mine = producer();
    if (mine == nullptr) {
        return {};
    }
    if (waits_for_others) {
        mine->losses_told = 0;
    }
    return {.losses_told = mine->losses_told};
}

/// This thread: it has its ring.
bool log_backend::has_logged() const noexcept {
    return thread_log.backend == id_ || find_thread_ring(id_) != nullptr;
}

/// With mutex_ held.
std::uint64_t log_backend::request_sync() noexcept {
    // Who sees the number of the flush sees that it is to be on disk.
    std::uint64_t before = flushes_requested_.load(std::memory_order_relaxed);
    do {
        sync_requested_.store(before + 1, std::memory_order_release);
    } while (
        !flushes_requested_.compare_exchange_weak(before, before + 1, std::memory_order_seq_cst));
    return before + 1;
}

void log_backend::flush_blocking(durable_wait& wait) {
    SAPWOOD_ASSERT(running_loop == nullptr || running_loop != consumer_loop(),
                   "durable_blocking() on the loop that writes the log would wait for itself: "
                   "co_await durable() there");
    std::unique_lock lock(mutex_);
    wait.number = request_sync();
    lock.unlock();
    wake_napping();
    lock.lock();
    flushed_.wait(lock, [&] { return flushes_done() >= wait.number; });
}

void log_backend::flush_then_ring(const std::shared_ptr<loop_bell>& bell, durable_wait& wait) {
    {
        const std::lock_guard lock(mutex_);
        if (finished_.load(std::memory_order_relaxed)) {
            wait.number = ~std::uint64_t{0};
            bell->ring();
            return;
        }
        flush_bells_.reserve(flush_bells_.size() + 1);
        wait.number = request_sync();
        flush_bells_.emplace_back(wait.number, bell);
    }
    wake_napping();
}

void log_backend::end_durable(const durable_wait& wait) {
    log_producer* const mine = producer();
    if (const std::uint64_t losses = losses_of(mine); losses != wait.losses_told) {
        if (mine != nullptr) {
            mine->losses_told = losses;
        }
        throw std::system_error(errc::lost, "waiting for a log to be durable");
    }
    if (durable_through_.load(std::memory_order_acquire) < wait.number) {
        if (has_finished() && !last_flush_failed()) {
            throw std::system_error(errc::closed, "waiting for a log to be durable");
        }
        throw std::system_error(std::make_error_code(std::errc::io_error),
                                "waiting for a log to be durable: an output fails; standard error "
                                "says which, and why");
    }
}

void log_backend::note_durable(std::uint64_t number, std::uint64_t lost) noexcept {
    durable_lost_.store(lost, std::memory_order_release);
    if (number > durable_through_.load(std::memory_order_relaxed)) {
        durable_through_.store(number, std::memory_order_release);
    }
}

void log_backend::dump_recent() noexcept {
    dumps_requested_.fetch_add(1, std::memory_order_seq_cst);
    wake_napping();
}

void log_backend::close() noexcept {
    closing_.store(true, std::memory_order_seq_cst);
    wake_napping();
}

// --- crash ---

std::uint64_t log_backend::ask_in_crash(const signal_note& note) noexcept {
    // Whatever flush begins from here on comes behind all that this thread has committed.
    note_flush_.store(flushes_requested_.load(std::memory_order_seq_cst) + 1,
                      std::memory_order_relaxed);
    note_.store(&note, std::memory_order_release);
    const std::uint64_t number = flushes_requested_.fetch_add(1, std::memory_order_seq_cst) + 1;
    ring_in_crash();
    return number;
}

/// The crash may have come while somebody held the lock: perhaps this thread.
void log_backend::ring_in_crash() noexcept {
    constexpr int attempts = 20;
    for (int i = 0; i < attempts; ++i) {
        if (mutex_.try_lock()) {
            const bool rung = bell_ == nullptr || bell_->try_ring();
            mutex_.unlock();
            if (rung) {
                return;
            }
        }
        constexpr timespec pause{.tv_sec = 0, .tv_nsec = 1'000'000};
        ::nanosleep(&pause, nullptr);
    }
}

// --- the consumer ---

void log_backend::attach(std::shared_ptr<loop_bell> bell) {
    const std::lock_guard lock(mutex_);
    bell_ = std::move(bell);
    consumer_loop_.store(&event_loop::current(), std::memory_order_release);
}

bool log_backend::set_state(state next) noexcept {
    if (next == state::asleep && !has_membarrier_) {
        return false;
    }
    consumer_state_.store(next, std::memory_order_seq_cst);
    tell_asleep(next == state::asleep);
    // A thread that has committed without seeing this state: its commit is visible from here on.
    return next != state::asleep || membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) == 0;
}

void log_backend::finish_flushes(std::uint64_t number, bool failed) noexcept {
    {
        const std::lock_guard lock(mutex_);
        flush_failed_.store(failed, std::memory_order_release);
        flushes_done_.store(number, std::memory_order_release);
    }
    flushed_.notify_all();
    while (const auto bell = take_flush_bell(number)) {
        bell->ring();
    }
}

/// One that is to be rung when all flushes up to `number` are done; null where none is left.
std::shared_ptr<loop_bell> log_backend::take_flush_bell(std::uint64_t number) noexcept {
    const std::lock_guard lock(mutex_);
    const auto at = std::ranges::find_if(
        flush_bells_, [number](const auto& each) { return each.first <= number; });
    if (at == flush_bells_.end()) {
        return nullptr;
    }
    auto bell = std::move(at->second);
    flush_bells_.erase(at);
    return bell;
}

void log_backend::finish() noexcept {
    finished_.store(true, std::memory_order_seq_cst);
    consumer_state_.store(state::awake, std::memory_order_seq_cst);
    tell_asleep(false);
    {
        const std::lock_guard lock(mutex_);
        bell_.reset();
        for (const auto& each : new_producers_) { // that nobody takes any more
            if (each->reader.wake_producer()) {
                each->room_bell->ring();
            }
        }
    }
    finish_flushes(~std::uint64_t{0}, last_flush_failed());
}

void log_backend::take_new_producers(std::vector<std::shared_ptr<log_producer>>& to) {
    if (!has_new_producers_.load(std::memory_order_acquire)) [[likely]] {
        return;
    }
    const std::lock_guard lock(mutex_);
    to.insert(to.end(), new_producers_.begin(), new_producers_.end());
    new_producers_.clear();
    has_new_producers_.store(false, std::memory_order_relaxed);
}

// --- counts ---

namespace {

void add_ring(const log_producer& producer, log_stats& to) {
    const log_ring_header& ring = producer.memory.header();
    const auto drops = [&](drop_reason why) { return producer.reader.drops(why); };
    to.dropped_ring_full += drops(drop_reason::ring_full);
    to.dropped_made_room += drops(drop_reason::made_room);
    to.dropped_below_level += drops(drop_reason::below_level);
    to.dropped_no_memory += drops(drop_reason::no_memory);
    // The tail first: it never overtakes the head.
    const std::uint64_t tail =
        ring.tail.load(std::memory_order_acquire) & ~log_ring_header::tail_is_read;
    to.ring_bytes_used += ring.head.load(std::memory_order_acquire) - tail;
    to.accepted += producer.writer.sequence();
}

} // namespace

void log_backend::retire(const log_producer& producer) {
    const std::lock_guard lock(mutex_);
    add_ring(producer, retired_);
    std::erase_if(counted_, [&](const auto& each) { return each.get() == &producer; });
}

void log_backend::add_stats(log_stats& to) const {
    const std::lock_guard lock(mutex_);
    to.dropped_no_memory = dropped_without_ring();
    to.accepted = to.dropped_no_memory + retired_.accepted;
    to.dropped_ring_full = retired_.dropped_ring_full;
    to.dropped_made_room = retired_.dropped_made_room;
    to.dropped_below_level = retired_.dropped_below_level;
    to.dropped_no_memory += retired_.dropped_no_memory;
    for (const auto& each : counted_) {
        add_ring(*each, to);
        to.threads_alive += each->has_ended.load(std::memory_order_relaxed) ? 0 : 1;
    }
    to.threads_seen = threads_seen_;
    to.ring_bytes = ring_bytes_;
    to.flushes = flushes_requested();
    to.wake_ups = wake_ups_.load(std::memory_order_relaxed);
}

} // namespace sapwood::detail
