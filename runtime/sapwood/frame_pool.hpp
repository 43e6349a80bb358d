// Memory for coroutine frames and the state of spawned tasks: freed blocks are kept by size class
// and handed out again, so a running program stops asking the allocator. One pool per thread, and
// since there is one loop per thread, one per loop; a block may be freed on another thread than
// the one that allocated it and then joins the pool of that thread. Blocks come one by one from
// operator new, so no pool has to outlive them. Off in sanitizer builds, which must see each
// frame's own lifetime.
#pragma once

#include <sapwood/sanitizers.hpp>

#include <cstddef>
#include <cstdint>
#include <new>

namespace sapwood::detail {

/// Plain data, so that a thread reaches its own without a guard. Emptied when the thread ends.
struct frame_pool {
    /// A free block knows how many there are, itself included, so that neither taking one nor
    /// giving one back has to keep a count: what is kept is counted by the `step` blocks.
    struct block {
        const block* next;
        std::uint32_t depth;
    };

    static constexpr std::size_t granularity = 32;
    /// Frames over this size go straight to the allocator: they are rare and long-lived.
    static constexpr std::size_t block_bytes_max = 2048;
    /// What one thread keeps for later, up to `step` blocks of each size more; past it, a freed
    /// block goes back to the allocator. Enough for a hundred thousand tasks of half a KiB to come
    /// and go without the allocator.
    static constexpr std::size_t cached_bytes_max = 64u << 20;
    static constexpr std::uint32_t step = 64;

    /// The end of every list.
    static constexpr block empty{nullptr, 0};
    /// The only block of every list before the first allocation and after the thread's end: none
    /// may be taken, and none given back.
    static constexpr std::uint32_t closed_bit = 1u << 31;
    static constexpr block closed{nullptr, closed_bit};

    static constexpr std::size_t size_classes = block_bytes_max / granularity + 1;

    [[nodiscard]] static constexpr std::size_t size_class(std::size_t bytes) noexcept {
        return (bytes + granularity - 1) / granularity;
    }

    /// Whether the block of this depth may be taken, or be given back, without a look at the count.
    [[nodiscard]] static constexpr bool is_uncounted(std::uint32_t depth) noexcept {
        return (depth & (closed_bit | (step - 1))) - 1 < step - 1;
    }

    const block* free[size_classes];
    std::size_t cached_bytes = 0;

    constexpr frame_pool() noexcept : free{} {
        for (auto& list : free) {
            list = &closed;
        }
    }
};

[[gnu::tls_model("initial-exec")]] extern constinit thread_local frame_pool thread_frames;

[[nodiscard]] void* allocate_frame_slow(std::size_t bytes);
void free_frame_slow(void* memory, std::size_t bytes) noexcept;

[[nodiscard]] inline void* allocate_frame(std::size_t bytes) {
#if !SAPWOOD_ADDRESS_SANITIZER
    if (bytes <= frame_pool::block_bytes_max) [[likely]] {
        const frame_pool::block*& list = thread_frames.free[frame_pool::size_class(bytes)];
        const frame_pool::block* const first = list;
        if (frame_pool::is_uncounted(first->depth)) [[likely]] {
            list = first->next;
            return const_cast<frame_pool::block*>(first);
        }
    }
#endif
    return allocate_frame_slow(bytes);
}

/// `bytes` is what was asked for when `memory` was allocated.
inline void free_frame(void* memory, std::size_t bytes) noexcept {
#if !SAPWOOD_ADDRESS_SANITIZER
    if (bytes <= frame_pool::block_bytes_max) [[likely]] {
        const frame_pool::block*& list = thread_frames.free[frame_pool::size_class(bytes)];
        const std::uint32_t depth = list->depth + 1;
        if (frame_pool::is_uncounted(depth)) [[likely]] {
            list = ::new (memory) frame_pool::block{list, depth};
            return;
        }
    }
#endif
    free_frame_slow(memory, bytes);
}

} // namespace sapwood::detail
