#include "alternate_stack.hpp"

#include <algorithm>
#include <csignal>
#include <sys/mman.h>
#include <unistd.h>

namespace sapwood::detail {

namespace {

/// What the handler needs and what those need that were there before it; pages that are not used
/// cost nothing.
constexpr std::size_t stack_bytes_min = 64u << 10;

/// Below it, so that an overflow of this one shows.
constexpr std::size_t guard_bytes = 4096;

} // namespace

alternate_stack::alternate_stack() noexcept {
    stack_t current{};
    if (::sigaltstack(nullptr, &current) != 0 || (current.ss_flags & SS_DISABLE) == 0) {
        return;
    }
    // The kernel's part of it depends on the processor's registers.
    const long needed = ::sysconf(_SC_SIGSTKSZ);
    const std::size_t bytes =
        guard_bytes +
        std::max(stack_bytes_min, needed > 0 ? 2 * static_cast<std::size_t>(needed) : 0);
    void* const memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (memory == MAP_FAILED) {
        return;
    }
    (void)::mprotect(memory, guard_bytes, PROT_NONE);
    stack_t ours{};
    ours.ss_sp = static_cast<char*>(memory) + guard_bytes;
    ours.ss_size = bytes - guard_bytes;
    if (::sigaltstack(&ours, nullptr) != 0) {
        ::munmap(memory, bytes);
        return;
    }
    memory_ = memory;
    bytes_ = bytes;
}

alternate_stack::~alternate_stack() {
    if (memory_ == nullptr) {
        return;
    }
    stack_t current{};
    if (::sigaltstack(nullptr, &current) == 0 &&
        current.ss_sp == static_cast<char*>(memory_) + guard_bytes) {
        stack_t none{};
        none.ss_flags = SS_DISABLE;
        if (::sigaltstack(&none, nullptr) != 0) {
            return; // a handler runs on it: it stays
        }
    }
    ::munmap(memory_, bytes_);
}

} // namespace sapwood::detail
