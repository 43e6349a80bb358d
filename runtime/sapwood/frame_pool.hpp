// Memory for coroutine frames and the state of spawned tasks: freed blocks are kept by size class
// and handed out again, so a running program stops asking the allocator. One pool per thread, and
// since there is one loop per thread, one per loop; a block may be freed on another thread than
// the one that allocated it and then joins the pool of that thread. Blocks come one by one from
// operator new, so no pool has to outlive them. Off in sanitizer builds, which must see each
// frame's own lifetime.
#pragma once

#include <sapwood/sanitizers.hpp>

#include <cstddef>
#include <new>

namespace sapwood::detail {

/// Plain data, so that a thread reaches its own without a guard. Emptied when the thread ends.
struct frame_pool {
    struct block {
        block* next;
    };

    static constexpr std::size_t granularity = 64;
    /// Frames over this size go straight to the allocator: they are rare and long-lived.
    static constexpr std::size_t block_bytes_max = 2048;
    /// What one thread keeps for later; past it, a freed block goes back to the allocator. Enough
    /// for a hundred thousand tasks of half a KiB to come and go without the allocator.
    static constexpr std::size_t cached_bytes_max = 64u << 20;

    block* free[block_bytes_max / granularity + 1] = {};
    std::size_t cached_bytes = 0;
    /// False before the first allocation and after the thread's end: nothing is kept then.
    bool open = false;
};

[[gnu::tls_model("initial-exec")]] extern constinit thread_local frame_pool thread_frames;

[[nodiscard]] void* allocate_frame_slow(std::size_t bytes);
void free_frame_slow(void* memory, std::size_t bytes) noexcept;

[[nodiscard]] inline void* allocate_frame(std::size_t bytes) {
#if !SAPWOOD_ADDRESS_SANITIZER
    const std::size_t size_class = (bytes + frame_pool::granularity - 1) / frame_pool::granularity;
    if (bytes <= frame_pool::block_bytes_max) [[likely]] {
        frame_pool& pool = thread_frames;
        if (auto* block = pool.free[size_class]) [[likely]] {
            pool.free[size_class] = block->next;
            pool.cached_bytes -= size_class * frame_pool::granularity;
            return block;
        }
    }
#endif
    return allocate_frame_slow(bytes);
}

/// `bytes` is what was asked for when `memory` was allocated.
inline void free_frame(void* memory, std::size_t bytes) noexcept {
#if !SAPWOOD_ADDRESS_SANITIZER
    const std::size_t size_class = (bytes + frame_pool::granularity - 1) / frame_pool::granularity;
    frame_pool& pool = thread_frames;
    if (bytes <= frame_pool::block_bytes_max && pool.open &&
        pool.cached_bytes < frame_pool::cached_bytes_max) [[likely]] {
        pool.free[size_class] = ::new (memory) frame_pool::block{pool.free[size_class]};
        pool.cached_bytes += size_class * frame_pool::granularity;
        return;
    }
#endif
    free_frame_slow(memory, bytes);
}

} // namespace sapwood::detail
