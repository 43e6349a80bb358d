#include "support/forked_allocator.hpp"

#include <pthread.h>

// What compiler-rt's own handlers call, in this order, from LLVM 17 on. Not there without the
// sanitizer, and not to be seen in a shared one.
namespace __lsan {
[[gnu::weak]] void LockThreadRegistry();
[[gnu::weak]] void UnlockThreadRegistry();
[[gnu::weak]] void LockAllocator();
[[gnu::weak]] void UnlockAllocator();
} // namespace __lsan

namespace __sanitizer {
[[gnu::weak]] void StackDepotLockAll();
[[gnu::weak]] void StackDepotUnlockAll();
} // namespace __sanitizer

namespace sapwood::test {

namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr bool has_asan = true;
#elif defined(__has_feature)
constexpr bool has_asan = __has_feature(address_sanitizer);
#else
constexpr bool has_asan = false;
#endif

bool has_locks() noexcept {
    return has_asan && __lsan::LockThreadRegistry != nullptr &&
           __lsan::UnlockThreadRegistry != nullptr && __lsan::LockAllocator != nullptr &&
           __lsan::UnlockAllocator != nullptr && __sanitizer::StackDepotLockAll != nullptr &&
           __sanitizer::StackDepotUnlockAll != nullptr;
}

void lock() {
    __lsan::LockThreadRegistry();
    __lsan::LockAllocator();
    __sanitizer::StackDepotLockAll();
}

void unlock() {
    __sanitizer::StackDepotUnlockAll();
    __lsan::UnlockAllocator();
    __lsan::UnlockThreadRegistry();
}

/// Before any other handler is: those of the libraries allocate.
[[gnu::constructor(101)]] void hold_locks_in_fork() {
    if (has_locks()) {
        ::pthread_atfork(lock, unlock, unlock);
    }
}

} // namespace

bool children_can_allocate() noexcept {
    return !has_asan || has_locks();
}

} // namespace sapwood::test
