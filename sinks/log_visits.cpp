#include <sapwood/log_visits.hpp>

#include "crash_handler.hpp"

namespace sapwood::detail {

namespace {

constexpr std::int64_t patience_ns = 500'000'000;

} // namespace

constinit thread_local log_visits* log_visits::visited_ = nullptr;

void log_visits::begin() noexcept {
    visited_ = this;
    count_.store(count() + 1, std::memory_order_relaxed);
    is_lost_.store(false, std::memory_order_relaxed);
    is_going_on_.store(true, std::memory_order_seq_cst);
    // The handler sets the one and then looks at the other: at least one of them sees it.
    if (is_taken_over_.load(std::memory_order_seq_cst)) [[unlikely]] {
        stand_still();
    }
}

void log_visits::end() noexcept {
    is_going_on_.store(false, std::memory_order_release);
    visited_ = nullptr;
}

/// As long as a signal handler does its work: for ever, as a rule.
void log_visits::stand_still() noexcept {
    is_going_on_.store(false, std::memory_order_seq_cst);
    (void)has_survived();
    is_lost_.store(false, std::memory_order_relaxed);
    is_going_on_.store(true, std::memory_order_seq_cst);
}

bool log_visits::has_survived() const noexcept {
    while (is_taken_over_.load(std::memory_order_seq_cst)) {
        pause_in_crash();
    }
    return true;
}

void log_visits::take_over(const std::atomic<bool>& is_dead) noexcept {
    is_taken_over_.store(true, std::memory_order_seq_cst);
    for (std::int64_t waited = 0; waited < patience_ns; waited += crash_pause_ns) {
        if (!is_going_on_.load(std::memory_order_seq_cst)) {
            return;
        }
        if (is_dead.load(std::memory_order_seq_cst)) {
            break;
        }
        pause_in_crash();
    }
    is_lost_.store(true, std::memory_order_seq_cst);
}

// --- fork ---

void log_visits::lock_for_fork() {
    if (!is_going_on()) {
        mutex_.lock();
    }
}

void log_visits::unlock_after_fork() {
    if (!is_going_on()) {
        mutex_.unlock();
    }
}

void log_visits::lend() noexcept {
    if (visited_ != nullptr) {
        visited_->mutex_.unlock();
    }
}

void log_visits::take_back() {
    if (visited_ != nullptr) {
        visited_->mutex_.lock();
    }
}

} // namespace sapwood::detail
