#include <sapwood/frame_pool.hpp>

namespace sapwood::detail {

constinit thread_local frame_pool thread_frames;

namespace {

/// Frees what the thread's pool holds when the thread ends, and closes it: frames that die later,
/// with other thread-local objects, go straight back to the allocator.
struct frame_pool_owner {
    frame_pool_owner() noexcept { thread_frames.open = true; }

    frame_pool_owner(const frame_pool_owner&) = delete;
    frame_pool_owner& operator=(const frame_pool_owner&) = delete;

    ~frame_pool_owner() {
        thread_frames.open = false;
        for (auto*& list : thread_frames.free) {
            while (auto* block = list) {
                list = block->next;
                ::operator delete(block);
            }
        }
    }
};

} // namespace

void* allocate_frame_slow(std::size_t bytes) {
    thread_local frame_pool_owner owner;
    if (bytes > frame_pool::block_bytes_max) {
        return ::operator new(bytes);
    }
    const std::size_t rounded =
        (bytes + frame_pool::granularity - 1) / frame_pool::granularity * frame_pool::granularity;
    return ::operator new(rounded);
}

void free_frame_slow(void* memory, [[maybe_unused]] std::size_t bytes) noexcept {
    ::operator delete(memory);
}

} // namespace sapwood::detail
