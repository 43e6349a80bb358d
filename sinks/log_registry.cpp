#include "log_registry.hpp"

#include "crash_handler.hpp"
#include "log_owner.hpp"
#include "thread_rings.hpp"

#include <sapwood/log_action.hpp>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <mutex>
#include <pthread.h>
#include <sys/types.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace sapwood::detail {

namespace {

/// A sink that is stuck does not keep a program from ending for longer than this.
constexpr std::chrono::seconds exit_patience{10};

struct known_logs {
    std::mutex mutex;
    std::vector<std::weak_ptr<log_owner>> logs;
    /// Between the handlers of a fork.
    std::vector<std::shared_ptr<log_owner>> forking;
    /// Whose they are: a child that was made past fork(), as by clone(), is none of them.
    pid_t process = ::getpid();
    /// Of loggers that were destroyed while the program ends.
    std::vector<std::shared_ptr<log_core>> kept;
};

std::atomic<known_logs*> made{nullptr};
std::atomic<bool> is_ending{false};

/// Never destroyed: logs may outlive all that is static.
known_logs& known() {
    static known_logs* const the = [] {
        auto* const fresh = new known_logs;
        made.store(fresh, std::memory_order_release);
        return fresh;
    }();
    return *the;
}

std::vector<std::shared_ptr<log_owner>> alive_locked(known_logs& all) {
    std::vector<std::shared_ptr<log_owner>> alive;
    alive.reserve(all.logs.size());
    for (const auto& each : all.logs) {
        if (auto log = each.lock()) {
            alive.push_back(std::move(log));
        }
    }
    return alive;
}

// --- fork ---

/// A child has only the thread that forked: no lock may be held by another one at that moment, and
/// nothing of a log half changed.
void before_fork() {
    known_logs& all = known();
    // A filter that forks waits for its turn as everybody does, and is not waited for meanwhile.
    log_visits::lend();
    all.mutex.lock();
    log_visits::take_back();
    all.forking = alive_locked(all);
    for (const auto& each : all.forking) {
        each->lock_for_fork();
    }
    log_requests::lock_for_fork();
    log_action::lock_for_fork();
}

void after_fork_in_parent() {
    known_logs& all = known();
    log_action::unlock_after_fork();
    log_requests::unlock_after_fork();
    for (const auto& each : all.forking) {
        each->unlock_after_fork();
    }
    const auto forked = std::exchange(all.forking, {}); // perhaps the last to keep one
    all.mutex.unlock();
}

void after_fork_in_child() {
    known_logs& all = known();
    all.process = ::getpid();
    crash_handler::become_childs();
    forget_thread_rings();
    log_action::unlock_after_fork();
    log_requests::unlock_after_fork();
    for (const auto& each : all.forking) {
        each->become_childs();
    }
    const auto forked = std::exchange(all.forking, {});
    all.mutex.unlock();
}

// --- exit ---

template <class End>
void for_each_log(End&& end) noexcept {
    known_logs* const all = made.load(std::memory_order_acquire);
    if (all == nullptr || all->process != ::getpid()) {
        return;
    }
    try {
        std::unique_lock lock(all->mutex);
        const auto alive = alive_locked(*all);
        lock.unlock();
        for (const auto& each : alive) {
            end(*each);
        }
    } catch (const std::exception&) {
        // No memory, at the very end: the consumers write what they can.
    }
}

/// The first thing that exit() does, or nearly.
void begin_end() {
    if (!is_ending.exchange(true, std::memory_order_acq_rel)) {
        const auto deadline = std::chrono::steady_clock::now() + exit_patience;
        for_each_log([&](log_owner& log) { log.flush_at_exit(deadline); });
    }
}

void end_all() noexcept {
    const auto deadline = std::chrono::steady_clock::now() + exit_patience;
    for_each_log([&](log_owner& log) { log.end_at_exit(deadline); });
}

/// The last thing, behind all destructors of static objects of the program, or, where this is part
/// of something that is unloaded, the last moment that its code is there.
[[gnu::destructor]] void end_of_library() {
    end_all();
    crash_handler::uninstall();
}

} // namespace

void log_registry::add(const std::shared_ptr<log_owner>& log) {
    static const int registered = [] {
        std::at_quick_exit(end_all);
        return ::pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
    }();
    (void)registered;
    known_logs& all = known();
    const std::lock_guard lock(all.mutex);
    std::erase_if(all.logs, [](const auto& each) { return each.expired(); });
    all.logs.push_back(log);
}

void log_registry::note_first_record() noexcept {
    (void)std::atexit(begin_end);
}

bool log_registry::program_ends() noexcept {
    return is_ending.load(std::memory_order_acquire);
}

void log_registry::keep(const std::shared_ptr<log_core>& core) noexcept {
    try {
        known_logs& all = known();
        const std::lock_guard lock(all.mutex);
        all.kept.push_back(core);
    } catch (const std::exception&) {
        // No memory: it ends as at any other time.
    }
}

} // namespace sapwood::detail
