#include "support/allocations.hpp"

#include <atomic>
#include <cstdlib>
#include <limits>
#include <new>

namespace {

constexpr std::size_t never = std::numeric_limits<std::size_t>::max();

constinit thread_local std::size_t calls = 0;
constinit thread_local std::size_t failing_from = never;
constinit thread_local bool has_failed = false;
constinit std::atomic<std::ptrdiff_t> alive = 0;

void* allocate(std::size_t bytes) {
    if (++calls >= failing_from) {
        has_failed = true;
        throw std::bad_alloc();
    }
    void* const memory = std::malloc(bytes == 0 ? 1 : bytes);
    if (memory == nullptr) {
        throw std::bad_alloc();
    }
    alive.fetch_add(1, std::memory_order_relaxed);
    return memory;
}

void* allocate_or_null(std::size_t bytes) noexcept {
    try {
        return allocate(bytes);
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
}

void release(void* memory) noexcept {
    if (memory != nullptr) {
        alive.fetch_sub(1, std::memory_order_relaxed);
        std::free(memory);
    }
}

} // namespace

void* operator new(std::size_t bytes) {
    return allocate(bytes);
}

void* operator new[](std::size_t bytes) {
    return allocate(bytes);
}

void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
    return allocate_or_null(bytes);
}

void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept {
    return allocate_or_null(bytes);
}

void operator delete(void* memory) noexcept {
    release(memory);
}

void operator delete[](void* memory) noexcept {
    release(memory);
}

void operator delete(void* memory, std::size_t) noexcept {
    release(memory);
}

void operator delete[](void* memory, std::size_t) noexcept {
    release(memory);
}

namespace sapwood::test {

std::size_t allocations() noexcept {
    return calls;
}

std::ptrdiff_t allocations_alive() noexcept {
    return alive.load(std::memory_order_relaxed);
}

failing_allocations::failing_allocations(std::size_t nth) noexcept {
    failing_from = calls + nth;
    has_failed = false;
}

failing_allocations::~failing_allocations() {
    failing_from = never;
}

bool failing_allocations::struck() const noexcept {
    return has_failed;
}

} // namespace sapwood::test
