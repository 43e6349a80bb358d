#include <sapwood/log_backend.hpp>

#include <sapwood/assert.hpp>
#include <sapwood/list_awaiter.hpp>

#include <linux/membarrier.h>
#include <pthread.h>
#include <string_view>
#include <sys/syscall.h>
#include <unistd.h>

namespace sapwood::detail {

constinit thread_local log_thread_cache thread_log;

namespace {

std::atomic<std::uint64_t> last_backend_id{0};

int membarrier(int command) noexcept {
    return static_cast<int>(::syscall(SYS_membarrier, command, 0, 0));
}

/// The rings of a thread, of all the logs that it writes to.
class thread_rings {
  public:
    struct entry {
        std::uint64_t backend;
        std::shared_ptr<log_producer> producer;
    };

    thread_rings() = default;
    thread_rings(const thread_rings&) = delete;
    thread_rings& operator=(const thread_rings&) = delete;

    ~thread_rings() {
        for (const entry& each : entries) {
            each.producer->has_ended.store(true, std::memory_order_release);
        }
        thread_log = {};
        are_gone = true;
    }

    std::vector<entry> entries;

    static constinit thread_local bool are_gone;
};

constinit thread_local bool thread_rings::are_gone = false;

thread_local thread_rings rings_of_thread;

/// The logs of this process, for its children. In the order of their making.
std::mutex logs_mutex;
std::vector<log_backend*> logs;

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

log_backend::log_backend(const log_backend_options& options)
    : id_(last_backend_id.fetch_add(1, std::memory_order_relaxed) + 1),
      ticks_are_trusted_(kernel_trusts_ticks()),
      wants_location_(options.wants_location),
      wants_task_(options.wants_task),
      wants_site_(options.wants_site),
      has_membarrier_(membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0),
      ring_bytes_(options.ring_bytes),
      full_(options.full) {
    register_for_fork();
    const std::lock_guard lock(logs_mutex);
    logs.push_back(this);
}

log_backend::~log_backend() {
    const std::lock_guard lock(logs_mutex);
    std::erase(logs, this);
}

// --- fork ---

/// A child has only the thread that forked: no lock may be held by another one at that moment, and
/// nobody may wait for the consumer.
void log_backend::register_for_fork() {
    static const int registered = ::pthread_atfork(
        [] {
            logs_mutex.lock();
            for (log_backend* const each : logs) {
                each->mutex_.lock();
            }
        },
        [] {
            for (log_backend* const each : logs) {
                each->mutex_.unlock();
            }
            logs_mutex.unlock();
        },
        [] {
            for (log_backend* const each : logs) {
                each->become_childs();
                each->mutex_.unlock();
            }
            logs_mutex.unlock();
        });
    (void)registered;
}

void log_backend::become_childs() noexcept {
    was_forked_.store(true, std::memory_order_relaxed);
    finished_.store(true, std::memory_order_relaxed);
    flushes_done_ = ~std::uint64_t{0};
    // The first record makes its thread come to wake(), where it is told.
    consumer_state_.store(state::asleep, std::memory_order_relaxed);
}

// --- threads that log ---

log_producer* log_backend::find_producer() noexcept {
    try {
        if (!thread_rings::are_gone) {
            for (const auto& each : rings_of_thread.entries) {
                if (each.backend == id_) {
                    thread_log = {id_, each.producer.get()};
                    return thread_log.producer;
                }
            }
        }
        const std::lock_guard lock(mutex_);
        auto made = std::make_shared<log_producer>(ring_bytes_, ++threads_seen_);
        made->is_late = thread_rings::are_gone;
        new_producers_.push_back(made);
        has_new_producers_.store(true, std::memory_order_release);
        thread_log = {id_, made.get()};
        if (!thread_rings::are_gone) {
            std::erase_if(rings_of_thread.entries, [](const auto& each) {
                return each.producer.use_count() == 1; // its log is gone
            });
            rings_of_thread.entries.push_back({id_, std::move(made)});
        }
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
        producer.room_bell = loop_bell::make();
        producer.room_bell->on_ring([](void* list) { wake_all(*static_cast<waiter_list*>(list)); },
                                    &producer.room_waiters);
    }
    if (!producer.writer.ask_for_room()) {
        return false;
    }
    wake_napping();
    return !finished_.load(std::memory_order_seq_cst);
}

void log_backend::wake() noexcept {
    if (consumer_state_.exchange(state::awake, std::memory_order_acq_rel) == state::awake) {
        return; // somebody else does it
    }
    if (was_forked()) {
        constexpr std::string_view message = "sapwood: a log belongs to the process that made it: "
                                             "what a child process logs to it is "
                                             "not written; make a logger of the child's own\n";
        (void)!::write(STDERR_FILENO, message.data(), message.size());
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
    flushed_.wait(lock, [&] { return flushes_done_ >= number; });
    return !last_flush_failed();
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

void log_backend::dump_recent() noexcept {
    dumps_requested_.fetch_add(1, std::memory_order_seq_cst);
    wake_napping();
}

void log_backend::close() noexcept {
    closing_.store(true, std::memory_order_seq_cst);
    wake_napping();
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
    // A thread that has committed without seeing this state: its commit is visible from here on.
    return next != state::asleep || membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) == 0;
}

void log_backend::finish_flushes(std::uint64_t number, bool failed) noexcept {
    std::vector<std::shared_ptr<loop_bell>> bells;
    {
        const std::lock_guard lock(mutex_);
        flush_failed_.store(failed, std::memory_order_release);
        flushes_done_ = number;
        std::erase_if(flush_bells_, [&](auto& each) {
            if (each.first > number) {
                return false;
            }
            bells.push_back(std::move(each.second));
            return true;
        });
    }
    flushed_.notify_all();
    for (const auto& bell : bells) {
        bell->ring();
    }
}

void log_backend::finish() noexcept {
    finished_.store(true, std::memory_order_seq_cst);
    consumer_state_.store(state::awake, std::memory_order_seq_cst);
    {
        const std::lock_guard lock(mutex_);
        bell_.reset();
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

} // namespace sapwood::detail
