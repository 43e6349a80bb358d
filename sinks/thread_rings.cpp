#include "thread_rings.hpp"

#include "alternate_stack.hpp"

#include <optional>
#include <pthread.h>
#include <utility>
#include <vector>

namespace sapwood::detail {

constinit thread_local log_thread_cache thread_log;

namespace {

struct entry {
    std::uint64_t backend;
    std::shared_ptr<log_producer> producer;
};

/// In which of the rounds of destructors the rings end. Not in the last of
/// PTHREAD_DESTRUCTOR_ITERATIONS, 4: there sanitizers end what they know of the thread.
constexpr int last_round = 3;

struct thread_rings {
    std::vector<entry> entries;
    std::optional<alternate_stack> stack;
    int rounds = 0;
};

constinit thread_local thread_rings* rings_of_thread = nullptr;
constinit thread_local bool is_over = false;

pthread_key_t key{};

void end_thread(void* of_thread) {
    auto* const rings = static_cast<thread_rings*>(of_thread);
    if (++rings->rounds < last_round && ::pthread_setspecific(key, rings) == 0) {
        return;
    }
    for (const entry& each : rings->entries) {
        each.producer->has_ended.store(true, std::memory_order_release);
    }
    is_over = true;
    thread_log = {};
    delete std::exchange(rings_of_thread, nullptr);
}

bool make_key() noexcept {
    return ::pthread_key_create(&key, end_thread) == 0;
}

} // namespace

log_producer* find_thread_ring(std::uint64_t backend) noexcept {
    if (rings_of_thread != nullptr) {
        for (const entry& each : rings_of_thread->entries) {
            if (each.backend == backend) {
                return each.producer.get();
            }
        }
    }
    return nullptr;
}

bool keep_thread_ring(std::uint64_t backend, std::shared_ptr<log_producer> producer,
                      bool wants_stack) {
    static const bool has_key = make_key();
    if (is_over || !has_key) {
        return false;
    }
    if (rings_of_thread == nullptr) {
        auto made = std::make_unique<thread_rings>();
        if (::pthread_setspecific(key, made.get()) != 0) {
            return false;
        }
        rings_of_thread = made.release();
    }
    std::erase_if(rings_of_thread->entries, [](const entry& each) {
        return each.producer.use_count() == 1; // its log is gone
    });
    rings_of_thread->entries.push_back({backend, std::move(producer)});
    if (wants_stack && !rings_of_thread->stack) {
        rings_of_thread->stack.emplace();
    }
    return true;
}

void forget_thread_rings() noexcept {
    thread_log = {};
    if (rings_of_thread != nullptr) {
        rings_of_thread->entries.clear();
    }
}

} // namespace sapwood::detail
