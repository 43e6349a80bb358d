#include <sapwood/frame_pool.hpp>

namespace sapwood::detail {

constinit thread_local frame_pool thread_frames;

namespace {

/// Opens the thread's pool, and when the thread ends frees what is in it and closes it: frames that
/// die later, with other thread-local objects, go straight back to the allocator.
struct frame_pool_owner {
    frame_pool_owner() noexcept {
        for (auto*& list : thread_frames.free) {
            list = &frame_pool::empty;
        }
    }

    frame_pool_owner(const frame_pool_owner&) = delete;
    frame_pool_owner& operator=(const frame_pool_owner&) = delete;

    ~frame_pool_owner() {
        for (auto*& list : thread_frames.free) {
            while (list->depth > 0) {
                auto* const block = const_cast<frame_pool::block*>(list);
                list = block->next;
                ::operator delete(block);
            }
            list = &frame_pool::closed;
        }
    }
};

} // namespace

void* allocate_frame_slow(std::size_t bytes) {
    thread_local frame_pool_owner owner;
    if (bytes > frame_pool::block_bytes_max) {
        return ::operator new(bytes);
    }
    const std::size_t size_class = frame_pool::size_class(bytes);
    const frame_pool::block*& list = thread_frames.free[size_class];
    const std::size_t block_bytes = size_class * frame_pool::granularity;
    if (list->depth == 0 || list->depth == frame_pool::closed_bit) {
        return ::operator new(block_bytes);
    }
    thread_frames.cached_bytes -= frame_pool::step * block_bytes;
    auto* const first = const_cast<frame_pool::block*>(list);
    list = first->next;
    return first;
}

void free_frame_slow(void* memory, [[maybe_unused]] std::size_t bytes) noexcept {
#if !SAPWOOD_ADDRESS_SANITIZER
    const std::size_t size_class = frame_pool::size_class(bytes);
    if (bytes <= frame_pool::block_bytes_max) {
        const frame_pool::block*& list = thread_frames.free[size_class];
        const std::size_t step_bytes = frame_pool::step * size_class * frame_pool::granularity;
        if (list->depth != frame_pool::closed_bit &&
            thread_frames.cached_bytes + step_bytes <= frame_pool::cached_bytes_max) {
            thread_frames.cached_bytes += step_bytes;
            list = ::new (memory) frame_pool::block{list, list->depth + 1};
            return;
        }
    }
#endif
    ::operator delete(memory);
}

} // namespace sapwood::detail
